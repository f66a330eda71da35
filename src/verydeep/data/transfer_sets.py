"""The sets of appendix B, and people's own: their training photographs, test photographs and metrics.

| set | training | test | metric |
| --- | --- | --- | --- |
| VOC-2007, VOC-2012 | trainval (train) | test (val) | average precision: until 2009 at 11 points, later at all |
| VOC-2012 actions | trainval (train) | test (val) | average precision at all points |
| Caltech-101 | 30 of each class, 3 draws | up to 50 others of each class | mean class recall |
| Caltech-256 | 60 of each class, 3 draws | all others | mean class recall |
| class folders | train/, or all but a share | test/ or val/, or that share | mean class recall |
| CSV of one label each | train.csv, or all but a share | test.csv, or that share | mean class recall |
| CSV of several labels | train.csv, or all but a share | test.csv, or that share | average precision at all points |
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from verydeep.configs.transfer import DataKind
from verydeep.data.folders.class_folders import join_names
from verydeep.data.folders.copies import find_copies
from verydeep.data.folders.groups import add_groups
from verydeep.data.folders.label_csv import (
    LABELS,
    TEST,
    TRAIN,
    find_label_csv,
    find_labeled_folder,
    has_single_labels,
    open_divided_labels,
    open_labels,
)
from verydeep.data.layout import check_folder, open_split, split_names
from verydeep.data.sets.caltech import NUM_DRAWS, Caltech, find_caltech, open_caltech
from verydeep.data.sets.draws import draw_of_each_class, hold_out
from verydeep.data.sets.voc import SETS, find_voc, open_voc, voc_year
from verydeep.data.sets.voc_actions import open_voc_actions
from verydeep.data.split import Split
from verydeep.errors import DataError, OptionError
from verydeep.wording import name_given

Metric = Literal["mean class recall", "AP, 11 points", "AP, all points"]
TestSplit = Literal["val", "test"]

HELD_OUT = 0.2
"""The share of each class held out for testing if nothing else defines test photographs, as in ``open_split``."""

_LAST_OF_11_POINTS = 2009


@dataclass(frozen=True)
class Partition:
    """Training and test photographs of one draw."""

    train: Split
    test: Split | None
    """None if nothing is tested. Its ``relevance`` is None if VOC's server alone has the labels."""


@dataclass(frozen=True)
class TransferSet:
    """A set with its rules."""

    name: str
    """'VOC-2007', 'VOC-2012 actions', 'Caltech-101', or the name of the folder."""
    kind: DataKind
    class_names: tuple[str, ...]
    metric: Metric
    partitions: tuple[Partition, ...]
    """One for each draw; a single one if the set itself defines its test photographs."""
    val_fraction: float = 0
    """Share of the photographs that ``open_split`` held out for testing; 0 if they were chosen in another way."""
    group_by: str | None = None
    """Groups of photographs that no random split separates."""
    is_drawn: bool = False
    """Whether the partitions are random."""

    @cached_property
    def copies(self) -> dict[Path, Path]:
        """Test file -> equal training file of the same draw; the files are read once."""
        copies: dict[Path, Path] = {}
        for partition in self.partitions:
            if partition.test is not None:
                copies |= find_copies(partition.test, partition.train)
        return copies


@dataclass(frozen=True)
class _Draws:
    """Numbers of photographs to draw; None: as many as the rule of the set asks for."""

    seed: int
    num_train: int | None
    num_test: int | None
    num_splits: int | None
    group_by: str | None

    @property
    def given(self) -> str:
        """The names of the numbers that were given."""
        numbers = {"num_train": self.num_train, "num_test": self.num_test, "num_splits": self.num_splits}
        return name_given({name: number is not None for name, number in numbers.items()})

    def seeds(self, num_draws: int = 1) -> range:
        """Return a seed for each draw, ``num_draws`` of them by default; one if nothing is tested."""
        return range(self.seed, self.seed + (1 if self.num_test == 0 else self.num_splits or num_draws))


