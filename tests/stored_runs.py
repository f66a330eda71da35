"""Folders of runs with predictions that are known, without a training."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from verydeep.ops.metrics import wilson_interval

Guesses = Sequence[tuple[str, float]]

HOSTILE_CLASS = '</script><img src=x onerror="document.title=1">'
HOSTILE_FILE = "ant/<b>&\"'</script><script>document.title=2<!--.png"

PREDICTIONS: Mapping[str, tuple[str, Guesses]] = {
    "ant/0.png": ("ant", [("ant", 0.9), ("bee", 0.06), ("crab", 0.04)]),
    "ant/1.png": ("ant", [("bee", 0.8), ("ant", 0.15), ("crab", 0.05)]),
    "ant/2.png": ("ant", [("bee", 0.55), ("crab", 0.4), ("ant", 0.05)]),
    "bee/0.png": ("bee", [("bee", 0.7), ("ant", 0.2), ("crab", 0.1)]),
    "bee/1.png": ("bee", [("ant", 0.95), ("bee", 0.04), ("crab", 0.01)]),
    "crab/0.png": ("crab", [("crab", 0.6), ("ant", 0.3), ("bee", 0.1)]),
}
"""Photograph -> its class, and the probabilities: three of six are wrong, "bee/1.png" with most confidence."""


def make_photographs(root: Path, predictions: Mapping[str, tuple[str, Guesses]] = PREDICTIONS) -> Path:
    """Make small photographs of different colors and sides."""
    for number, file in enumerate(predictions):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        color = (40 * number % 256, 90, 255 - 40 * number % 256)
        Image.new("RGB", (60 + number, 40), color).save(root / file, "PNG")
    return root


def store_evaluation(folder: Path, predictions: Mapping[str, tuple[str, Guesses]] = PREDICTIONS, **values: Any) -> Path:
    """Write errors.json and predictions.csv as `evaluate` does."""
    folder.mkdir(parents=True)
    num_guesses = len(next(iter(predictions.values()))[1])
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        numbers = range(1, num_guesses + 1)
        writer.writerow(
            ["path", "label", "rank", *(f"{name}{number}" for number in numbers for name in ("class", "p"))]
        )
        for path, (label, guesses) in predictions.items():
            rank = [name for name, _ in guesses].index(label) + 1
            writer.writerow([path, label, rank, *(cell for guess in guesses for cell in guess)])
    wrong = sum(label != guesses[0][0] for label, guesses in predictions.values())
    share, count = asdict(wilson_interval(wrong, len(predictions))), len(predictions)
    right = {label: [] for label, _ in predictions.values()}  # type: dict[str, list[bool]]
    for label, guesses in predictions.values():
        right[label].append(label == guesses[0][0])
    recall = 100 * float(np.mean([np.mean(each) for each in right.values()]))
    errors = {
        "top1": share, "topk": share, "k": 2, "num_images": count,
        "class_recall": {"percent": recall, "low": 0.0, "high": 100.0},
    }  # fmt: skip
    row = {"net": "A-256-s0", "crop": 64, "scales": [256], "pixels": [73], "errors": errors}
    whole = {
        "summary": "", "data": "photos", "split": "val", "num_images": count, "view": "dense", "precision": "fp32",
        "rows": [{**row, "view": "center"}, {**row, "view": "dense"}], "remarks": ["A remark."], "skipped": {},
        "expected_calibration_error": 12.3, **values,
    }  # fmt: skip
    (folder / "errors.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


def store_metrics(run: Path, num_epochs: int = 4, last_error: float = 20.0) -> None:
    """Write metrics.jsonl of ten steps an epoch; the learning rate drops after half of them."""
    lines: list[dict[str, Any]] = []
    for step in range(1, 10 * num_epochs + 1):
        rate = 0.01 if step <= 5 * num_epochs else 0.001
        lines.append({"step": step, "loss": 3 / step, "learning_rate": rate, "stage": 1, "seconds": step / 10})
        if step % 10 == 0:
            epoch = step // 10
            lines[-1] |= {"epoch": epoch, "val_error": last_error + 10 * (num_epochs - epoch), "is_best": True}
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (run / "metrics.jsonl").write_text(text, encoding="utf-8")


def store_run(run: Path, root: Path | None = None, **values: Any) -> Path:
    """Make photographs (in ``root``) and a run that was tested on them."""
    root = make_photographs(root or run.parent / "photos")
    store_evaluation(run / "evaluations" / "val-dense-256", root=str(root), **values)
    store_metrics(run)
    return run


SHOWN: Mapping[str, tuple[set[str], Mapping[str, float]]] = {
    "ant/0.png": ({"ant"}, {"ant": 1.5, "bee": -0.4, "crab": -1.0}),
    "ant/1.png": ({"ant", "bee"}, {"ant": 0.3, "bee": -0.2, "crab": -0.9}),
    "bee/0.png": ({"bee"}, {"ant": 0.7, "bee": 0.9, "crab": 0.1}),
    "crab/0.png": ({"crab"}, {"ant": -1.1, "bee": -0.8, "crab": 0.6}),
}
"""Photograph -> the classes that it shows, and margins: bee is missed once, ant and crab are false alarms once each."""


def store_margins(run: Path, root: Path) -> Path:
    """Write transfer.json and margins.csv of a classifier of photographs with several classes."""
    make_photographs(root, {file: ("", []) for file in SHOWN})
    run.mkdir(parents=True)
    with (run / "margins.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class", "relevance", "margin"])
        for path, (shows, margins) in SHOWN.items():
            writer.writerows([path, name, 1 if name in shows else -1, margin] for name, margin in margins.items())
    share = {"percent": 91.7, "low": 80.0, "high": 100.0}
    values = {
        "summary": "Mean AP 92%.", "data": "voc", "root": str(root), "camera_rotation": True, "metric": "AP",
        "draws": [{"score": 91.7, "interval": share, "C": 1, "num_train": 222, "num_test": 4}],
        "class_images": {"ant": 200, "bee": 19, "crab": 3},
        "class_intervals": {"ant": {**share, "percent": 83.3}, "bee": {**share, "percent": 75.0}, "crab": share},
    }  # fmt: skip
    (run / "transfer.json").write_text(json.dumps(values), encoding="utf-8")
    return run
