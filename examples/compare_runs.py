"""The validation error of several runs over their epochs, in one picture.

python examples/compare_runs.py curves.png runs/photos-A-256-c64-s0 runs/photos-D-256-c64-s0
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def epochs_of(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("val_error") is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    options = parser.parse_args()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for run in options.runs:
        epochs = epochs_of(run)
        axes.plot([line["epoch"] for line in epochs], [line["val_error"] for line in epochs], "o-", label=run.name)
    axes.set(xlabel="epoch", ylabel="validation top-1 error %, central crop", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
