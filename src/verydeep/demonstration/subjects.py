"""Subjects of a demonstration: nets, a localization net, an archive, and photographs to begin with."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

import verydeep as vd
from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.datasets import open_test_part
from verydeep.engine.nets.folders import RunFolder
from verydeep.models.weights.model_folder import WEIGHTS
from verydeep.paths import real_path

MAX_EXAMPLES = 12
GENERATED_RUNS = "generated-*"


@dataclass(frozen=True)
class Subjects:
    """Everything that a page shows."""

    predictors: dict[str, vd.Net | vd.Classifier]
    """Name -> a net or a classifier in memory that predicts classes."""
    box_net: vd.Net | None
    """A localization net in memory."""
    archive: Path | None
    examples: tuple[tuple[Path, str], ...]
    """Photographs to begin with, and their classes."""
    options: dict[str, Any]
    """Device, kernels, precision and workers of every computation."""


def open_subjects(sources: Sequence[Any], archive: str | PathLike[str] | None, options: dict[str, Any]) -> Subjects:
    """Read nets and classifiers into memory.

    Args:
        sources: runs, as every function takes them; without any, the newest ones of the generated set in ``runs``.
        archive: folder of `verydeep features`.
        options: device, kernels, precision and workers.

    Raises:
        WeightsError: there is no such net, it has no classes, or none was given and there is none.
        OptionError: there are two localization nets.
        DataError: a classifier or the archive is damaged, or there is no archive.
    """
    loaded = {name_source(source): vd.load(source) for source in sources or find_generated_runs(Path("runs"))}
    nets = [each for each in loaded.values() if isinstance(each, vd.Net)]
    box_nets = [net for net in nets if net.config.regression is not None]
    predictors = {name: each for name, each in loaded.items() if each not in box_nets}
    if len(box_nets) > 1:
        raise vd.OptionError("Give one localization net at most: the page draws the boxes of one.", "run")
    if trunks := [net for net in nets if net.config.is_trunk]:
        raise vd.WeightsError(f"{trunks[0].path} has only convolutions and no classes: give a net with classes.")
    if not predictors:
        predictors = {f"{box_nets[0]}, source net": box_nets[0].classifier}
    if archive is not None:
        Manifest.read(Path(archive))
    examples = next((found for each in predictors.values() if (found := tuple(find_examples(each)))), ())
    return Subjects(
        predictors=predictors,
        box_net=box_nets[0] if box_nets else None,
        archive=None if archive is None else Path(archive),
        examples=examples,
        options={**options, "progress": False},
    )


def warm_up(subjects: Subjects) -> None:
    """Predict a gray image, so that the time of the first photograph does not hold what is done once."""
    for predictor in subjects.predictors.values():
        vd.predict(predictor, Image.new("RGB", (256, 256), "gray"), **subjects.options)


def name_source(source: Any) -> str:
    """Return the name of a net or a classifier on the page: its path."""
    path = source.path if isinstance(source, vd.Net | vd.Classifier) else Path(source)
    return path.as_posix()


def find_generated_runs(folder: Path) -> list[Path]:
    """Return the newest run of the generated set that predicts classes, and the newest one that predicts boxes.

    Raises:
        WeightsError: there is none that predicts classes.
    """
    found: dict[bool, tuple[float, Path]] = {}
    for run in folder.glob(GENERATED_RUNS):
        with suppress(vd.VerydeepError, OSError):
            is_classifier = vd.Net.open(run).config.regression is None
            made = (RunFolder(run).model / WEIGHTS).stat().st_mtime
            if made > found.get(is_classifier, (0.0, run))[0]:
                found[is_classifier] = (made, run)
    if True not in found:
        raise vd.WeightsError(
            f"No net was given, and {real_path(folder)} has none of the generated set: run `verydeep train` first, "
            "which takes a few minutes, or give a run or oxford-vgg16."
        )
    return [path for _, path in found.values()]


def find_examples(predictor: vd.Net | vd.Classifier) -> Iterator[tuple[Path, str]]:
    """Yield a validation photograph of each class of the data that a net or a classifier was trained on."""
    record = predictor.config.split if isinstance(predictor, vd.Net) else predictor.record
    if record is None:
        return
    with suppress(vd.VerydeepError, OSError):
        split = open_test_part(record.data, None, [record])
        if split.labels is None:
            return
        first: dict[int, int] = {}
        for index, label in enumerate(split.labels.tolist()):
            first.setdefault(label, index)
        for label, index in list(first.items())[:MAX_EXAMPLES]:
            yield split.path(index), split.class_words[label]
