"""Refusals of nets that do not fit the data they shall be tested on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from verydeep.data.split import Split
from verydeep.engine.datasets import DEFAULT_DIVISION, fingerprint, open_data_split
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, WeightsError
from verydeep.models.weights.model_folder import placeholder_names


def check_classes(split: Split, net: Net) -> None:
    """Refuse a data set whose classes the net does not know.

    Raises:
        WeightsError: the net is a trunk, or does not name its classes.
        DataError: the number, names or order of the classes differ, and they are not all WNIDs.
    """
    check_not_trunk(net)
    if net.with_outputs_for(split.class_names) is None:
        refuse_classes(split, net)


def check_not_trunk(net: Net) -> None:
    """Refuse a net without classes.

    Raises:
        WeightsError: the net is a trunk.
    """
    if net.config.is_trunk:
        left_out = net.config.provenance.left_out
        reason = f", because {left_out}" if left_out else ""
        raise WeightsError(
            f"{net.path} has only convolutions and no classes{reason}: train a net from it, with "
            f"`init_from={net.path}`."
        )


def refuse_classes(split: Split, net: Net) -> NoReturn:
    """Name the difference between the classes of a data set and those of a net.

    Raises:
        WeightsError: the net does not name its classes.
        DataError: otherwise.
    """
    known = net.class_names
    if known == placeholder_names(len(known)):
        raise WeightsError(
            f"{net.path} does not name its {len(known)} classes: convert it with `verydeep convert` and `class_names`."
        )
    if len(split.class_names) != len(known):
        raise DataError(
            f"{split.root} has {len(split.class_names)} classes, but {net.path} was trained on {len(known)}: evaluate "
            "it on the classes it was trained on."
        )
    ours, trained = next((a, b) for a, b in zip(split.class_names, known, strict=True) if a != b)
    raise DataError(
        f"{split.root} has a class {ours!r} where {net.path} has {trained!r}: evaluate it on the classes it was "
        "trained on."
    )


@contextmanager
def refuse_overflow(net: Net) -> Iterator[None]:
    """Name the net whose computation fails because a value is not finite.

    Raises:
        WeightsError: a FloatingPointError was raised within.
    """
    try:
        yield
    except FloatingPointError:
        raise WeightsError(
            f"{net.path} computes values that are not finite, because its weights are too large: train the net again."
        ) from None


def check_same_split(net: Net, data: str, split: Split) -> None:
    """Refuse a net that was trained on another division of the data, perhaps on images that it is tested on.

    Raises:
        DataError: the splits differ.
    """
    division = net.division
    if division == DEFAULT_DIVISION:  # as the split was opened; a million files are not listed again
        return
    if fingerprint(open_data_split(data, split.name, division)) != fingerprint(split):
        raise DataError(
            f"{net.path} was trained on another division of {data} (seed {division.seed}, val_fraction "
            f"{division.val_fraction:g}), "
            "so it may have learned from images that it is tested on: move it elsewhere and train again, or put the "
            "validation images into a folder val/ next to train/."
        )