def open_transfer_set(
    root: Path,
    *,
    seed: int = 0,
    num_train: int | None = None,
    num_test: int | None = None,
    num_splits: int | None = None,
    split: TestSplit | None = None,
    actions: bool = False,
    group_by: str | None = None,
) -> TransferSet:
    """Recognize the set in ``root`` and divide it as its rule says.

    Args:
        root: VOC's devkit or one year of it, Caltech-101, Caltech-256, photographs with ``labels.csv`` or ``train.csv``
            and ``test.csv``, or any folder that ``layout.open_split`` reads.
        seed: of the first draw; the next one has the next seed.
        num_train: training photographs of each class; None: the set's number.
        num_test: largest number of test photographs of each class; None: the set's number; 0: nothing is tested,
            and all photographs of people's own sets are for training unless ``num_train`` is given.
        num_splits: number of draws; None: the set's number.
        split: which photographs are tested, if a set has both (VOC, class folders); None: test if its labels are there,
            and for VOC even if they are not.
        actions: whether VOC's task is actions instead of classification.
        group_by: groups of photographs that no random split separates, as ``groups.resolve_group_by`` returns it.

    Raises:
        DataError: the folder holds no such set, a class has too few photographs, or the set is damaged.
        OptionError: a number is too small, or the set defines its own training and test photographs.
    """
    draws = _Draws(seed, num_train, num_test, num_splits, group_by)
    _check_numbers(draws)
    transfer_set = _recognize(root, split, actions, draws)
    partitions = tuple(
        replace(partition, train=add_groups(partition.train, group_by)) for partition in transfer_set.partitions
    )
    return replace(transfer_set, partitions=partitions, group_by=group_by)


def _recognize(root: Path, split: TestSplit | None, actions: bool, draws: _Draws) -> TransferSet:
    check_folder(root)
    if voc := find_voc(root):
        _refuse_numbers(draws, voc)
        return _open_voc(voc, split, actions)
    if actions:
        raise DataError(f"{root} is not Pascal VOC, the only set with actions; give the folder of VOC2012.")
    root = find_labeled_folder(root) or root
    caltech, tables = find_caltech(root), find_label_csv(root)
    if caltech is None and has_single_labels(root, tables):  # the same data set as class folders
        return _open_classes(root, split, draws)
    if split is not None:
        raise OptionError(f"{root} has no {split} photographs of its own; omit `split`.", "split")
    return _open_caltech(*caltech, draws) if caltech else _open_label_csv(root, tables, draws)


def _open_voc(folder: Path, split: TestSplit | None, actions: bool) -> TransferSet:
    lists = folder / SETS / ("Action" if actions else "Main")
    if not lists.is_dir():
        raise DataError(f"{lists}, the folder of the task's lists, is missing; unpack VOC's tar file again.")
    test = split or ("test" if (lists / "test.txt").is_file() else "val")
    year, read = voc_year(folder), open_voc_actions if actions else open_voc
    partition = Partition(read(folder, "trainval" if test == "test" else "train"), read(folder, test))
    return TransferSet(
        name=f"VOC-{year} actions" if actions else f"VOC-{year}",
        kind="VOC actions" if actions else "VOC",
        class_names=partition.train.class_names,
        metric="AP, 11 points" if year <= _LAST_OF_11_POINTS else "AP, all points",
        partitions=(partition,),
    )


def _open_caltech(caltech: Caltech, folder: Path, draws: _Draws) -> TransferSet:
    everything = add_groups(open_caltech(caltech, folder), draws.group_by)
    num_train = draws.num_train or caltech.num_train
    num_test = caltech.num_test if draws.num_test is None else draws.num_test
    partitions = tuple(_draw(everything, num_train, num_test, seed) for seed in draws.seeds(NUM_DRAWS))
    return TransferSet(caltech.name, "Caltech", everything.class_names, "mean class recall", partitions, is_drawn=True)


def _open_label_csv(root: Path, tables: tuple[str, ...], draws: _Draws) -> TransferSet:
    if tables == (TRAIN, TEST):
        _refuse_numbers(draws, root)
        partitions = [Partition(*open_divided_labels(root))]
    elif draws.num_train or draws.num_test:
        raise OptionError(
            f"Photographs in {root / LABELS} have several labels or none, so a fixed number per class cannot be drawn: "
            f"omit {draws.given}, or divide the photographs yourself into {TRAIN} and {TEST}."
        )
    elif draws.num_test == 0:
        partitions = [Partition(open_labels(root), None)]
    else:
        everything = add_groups(open_labels(root), draws.group_by)
        partitions = [_hold_out_labels(everything, seed) for seed in draws.seeds()]
        return replace(_own_set(root, "AP, all points", partitions), is_drawn=True)
    return _own_set(root, "AP, all points", partitions)


