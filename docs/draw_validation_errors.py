"""Draw the validation errors of several runs, epoch by epoch, in one plot.

python docs/draw_validation_errors.py docs/pictures/ladder-curves.png runs/tiny10-*
"""

import argparse
import json
from pathlib import Path

from verydeep.engine.plotting import save_figure, subplots

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("picture", type=Path, metavar="PICTURE", help="the file to write")
parser.add_argument("runs", type=Path, metavar="RUN", nargs="+")
options = parser.parse_args()

figure, axes = subplots(figsize=(8, 4.5), layout="constrained")
for run in options.runs:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    errors = {line["epoch"]: line["val_error"] for line in lines if line.get("val_error") is not None}
    axes.plot(errors.keys(), errors.values(), "o-", label=run.name)
axes.set(xlabel="epoch", ylabel="validation top-1 error %, central crop", ylim=(0, 100))
axes.grid(alpha=0.3)
axes.legend(fontsize=7, loc="lower left")
save_figure(figure, options.picture)
