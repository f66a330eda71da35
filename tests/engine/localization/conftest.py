"""Thin nets that predict classes and boxes, under the paper's names, and pictures with boxes to test them on."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from tests.thin_nets import make_boxes, make_pictures, narrow_config, save_box_run, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.data.box_annotations import add_boxes, read_boxes
from verydeep.data.split import Split
from verydeep.engine.datasets import open_data_split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_errors import BoxErrors
from verydeep.engine.localization.box_evaluation import BoxRow, BoxRowView, LocalizationEvaluation
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merged_boxes import MergedBoxes
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime

Value = TypeVar("Value")

CPU = Runtime(torch.device("cpu"), bf16=False)

BOX_NETS = {"D/256pcr": (3, 8), "D/384pcr": (3, 8), "D/384scr-fc": (3,), "D/384pcr-fc": (3,)}
CLASS_NETS = {"D/256-512": (3, 8), "E/256-512": (3, 8)}
"""Nets and the seeds of their runs; the source nets of localization nets have runs too."""


@dataclass(frozen=True)
class Home:
    """Runs and pictures."""

    root: Path
    val: Split
    """The validation split without boxes."""
    boxed_val: BoxedSplit
    """The same with boxes; the second and the ninth image are not counted."""

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
        monkeypatch.setenv("VERYDEEP_CACHE", str(root / "cache"))
        for texts, seeds in BOX_NETS.items():
            for seed in seeds:
                save_box_run(root / "runs", PaperNet.parse(texts), root / "data", seed=seed)
        for texts, seeds in CLASS_NETS.items():
            for seed in seeds:
                save_run(root / "runs", narrow_config(PaperNet.parse(texts), root / "data", seed=seed))
    return root


@pytest.fixture(scope="module")
def home(files: Path) -> Iterator[Home]:
    """While a module's tests run, thin nets count as the paper's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VERYDEEP_CACHE", str(files / "cache"))
        val = open_data_split(str(files / "data"), "val")
        boxed_split, _ = add_boxes(val, read_boxes(val, files / "data"))
        yield Home(files, val, BoxedSplit(val, boxed_split, ~np.isin(np.arange(len(val)), [1, 8])))


@dataclass
class Exchange:
    """Values that two processes pass to each other; here the processes are threads."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=60))
    values: list[Any] = field(default_factory=lambda: [None, None])

    def swap(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait()
        both = list(self.values)
        self.barrier.wait()
        return both


@dataclass(frozen=True)
class ThreadRuntime(Runtime):
    """The runtime of one of two processes."""

    exchange: Exchange = field(default_factory=Exchange)

    def gather(self, value: Any) -> list[Any]:
        return self.exchange.swap(self.rank, value)

    def from_main(self, value: Any) -> Any:
        return self.exchange.swap(self.rank, value)[0]

    def gather_on_main(self, value: Any) -> list[Any]:
        both = self.exchange.swap(self.rank, value)
        return both if self.is_main else []


def run_in_two(action: Callable[[Runtime], Value]) -> list[Value]:
    """Return what the action returns on each of two processes."""
    exchange = Exchange()
    runtimes = [
        ThreadRuntime(torch.device("cpu"), bf16=False, rank=rank, world_size=2, exchange=exchange) for rank in (0, 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(action, runtimes))


def make_evaluation(
    split: Split,
    overlaps: list[list[float]],
    guess_overlaps: list[list[float]] | None,
    counted: list[bool],
    views: list[BoxRowView],
) -> LocalizationEvaluation:
    """Return an evaluation on all images of a split, with one list of IoUs for each row."""
    n, num_guesses = len(split), 0 if guess_overlaps is None else 2
    xyxy = np.zeros((n, 1 + num_guesses, 4))
    xyxy[:, 0] = np.arange(n)[:, None] + [0, 1, 20, 22]
    boxes = MergedBoxes(xyxy, np.ones((n, 1 + num_guesses)), np.full(n, 0.5))
    rows = tuple(
        BoxRow("x", 32, view, () if view == "constant" else (256,), BoxErrors(
            boxes,
            np.array(overlaps[number]),
            None if guess_overlaps is None else np.array(guess_overlaps[number]),
            np.array(counted),
        ))
        for number, view in enumerate(views)
    )  # fmt: skip
    classes = CandidateClasses(
        np.arange(n), np.zeros((n, num_guesses), np.int64), np.zeros((n, num_guesses), np.float32), split.labels
    )
    return LocalizationEvaluation(BoxEnsemble((), "dense", None), classes, rows, (), {}, ())


@pytest.fixture
def boxed_split(val_split: Split) -> Split:
    """Twelve images of three classes, the first with two instances."""
    boxes = [np.array([[i, 2, 30, 20 + i]], np.float32) for i in range(12)]
    boxes[0] = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    return replace(val_split, boxes=tuple(boxes), class_words=("ant, emmet", "$bell_1$", "crab"))
