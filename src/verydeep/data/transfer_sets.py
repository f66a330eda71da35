"""The sets of appendix B, people's own class folders and CSV files of labels: learned from, tested on and scored how?

| set | learned from | tested on | score |
| --- | --- | --- | --- |
| VOC-2007, VOC-2012 | trainval (train) | test (val) | average precision at 11 points until 2009, over all since |
| VOC-2012 actions | trainval (train) | test (val) | average precision over all points |
| Caltech-101 | 30 a class, 3 draws | up to 50 others a class | mean class recall |
| Caltech-256 | 60 a class, 3 draws | all others | mean class recall |
| class folders | train/, or all but a share | test/ or val/, or that share | mean class recall |
| CSV of labels | train.csv, or labels.csv but a share | test.csv, or that share | average precision over all points |
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from verydeep.configs.transfer import DataKind
from verydeep.data.caltech import NUM_SPLITS, Caltech, find_caltech, open_caltech
from verydeep.data.copies import copies
from verydeep.data.draws import draw_of_each_class, hold_out
from verydeep.data.label_csv import LABELS, TEST, TRAIN, find_label_csv, open_divided_labels, open_labels
from verydeep.data.layout import open_split, split_names
from verydeep.data.split import Split
from verydeep.data.voc import SETS, find_voc, open_voc, voc_year
from verydeep.data.voc_actions import open_voc_actions
from verydeep.errors import VerydeepError

Metric = Literal["mean class recall", "AP, 11 points", "AP, all points"]
WhichSplit = Literal["val", "test"]

HELD_OUT = 0.2
"""The share of each class that is tested on where nothing else says what is, as ``open_split`` keeps for val."""

_LAST_OF_11_POINTS = 2009


@dataclass(frozen=True)
class Partition:
    """One way to divide a set."""

    train: Split
    test: Split | None
    """Its ``relevance`` is None too where VOC's server alone knows the labels; None: nothing is to be tested."""


@dataclass(frozen=True)
class TransferSet:
    """A set with its protocol."""

    name: str
    """'VOC-2007', 'VOC-2012 actions', 'Caltech-101', or as the folder is called."""
    kind: DataKind
    class_names: tuple[str, ...]
    metric: Metric
    partitions: tuple[Partition, ...]
    """One for each draw; a single one where the set itself says what is tested on."""

    @cached_property
    def copies(self) -> dict[Path, Path]:
        """File that is tested on in a draw -> an equal one that is learned from in the same; files are read once."""
        found: dict[Path, Path] = {}
        for one in self.partitions:
            found |= {} if one.test is None else copies(one.test, one.train)
        return found


@dataclass(frozen=True)
class _Draws:
    """How a set is divided by chance; None: as its protocol says."""

    seed: int
    num_train: int | None
    num_test: int | None
    num_splits: int | None

    def seeds(self, num_splits: int = 1) -> range:
        """One for each draw, in a row; ``num_splits`` of them if nothing else was asked for; one if none is tested."""
        return range(self.seed, self.seed + (1 if self.num_test == 0 else self.num_splits or num_splits))


def open_transfer_set(
    root: Path,
    *,
    seed: int = 0,
    num_train: int | None = None,
    num_test: int | None = None,
    num_splits: int | None = None,
    part: WhichSplit | None = None,
    actions: bool = False,
) -> TransferSet:
    """Recognize what lies in ``root`` and divide it as its protocol says.

    Args:
        root: VOC's devkit or one year of it, Caltech-101, Caltech-256, photographs with ``labels.csv`` or ``train.csv``
            and ``test.csv``, or whatever ``layout.open_split`` takes.
        seed: of the first draw; the next has the next seed.
        num_train: photographs of each class to learn from; None: the protocol's number.
        num_test: at most how many others of each class are tested on; None: the protocol's number; 0: nothing is
            tested, and of people's own sets all photographs are learned from unless ``num_train`` says less.
        num_splits: how many draws; None: the protocol's number.
        part: which is tested on, where a set has both (VOC, class folders); None: test if its labels are there, for VOC
            also if they are not.
        actions: VOC's action task in place of its classification.

    Raises:
        VerydeepError: no such folder, a class of too few photographs, numbers for a set that says itself what is tested
            on, a part or task that is not there, or as the readers of the sets.
    """
    draws = _Draws(seed, num_train, num_test, num_splits)
    _check_numbers(draws)
    if voc := find_voc(root):
        _refuse_numbers(draws, voc)
        return _open_voc(voc, part, actions)
    if actions:
        raise VerydeepError(f"{root} is not Pascal VOC, whose task actions are: name the folder of VOC2012.")
    caltech, tables = find_caltech(root), find_label_csv(root)
    if caltech is None and not tables:
        return _open_class_folders(root, part, draws)
    if part is not None:
        raise VerydeepError(f"{root} has no part called {part}: leave it out.")
    return _open_caltech(*caltech, draws) if caltech else _open_label_csv(root, tables, draws)


def _open_voc(folder: Path, part: WhichSplit | None, actions: bool) -> TransferSet:
    lists = folder / SETS / ("Action" if actions else "Main")
    if not lists.is_dir():
        raise VerydeepError(f"{lists} is missing, which has the lists of the task: unpack VOC's archive again.")
    tested = part or ("test" if (lists / "test.txt").is_file() else "val")
    year, read = voc_year(folder), open_voc_actions if actions else open_voc
    partition = Partition(read(folder, "trainval" if tested == "test" else "train"), read(folder, tested))
    return TransferSet(
        name=f"VOC-{year} actions" if actions else f"VOC-{year}",
        kind="VOC actions" if actions else "VOC",
        class_names=partition.train.class_names,
        metric="AP, 11 points" if year <= _LAST_OF_11_POINTS else "AP, all points",
        partitions=(partition,),
    )


