"""Remarks that a reader needs before quoting a figure: what nets have seen of the images."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from verydeep.data.folders.copies import find_copies
from verydeep.data.folders.division import are_held_out
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.engine.datasets import fingerprint, follow_folder, is_generated_folder, open_training_images
from verydeep.engine.nets.net import Net
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.paths import real_path
from verydeep.wording import count_of, shorten_list

MAX_NAMES = 3
"""Nets that one remark names; it counts the others."""


def count_images(number: int, name: str) -> str:
    """Return a number of images of a split: "15 val images", "all 15 images"."""
    return f"all {count_of(number, 'image')}" if name == "all" else count_of(number, f"{name} image")


def seen_images_remarks(
    nets: Iterable[Net], split: Split, classifiers: Mapping[str, SplitRecord] | None = None
) -> list[str]:
    """Return what nets have seen of the images that they are tested on, one sentence for each reason.

    Args:
        nets: that are tested, or describe the images for a classifier.
        split: the images.
        classifiers: name of each classifier that is tested -> its training images.
    """
    digest, names_by_reason = fingerprint(split), dict[str, list[str]]()
    for net in dict.fromkeys(nets):
        if reason := _seen_images(net, split, digest):
            names_by_reason.setdefault(reason, []).append(str(net.path))
    for name, record in (classifiers or {}).items():
        if reason := _compare_images(record, split, digest):
            names_by_reason.setdefault(reason, []).append(name)
    return [f"{reason.format(nets=shorten_list(names, MAX_NAMES))}." for reason, names in names_by_reason.items()]


def _seen_images(net: Net, split: Split, digest: str) -> str:
    """Return what a net has seen, with ``{nets}`` for its name; nothing where these images are new to it."""
    record = net.config.split
    if net.imported and split.name == "train" and set(split.class_names) <= ilsvrc_classes().keys():
        return "These may be ILSVRC's training images, from which {nets} learned"
    if record is None:
        return ""
    record = follow_folder(record, str(split.root))
    if digest == record.val and net.weights == "best":
        return "The weights of {nets} were chosen by the error on these images, so it is optimistic"
    return _compare_images(record, split, digest)


def _compare_images(record: SplitRecord, split: Split, digest: str) -> str:
    record = follow_folder(record, str(split.root))
    is_same_data, reason = record.data == str(real_path(split.root)), ""
    if digest == record.train:
        reason = "These are the training images of {nets}"
    elif digest == record.val:
        if record.plateau:
            reason = (
                "These images decided when the learning rate of {nets} dropped, so the error on unseen images may be "
                "higher"
            )
    elif split.name == "all" and is_same_data:
        reason = "The training images of {nets} are among these images"
    elif has_changed(record, split):
        reason = (
            "Photographs were added or removed since the training of {nets}: those tested were held out then, or are "
            "new"
            if _is_held_out(record, split)
            else "The data set has changed since the training of {nets}, or was split differently, so some of these "
            "images may be training images"
        )
    return reason


def _is_held_out(record: SplitRecord, split: Split) -> bool:
    """Whether no image of a split was a training image, as far as their names tell."""
    if record.last_ranks is None or split.labels is None:
        return False
    return bool(are_held_out(split, record.last_ranks, record.seed).all())


def learned_labels_remark(net: Net, splits: Iterable[Split]) -> str:
    """Return a remark that a net was trained on photographs whose labels it judges; nothing if it was not."""
    for split in splits:
        record = None if net.config.split is None else follow_folder(net.config.split, str(split.root))
        if record is not None and (record.data == str(real_path(split.root)) or record.train == fingerprint(split)):
            return (
                f"{net.path} was trained on photographs of {split.root} and may have learned wrong labels by heart, "
                "so some may not be found: use another net."
            )
    return ""


def has_changed(record: SplitRecord, split: Split) -> bool:
    """Return whether a part of the data set that a training used is another one now, by the names of its files."""
    record = follow_folder(record, str(split.root))
    is_recorded = split.name == "train" or (split.name == "val" and record.val is not None)
    is_same_data = record.data == str(real_path(split.root))
    return is_same_data and is_recorded and fingerprint(split) not in (record.train, record.val)


def gone_images_remarks(nets: Iterable[Net], split: Split, classifiers: Mapping[str, SplitRecord]) -> list[str]:
    """Return a sentence for each folder of training photographs that is gone, so that no copies were found.

    Arguments as in ``seen_images_remarks``.
    """
    records = [(str(net.path), net.config.split) for net in dict.fromkeys(nets)]
    names_by_folder: dict[str, list[str]] = {}
    for name, record in [*records, *classifiers.items()] if split.camera_rotation else []:
        if record is None or is_generated_folder(record.data):
            continue
        folder = follow_folder(record, str(split.root)).data
        if not Path(folder).exists():
            names_by_folder.setdefault(folder, []).append(name)
    is_divisible = split.name == "all" and any(record is not None and record.val_fraction for _, record in records)
    advice = ": if these are the same photographs, `split=val` tests on those held out" if is_divisible else ""
    return [
        f"The training photographs of {shorten_list(names, MAX_NAMES)} are no longer in {folder}, so the test "
        f"photographs could not be searched for copies of them{advice}."
        for folder, names in names_by_folder.items()
    ]


def list_copies(test: Split, train: Split) -> dict[str, str]:
    """Return test file -> training file with the same bytes, without files that are both.

    Paths are relative to the folder that holds both splits.
    """
    root = os.path.commonpath([split.root.absolute() for split in (test, train)])
    names = {
        one.absolute().relative_to(root).as_posix(): other.absolute().relative_to(root).as_posix()
        for one, other in find_copies(test, train).items()
    }
    return {one: other for one, other in names.items() if one != other}


def find_training_copies(split: Split, records: Iterable[SplitRecord | None]) -> dict[str, str]:
    """Return test file -> training file with the same bytes, of all trainings whose images are still there."""
    copies: dict[str, str] = {}
    for record in dict.fromkeys(records):
        if record is None or not split.camera_rotation:
            continue
        train = open_training_images(follow_folder(record, str(split.root)))
        if train is not None:
            copies |= list_copies(split, train)
    return copies


def copies_remark(copies: Mapping[str, str], *, figure: str = "score") -> str:
    """Return a remark that a figure is optimistic, because test images are copies of training images."""
    test, train = next(iter(copies.items()))
    fact = f"The test photograph {test} is a copy of the training photograph {train}"
    if len(copies) > 1:
        fact = f"{len(copies):,} test photographs are copies of training photographs (such as {test} of {train})"
    return f"{fact}, so the {figure} is optimistic: keep one of each."
