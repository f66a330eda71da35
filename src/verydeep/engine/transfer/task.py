"""A transfer task (appendix B): a data set and a representation, and the result of training and testing on it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from verydeep.configs.transfer import DataKind
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.sets.voc_results import (
    ACTIONS,
    CLASSIFICATION,
    RESULT_FOLDER,
    find_voc_results,
    write_voc_action_results,
    write_voc_results,
)
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.datasets import check_outside_data, choose_value_ranges, fingerprint
from verydeep.engine.descriptors.cache import compute_descriptors, read_descriptors
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.log import Log
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Kernels, Runtime
from verydeep.engine.transfer.classifier import Classifier
from verydeep.engine.transfer.curve import CurvePoint, measure_learning_curve
from verydeep.engine.transfer.partition import PartitionResult, add_interval, check_training, transfer_partition
from verydeep.errors import OptionError
from verydeep.files import check_new_file, check_output_folder
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.paths import real_path

RESULTS = "transfer.json"
PREDICTIONS = "predictions.csv"
MARGINS = "margins.csv"
CURVE, CONFUSION_TABLE, CONFUSION = ("curve.png", "confusion.csv", "confusion.png")

SUBMISSIONS: Mapping[DataKind, Callable[[Path, Split, Float32Array], Path]] = {
    "VOC": write_voc_results,
    "VOC actions": write_voc_action_results,
}
"""Data sets whose server takes results -> the function that writes them."""


@dataclass(frozen=True)
class TransferTask:
    """The data set and the representation that SVMs are trained and tested on."""

    transfer_set: TransferSet
    representation: Representation
    costs: Sequence[float]
    """Values of C to choose from."""
    seed: int = 0
    """Seed of what is held out to choose C; the next draw has the next seed."""
    decoding: Decoding = STRICT
    balanced: bool = False
    """Whether the images of a class weigh as much as all others in the training of its SVM."""

    @cached_property
    def split(self) -> Split:
        """All samples, each once."""
        merged = merge_splits(
            [split for one in self.transfer_set.partitions for split in (one.train, one.test) if split is not None]
        )
        return replace(merged, value_ranges=self.representation.value_ranges)

    def with_value_ranges(self, runtime: Runtime, log: Log) -> "TransferTask":
        """Return the task with ranges for values that are not bytes, chosen by all samples."""
        split, representation = replace(self.split, value_ranges=None), self.representation
        (split,) = choose_value_ranges([split], representation.recorded_ranges, runtime, log)
        return replace(self, representation=replace(representation, value_ranges=split.value_ranges or {}))

    @property
    def record(self) -> SplitRecord:
        """The images of the first draw."""
        first = self.transfer_set.partitions[0]
        return SplitRecord(
            data=str(real_path(first.train.root)),
            seed=self.seed,
            val_fraction=self.transfer_set.val_fraction,
            train=fingerprint(first.train),
            val=None if first.test is None else fingerprint(first.test),
            plateau=False,
            group_by=self.transfer_set.group_by,
        )

    def check(self, out: Path, submission: Path | None) -> None:
        """Refuse what could not be computed or written, before hours of work.

        Args:
            out: folder of the classifier.
            submission: folder of the files for VOC's server, if they are wanted.

        Raises:
            OptionError: a net has no such layer, a folder holds something else or lies among the images, or no server
                takes results of this data set.
            DataError: the training images do not suffice.
        """
        self.representation.check()
        if self.transfer_set.group_by is not None and not self.transfer_set.is_drawn and len(self.costs) == 1:
            raise OptionError(
                f"`group_by` keeps groups together in random splits, and {self.transfer_set.name} has its own splits: "
                "omit it.",
                "group_by",
            )
        for seed, partition in enumerate(self.transfer_set.partitions, start=self.seed):
            for part in (partition.train, partition.test):
                if part is not None:
                    check_outside_data(out, part)
            check_training(partition.train, self.costs, seed)
        if (out / RESULTS).exists():
            raise OptionError(f"{out} already holds a classifier: choose another `out`, or remove the folder.", "out")
        check_output_folder(out, lambda name: name.startswith("."), "a classifier")
        if submission is not None and self.transfer_set.kind not in SUBMISSIONS:
            raise OptionError(
                f"`submission` writes files for VOC's server, and {self.transfer_set.name} is not Pascal VOC: omit it.",
                "submission",
            )
        if submission is not None:
            tested = self.transfer_set.partitions[0].test
            check_submission(submission, self.transfer_set.kind, None if tested is None else tested.name)

    def compute_descriptors(self, runtime: Runtime) -> dict[str, str]:
        """Compute the descriptors of all samples by all processes; return the files that could not be decoded."""
        return compute_descriptors(self.representation, self.split, runtime, self.decoding)


def check_submission(folder: Path, kind: DataKind, part: str | None) -> None:
    """Refuse a folder for VOC's server that holds other things, or results of the same task on the same part.

    Raises:
        OptionError: It does.
    """
    contents = "results for VOC's server"
    check_output_folder(folder, lambda name: name.startswith(".") or name == RESULT_FOLDER, contents, "submission")
    task = CLASSIFICATION if kind == "VOC" else ACTIONS
    for path in find_voc_results(folder, task, part or ""):
        check_new_file(path, "submission")


@dataclass(frozen=True, eq=False)
class TransferResult:
    """Result of a transfer."""

    task: TransferTask
    partitions: tuple[PartitionResult, ...]
    """Result of each draw."""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""
    precision: str
    kernels: Kernels = "torch"
    curve: tuple[CurvePoint, ...] = ()
    """Scores with fewer photographs; empty where images may have several classes."""

    @property
    def classifier(self) -> Classifier:
        """The SVMs of the first draw and the representation that they take."""
        train = self.task.transfer_set.partitions[0].train
        svms, record = self.partitions[0].svms, self.task.record
        return Classifier(train.class_names, train.class_words, self.task.representation, svms, record)

    @property
    def scores(self) -> list[float]:
        """Score in percent of each draw whose test images have known classes."""
        return [partition.score for partition in self.partitions if partition.score is not None]

    @property
    def confusion(self) -> Int64Array | None:
        """(K, K) counts over the test images of all draws; None where images have no single known class."""
        counts = [confusion for partition in self.partitions if (confusion := partition.confusion) is not None]
        return sum(counts[1:], counts[0]) if counts else None


def run_transfer(
    task: TransferTask, skipped: dict[str, str], runtime: Runtime, *, with_curve: bool = False
) -> TransferResult:
    """Train and test on every partition, by the main process alone.

    Args:
        task: data set and representation.
        skipped: result of ``task.compute_descriptors``, which comes first.
        runtime: of the computing of descriptors.
        with_curve: whether SVMs are trained on fewer photographs of each class, too.

    Raises:
        DataError: no sample could be decoded, a sample has changed, or a class cannot be learned.
        ResourceError: scikit-learn is not installed, or the cache changes meanwhile.
    """
    release_freed_memory()  # the nets' memory, which the SVMs need
    samples = read_descriptors(task.representation, task.split, skipped, runtime, task.decoding)
    metric = task.transfer_set.metric
    partitions = tuple(
        transfer_partition(partition, samples, metric, costs=task.costs, seed=seed, balanced=task.balanced)
        for seed, partition in enumerate(task.transfer_set.partitions, start=task.seed)
    )
    if len(partitions) == 1:
        partitions = (add_interval(partitions[0], metric),)
    result = TransferResult(task, partitions, skipped, runtime.precision, runtime.kernels)
    if not with_curve or result.confusion is None:
        return result
    return replace(
        result,
        curve=measure_learning_curve(task.transfer_set, samples, partitions, seed=task.seed, balanced=task.balanced),
    )


def merge_splits(splits: Sequence[Split]) -> Split:
    """Return the samples of splits of one data set, each once, sorted by path, in the folder that holds them all."""
    assert len({split.boxes is None for split in splits}) == 1
    first, root = splits[0], Path(os.path.commonpath([split.root for split in splits]))
    samples = {split.sample_key(index): (split, index) for split in splits for index in range(len(split))}
    rows = [(split.path(index).relative_to(root).as_posix(), split, index) for split, index in samples.values()]
    rows.sort(key=lambda row: row[0])
    boxes = tuple(split.boxes[index] for _, split, index in rows if split.boxes is not None)
    return replace(
        first,
        name="all",
        root=root,
        files=tuple(file for file, _, _ in rows),
        boxes=boxes or None,
        labels=None,
        relevance=None,
        groups=None,
        notes=tuple(dict.fromkeys(note for split in splits for note in split.notes)),
    )