def _open_caltech(caltech: Caltech, folder: Path, draws: _Draws) -> TransferSet:
    everything = open_caltech(caltech, folder)
    num_train = draws.num_train or caltech.num_train
    num_test = caltech.num_test if draws.num_test is None else draws.num_test
    partitions = tuple(_draw(everything, num_train, num_test, seed) for seed in draws.seeds(NUM_SPLITS))
    return TransferSet(caltech.name, "Caltech", everything.class_names, "mean class recall", partitions)


def _open_label_csv(root: Path, tables: tuple[str, ...], draws: _Draws) -> TransferSet:
    if tables == (TRAIN, TEST):
        _refuse_numbers(draws, root)
        partitions = [Partition(*open_divided_labels(root))]
    elif draws.num_train or draws.num_test:
        raise VerydeepError(
            f"A photograph of {root / LABELS} may have several labels, so none are drawn by number: leave the numbers "
            f"of photographs a class out, or divide them yourself by {TRAIN} and {TEST}."
        )
    elif draws.num_test == 0:
        partitions = [Partition(open_labels(root), None)]
    else:
        everything = open_labels(root)
        partitions = [_hold_out_labels(everything, seed) for seed in draws.seeds()]
    return TransferSet(root.resolve().name, "own", partitions[0].train.class_names, "AP, all points", tuple(partitions))


def _open_class_folders(root: Path, part: WhichSplit | None, draws: _Draws) -> TransferSet:
    divided = _divided_folders(root, part)
    if divided is not None:
        _refuse_numbers(draws, root)
        partitions = [divided]
    elif draws.num_train is not None:
        everything = open_split(root, "all")
        partitions = [_draw(everything, draws.num_train, draws.num_test, seed) for seed in draws.seeds()]
    elif draws.num_test == 0:
        partitions = [Partition(open_split(root, "all"), None)]
    elif draws.num_test is not None:
        raise VerydeepError(f"Say too how many photographs a class of {root} are learned from, not only tested on.")
    else:
        # As training divides it with this seed, so that a net is not tested on what it learned from.
        drawn = [[open_split(root, name, seed=seed) for name in ("train", "val")] for seed in draws.seeds()]
        partitions = [Partition(train, test) for train, test in drawn]
    return TransferSet(
        root.resolve().name, "own", partitions[0].train.class_names, "mean class recall", tuple(partitions)
    )


def _divided_folders(root: Path, part: WhichSplit | None) -> Partition | None:
    """What the folders themselves say is tested on; None where a share of the one folder is to be held out."""
    names = split_names(root)
    whole = "all" if "all" in names else "train"  # beside "all", val is no folder but such a share
    if whole not in names:
        raise VerydeepError(f"{root} has no train/ beside {' and '.join(names)}/: add the photographs to learn from.")
    for name in ("test", "val") if whole == "train" else ("test",):
        if name in names and part in (None, name) and (tested := open_split(root, name)).labels is not None:
            return Partition(open_split(root, whole), tested)
    if part == "test" or whole == "train":
        raise VerydeepError(f"{root} has no {part or 'test or val'} whose classes are known: put class folders there.")
    return None


def _draw(everything: Split, num_train: int, num_test: int | None, seed: int) -> Partition:
    train, test = draw_of_each_class(everything, num_train, num_test, seed=seed)
    others = {None: "all others", 0: "none"}.get(num_test, f"up to {num_test} others")
    layout = f"{everything.layout}, {num_train} a class to learn from and {others} to test on (seed {seed})"
    train, test = (replace(split, name=name, layout=layout) for split, name in ((train, "train"), (test, "test")))
    return Partition(train, None if num_test == 0 else test)


def _hold_out_labels(everything: Split, seed: int) -> Partition:
    kept, held = hold_out(everything, HELD_OUT, seed=seed)
    for split in (kept, held):
        assert split.relevance is not None
        lacking = (split.relevance < 1).all(axis=0)
        if lacking.any():
            name = everything.class_names[int(lacking.argmax())]
            raise VerydeepError(
                f"Label {name!r} of {everything.root / LABELS} is on too few photographs to be learned from some and "
                f"tested on others: label more, remove it, or divide them yourself by {TRAIN} and {TEST}."
            )
    layout = f"{everything.layout}, {HELD_OUT:.0%} of each class held out (seed {seed})"
    return Partition(replace(kept, name="train", layout=layout), replace(held, name="test", layout=layout))


def _check_numbers(draws: _Draws) -> None:
    for option, what, number, least in (
        ("--num-train", "photographs a class to learn from", draws.num_train, 1),
        ("--num-test", "photographs a class to test on", draws.num_test, 0),
        ("--num-splits", "splits to draw", draws.num_splits, 1),
    ):
        if number is not None and number < least:
            raise VerydeepError(f"{option}, the number of {what}, has to be at least {least}, not {number}.")


def _refuse_numbers(draws: _Draws, root: Path) -> None:
    if (draws.num_train, draws.num_test, draws.num_splits) != (None, None, None):
        raise VerydeepError(
            f"{root} says itself what is learned from and what is tested on: leave the numbers of photographs a class "
            "and of splits out."
        )