def _open_classes(root: Path, split: TestSplit | None, draws: _Draws) -> TransferSet:
    divided = _divided_classes(root, split)
    if divided is not None:
        _refuse_numbers(draws, root)
        partitions = [divided]
    elif split is not None and draws.given not in ("", "`num_splits`"):
        raise OptionError(f"{root} is divided by {draws.given}, so `split` has no effect: omit it.", "split")
    elif draws.num_train is not None:
        everything = add_groups(open_split(root, "all"), draws.group_by)
        partitions = [_draw(everything, draws.num_train, draws.num_test, seed) for seed in draws.seeds()]
        return replace(_own_set(root, "mean class recall", partitions), is_drawn=draws.num_test != 0)
    elif draws.num_test == 0:
        partitions = [Partition(open_split(root, "all"), None)]
    elif draws.num_test is not None:
        raise OptionError(f"`num_test` needs `num_train` for {root}; give both numbers.", "num_train")
    else:
        # Divided as `verydeep train` does with this seed, so that a net is not tested on its training photographs.
        partitions = [_hold_out_fifth(root, seed, draws.group_by) for seed in draws.seeds()]
        return replace(_own_set(root, "mean class recall", partitions), val_fraction=HELD_OUT, is_drawn=True)
    return _own_set(root, "mean class recall", partitions)


def _hold_out_fifth(root: Path, seed: int, group_by: str | None) -> Partition:
    """Return a random fifth as test photographs; nothing is tested if no class has photographs for both splits."""
    train, val = (open_split(root, name, seed=seed, group_by=group_by) for name in ("train", "val"))
    return Partition(train, val if len(val) else None)


def _own_set(root: Path, metric: Metric, partitions: list[Partition]) -> TransferSet:
    return TransferSet(root.absolute().name, "own", partitions[0].train.class_names, metric, tuple(partitions))


def _divided_classes(root: Path, split: TestSplit | None) -> Partition | None:
    """Return the training and test photographs that folders or CSV files define; None if a share must be held out."""
    names = split_names(root)
    whole = "all" if "all" in names else "train"  # where there is "all", val is not a folder but a share of train
    if whole not in names:
        raise DataError(f"{root} has {' and '.join(names)}/ but no train/; add training photographs.")
    for name in ("test", "val") if whole == "train" else ("test",):
        if name in names and split in (None, name) and (test := open_split(root, name)).labels is not None:
            return Partition(open_split(root, whole), test)
    if split == "test" and find_label_csv(root):
        raise OptionError(
            f"{root} has no test photographs of its own: omit `split`, or list these in {TEST} and the others in "
            f"{TRAIN}.",
            "split",
        )
    if split == "test" or whole == "train":
        folder = root / (split or "test")
        raise DataError(
            f"{root} has no {split or 'test or val'} photographs with labels: put class folders into {folder}."
        )
    return None


def _draw(everything: Split, num_train: int, num_test: int | None, seed: int) -> Partition:
    train, test = draw_of_each_class(everything, num_train, num_test, seed=seed)
    others = {None: "all others", 0: "none"}.get(num_test, f"up to {num_test} others")
    layout = f"{everything.layout}, {num_train} of each class for training and {others} for testing (seed {seed})"
    train, test = (replace(split, name=name, layout=layout) for split, name in ((train, "train"), (test, "test")))
    return Partition(train, None if num_test == 0 else test)


def _hold_out_labels(everything: Split, seed: int) -> Partition:
    train, test = hold_out(everything, HELD_OUT, seed=seed)
    assert train.relevance is not None and test.relevance is not None
    in_train, in_test = np.any(train.relevance > 0, axis=0), np.any(test.relevance > 0, axis=0)
    if not in_train.all() or not in_test.any():
        name = everything.class_names[int((in_train & in_test).argmin())]
        raise DataError(
            f"Too few photographs in {everything.root / LABELS} have the label {name!r} to train on some and test "
            f"on others; label more, remove it, or divide the photographs yourself into {TRAIN} and {TEST}."
        )
    if untested := [name for name, is_there in zip(everything.class_names, in_test, strict=True) if not is_there]:
        names = join_names(untested)
        notes = (
            *train.notes,
            f"Too few photographs to be in both splits, so all are for training, none to test: {names}.",
        )
        train = replace(train, notes=notes)
    layout = f"{everything.layout}, {HELD_OUT:.0%} of each class held out (seed {seed})"
    return Partition(replace(train, name="train", layout=layout), replace(test, name="test", layout=layout))


def _check_numbers(draws: _Draws) -> None:
    for name, number, least in (
        ("num_train", draws.num_train, 1),
        ("num_test", draws.num_test, 0),
        ("num_splits", draws.num_splits, 1),
    ):
        if number is not None and number < least:
            raise OptionError(f"`{name}` must be at least {least}, not {number}.", name)


def _refuse_numbers(draws: _Draws, root: Path) -> None:
    if draws.given:
        raise OptionError(f"{root} defines its own training and test photographs; omit {draws.given}.")
