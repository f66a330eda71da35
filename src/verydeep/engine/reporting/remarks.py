"""Remarks that a reader needs before quoting a figure: whether a net has seen the images."""

from collections.abc import Iterable

from verydeep.data.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.engine.datasets import fingerprint
from verydeep.engine.nets.net import Net

MAX_NAMES = 3
"""Nets that one remark names; it counts the others."""


def seen_images_remarks(nets: Iterable[Net], split: Split) -> list[str]:
    """Return what nets have seen of the images that they are tested on, one sentence for each reason."""
    digest, names_by_reason = fingerprint(split), dict[str, list[str]]()
    for net in dict.fromkeys(nets):
        if reason := _seen_images(net, split, digest):
            names_by_reason.setdefault(reason, []).append(str(net.path))
    return [f"Note: {reason.format(nets=_join(names))}." for reason, names in names_by_reason.items()]


def _seen_images(net: Net, split: Split, digest: str) -> str:
    """Return what a net has seen, with ``{nets}`` for its name; nothing where these images are new to it."""
    record = net.config.split
    if net.imported and split.name == "train" and set(split.class_names) <= ilsvrc_classes().keys():
        return "these may be ILSVRC's training images, from which {nets} learned"
    if record is None:
        return ""
    is_same_data, reason = record.data == str(split.root.resolve()), ""
    if digest == record.train:
        reason = "these are the training images of {nets}"
    elif digest == record.val:
        if net.weights == "best":
            reason = "the weights of {nets} were chosen by the error on these images, so it is optimistic"
        elif record.plateau:
            reason = "these images decided when the learning rate of {nets} dropped, so they are not unseen images"
    elif split.name == "all" and is_same_data:
        reason = "most of these images are training images of {nets}"
    elif is_same_data and (split.name == "train" or (split.name == "val" and record.val is not None)):
        reason = (
            "the data set has changed since the training of {nets}, or was split differently, so some of these images "
            "may be training images"
        )
    return reason


def _join(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
