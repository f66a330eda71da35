"""Thin nets that tell classes and boxes, under the paper's names, and pictures with boxes to test them on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.thin_nets import describe, leave_box_run, leave_run, make_boxes, make_pictures, thin_networks
from verydeep.configs.protocols import PaperNet
from verydeep.data.split import Split
from verydeep.data.truth import read_boxes, with_boxes
from verydeep.engine.datasets import open_data_split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_errors import BoxErrors, GroundTruth
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Merged
from verydeep.engine.localization.evaluation import BoxRow, BoxView, LocalizationEvaluation
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.ops.localization_errors import Instances

CPU = Runtime(torch.device("cpu"), bf16=False)

BOX_NETS = {"D/256pcr": (3, 8), "D/384pcr": (3, 8), "D/384scr-fc": (3,), "D/384pcr-fc": (3,)}
CLASS_NETS = {"D/256-512": (3, 8), "E/256-512": (3, 8)}
"""Nets and the seeds that they were trained with; those that box nets start from are there too."""


@dataclass(frozen=True)
class Home:
    """Runs and pictures."""

    root: Path
    val: Split
    """Its boxes not read."""
    part: BoxedSplit
    """The same with its boxes; the second and the ninth image do not count."""

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def net(self, text: str, seed: int = 3) -> Net:
        return Net.open(self.runs / f"{text.replace('/', '-')}-s{seed}")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/ and runs/."""
    root = tmp_path_factory.mktemp("boxes")
    make_pictures(root / "data" / "train", 1, first=100)
    make_pictures(root / "data" / "val", 2)
    make_boxes(root / "data")
    with pytest.MonkeyPatch.context() as monkeypatch:
        thin_networks(monkeypatch, root / "cache")
        for texts, seeds in BOX_NETS.items():
            for seed in seeds:
                leave_box_run(root / "runs", PaperNet.parse(texts), root / "data", seed=seed)
        for texts, seeds in CLASS_NETS.items():
            for seed in seeds:
                leave_run(root / "runs", describe(PaperNet.parse(texts), root / "data", seed=seed))
    return root


@pytest.fixture(scope="module")
def home(files: Path) -> Iterator[Home]:
    """While a module's tests run, thin nets count as the paper's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        thin_networks(monkeypatch, files / "cache")
        val = open_data_split(str(files / "data"), "val")
        read_boxed_split, _ = with_boxes(val, read_boxes(val, files / "data"))
        yield Home(files, val, BoxedSplit(val, read_boxed_split, np.isin(np.arange(len(val)), [1, 8])))


def evaluation_of(
    split: Split,
    overlaps: list[list[float]],
    guesses: list[list[float]] | None,
    counted: list[bool],
    looks: list[BoxView],
) -> LocalizationEvaluation:
    """An evaluation of all images of a split, one list of IoUs for each row."""
    n, asked_for = len(split), 0 if guesses is None else 2
    assert split.labels is not None and split.boxes is not None
    boxes = np.zeros((n, 1 + asked_for, 4))
    boxes[:, 0] = np.arange(n)[:, None] + [0, 1, 20, 22]
    merged = Merged(boxes, np.ones((n, 1 + asked_for)))
    box_errors_of_rows = tuple(
        BoxErrors(merged, np.array(each), None if guesses is None else np.array(guesses[row]))
        for row, each in enumerate(overlaps)
    )
    candidate_classes = CandidateClasses(
        np.arange(n), np.zeros((n, asked_for), np.int64), np.zeros((n, asked_for), np.float32), split.labels
    )
    truth = GroundTruth(Instances.of(split.labels, list(split.boxes)), np.array(counted))
    rows = tuple(
        BoxRow("x", 32, look, () if look == "constant" else (256,), *box_errors.errors(truth))
        for look, box_errors in zip(looks, box_errors_of_rows, strict=True)
    )
    return LocalizationEvaluation(
        rows, box_errors_of_rows, candidate_classes, truth, BoxEnsemble((), "dense", None), (), (0.5,), {}, ()
    )


@pytest.fixture
def read_boxed_split(val_split: Split) -> Split:
    """Twelve images of three classes, the first with two instances."""
    boxes = [np.array([[i, 2, 30, 20 + i]], np.float32) for i in range(12)]
    boxes[0] = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    return replace(val_split, boxes=tuple(boxes), class_words=("ant, emmet", "$bell_1$", "crab"))
