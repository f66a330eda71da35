"""A transfer as a whole (appendix B): a data set and what describes it, and what comes of that and is left of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from verydeep.configs.transfer import DataKind
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet
from verydeep.data.voc_results import write_voc_action_results, write_voc_results
from verydeep.engine.datasets import check_outside_data, fingerprint
from verydeep.engine.descriptors.representation import Representation, read_descriptors, union
from verydeep.engine.log import Log
from verydeep.engine.process import release_freed_memory
from verydeep.engine.reporting.confusion import draw_confusion, write_confusion
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.classifier import FIELDS, TENSORS, Classifier, save_classifier
from verydeep.engine.transfer.curve import Point, draw_curve, learning_curve
from verydeep.engine.transfer.protocol import (
    PartitionResult,
    as_values,
    check_training,
    metric_title,
    transfer,
    transfer_remarks,
    with_interval,
)
from verydeep.errors import VerydeepError
from verydeep.files import check_output_folder, write_json
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import confusion_matrix

RESULTS = "transfer.json"
CURVE, CONFUSION_TABLE, CONFUSION = LOOKS = ("curve.png", "confusion.csv", "confusion.png")

SUBMISSIONS: Mapping[DataKind, Callable[[Path, Split, Float32Array], Path]] = {
    "VOC": write_voc_results,
    "VOC actions": write_voc_action_results,
}
"""The data sets whose server takes results, and who writes them."""


@dataclass(frozen=True)
class TransferTask:
    """What is asked for."""

    task: TransferSet
    representation: Representation
    candidates: Sequence[float]
    """For C."""
    seed: int = 0
    """Of what is held out to choose C; the next draw has the next seed."""
    decoding: Decoding = STRICT

    @cached_property
    def everything(self) -> Split:
        """All samples that are learned from or tested on, each once."""
        return union([split for one in self.task.partitions for split in (one.train, one.test) if split is not None])

    def check(self, place: Path, submission: Path | None) -> None:
        """Refuse what could not be done or left, before hours of work.

        Raises:
            VerydeepError: a net has no such layer, the images do not suffice, the folder holds something already or
                lies among them, or no server takes the results.
        """
        self.representation.check()
        for seed, one in enumerate(self.task.partitions, start=self.seed):
            for part in (one.train, one.test):
                if part is not None:
                    check_outside_data(place, part)
            check_training(one.train, self.candidates, seed)
        if (place / RESULTS).exists():
            raise VerydeepError(f"{place} already holds a classifier: choose another --out, or remove it.")
        its = {FIELDS, TENSORS, *LOOKS, RESULTS}  # of one that was stopped
        check_output_folder(place, lambda name: name.removesuffix(".tmp") in its, "a classifier")
        if submission is not None and self.task.kind not in SUBMISSIONS:
            raise VerydeepError(
                f"--submission writes what VOC's server takes, and {self.task.name} is not Pascal VOC: leave it out."
            )


@dataclass(frozen=True, eq=False)
class TransferResult:
    """What came of it."""

    task: TransferTask
    found: tuple[PartitionResult, ...]
    """Of each draw."""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""
    precision: str
    curve: tuple[Point, ...] = ()
    """What fewer photographs of each class give; nothing where images may have several."""

    @property
    def confusion(self) -> Int64Array | None:
        """(K, K) of the test images of all draws; None where they may have several classes, or nothing is known."""
        counts = [
            confusion_matrix(each.margins, each.test.labels)
            for each in self.found
            if each.test is not None and each.test.labels is not None and each.margins is not None
        ]
        return sum(counts[1:], counts[0]) if counts else None


def run_transfer(
    task: TransferTask, skipped: dict[str, str], runtime: Runtime, *, with_curve: bool = False
) -> TransferResult:
    """Train and test on every partition, once all samples were described (``compute_descriptors``) but those skipped.

    ``with_curve``: whether SVMs are trained on fewer photographs of each class, too.

    Raises:
        VerydeepError: as ``read_descriptors`` and ``transfer``.
    """
    release_freed_memory()  # of the nets, which the SVMs have use for
    everything = task.everything
    described = read_descriptors(task.representation, everything, skipped, runtime, task.decoding)
    found = tuple(
        transfer(
            one,
            everything,
            described,
            task.task.metric,
            candidates=task.candidates,
            seed=task.seed + number,
        )
        for number, one in enumerate(task.task.partitions)
    )
    if len(found) == 1:
        found = (with_interval(found[0], task.task.metric),)
    result = TransferResult(task, found, skipped, runtime.precision)
    if not with_curve or result.confusion is None:
        return result
    return replace(result, curve=learning_curve(task.task, everything, described, found, seed=task.seed))


def write_transfer_result(result: TransferResult, place: Path, submission: Path | None, log: Log) -> None:
    """Say what was found, keep the first draw's classifiers, and write VOC's result files where they are asked for."""
    task, first = result.task, result.found[0]
    for line in transfer_remarks(result.found, task.task, task.representation):
        log.info(line)
    if result.skipped:
        log.info(f"Skipped: {len(result.skipped):,} files that cannot be decoded, listed in {RESULTS}.")
    names = task.task.partitions[0].train
    classifier = Classifier(names.class_names, names.class_words, task.representation, first.classifiers)
    save_classifier(place, classifier)
    for note in dict.fromkeys(seen_in_training(task)):
        log.info(note)
    learned_from_too = copies_of_tested(task)
    if learned_from_too:
        log.info(copies_remark(learned_from_too))
    about = {
        "root": str(task.everything.root),
        "seed": task.seed,
        "weights": [net.weights for net in task.representation.nets],
        "precision": result.precision,
        "fast_decode": task.decoding.fast,
        "skipped": result.skipped,
        "copies": learned_from_too,
        "curve": [asdict(point) for point in result.curve],
    }
    layers_at_scales = write_pictures(result, place, log)
    # Last, as the sign that all of it is there.
    write_json(place / RESULTS, {**as_values(result.found, task.task, task.representation), **about})
    log.info(f"Written: {place}/ ({', '.join([FIELDS, TENSORS, *layers_at_scales, RESULTS])})")
    if submission is not None:
        assert first.test is not None
        assert first.margins is not None
        log.info(f"Written: {SUBMISSIONS[task.task.kind](submission, first.test, first.margins)}/")
    if task.representation.coverage == "image":
        log.info(f"Try:  verydeep predict {place} photo.jpg")


def seen_in_training(task: TransferTask) -> Iterator[str]:
    """Whether a net learned from photographs that are tested on here."""
    for net, one in product(task.representation.nets, task.task.partitions):
        if one.test is None:
            continue
        yield from seen_images_remarks([net], one.test)
        known, folder = net.config.split, str(one.train.root.resolve())
        if (
            one.test.root == one.train.root
            and known.get("data") == folder
            and known.get("val") != fingerprint(one.test)
        ):
            yield (
                f"Note: {net.path.name} was trained on photographs of {folder} and may have learned from some that "
                "are tested on here, so the score is not of unseen data: take another net."
            )


def copies_of_tested(task: TransferTask) -> dict[str, str]:
    """``TransferSet.copies``, below the folder of all samples."""
    root, found = task.everything.root, task.task.copies
    return {
        tested.relative_to(root).as_posix(): learned.relative_to(root).as_posix() for tested, learned in found.items()
    }


def copies_remark(found: Mapping[str, str]) -> str:
    """That the score is too good, for people."""
    (tested, learned), *others = found.items()
    more = f" and {len(others):,} more" if others else ""
    return (
        f"Note: a photograph that was tested on has a copy that was learned from ({tested} is {learned}){more}, so the "
        "score is of data that were partly seen: keep one of each."
    )


def write_pictures(result: TransferResult, place: Path, log: Log) -> list[str]:
    """Say and draw what fewer photographs give, and which classes are taken for which; returns the files' names."""
    names, written = result.task.task.partitions[0].train, []
    if result.curve:
        log.info(f"With so many photographs of each class, or all it has: {'; '.join(map(str, result.curve))}.")
        draw_curve(result.curve, metric_title(result.task.task.metric), place / CURVE)
        written.append(CURVE)
    if result.confusion is not None:
        write_confusion(place / CONFUSION_TABLE, result.confusion, names.class_names)
        draw_confusion(place / CONFUSION, result.confusion, names.class_words)
        written += [CONFUSION_TABLE, CONFUSION]
    return written
