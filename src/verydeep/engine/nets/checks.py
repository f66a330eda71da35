"""Refusals of nets that do not fit the data they are to be tested on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from verydeep.data.folders.listing import normalize_name
from verydeep.data.split import Split
from verydeep.engine.datasets import DEFAULT_DIVISION, fingerprint, open_data_split
from verydeep.engine.launching import is_main
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder, Weights
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, OptionError, WeightsError
from verydeep.models.weights.model_folder import ModelConfig, placeholder_names
from verydeep.paths import real_path
from verydeep.wording import shorten_list

_NOTED: set[tuple[Path, str]] = set()
"""Runs whose training has not ended, with their last checkpoints, each with one note in this process."""


def open_net(source: object, weights: Weights = "last") -> Net:
    """Open a net as ``Net.open`` does, and note it if its training has not ended."""
    net = Net.open(source, weights)
    if not isinstance(source, Net):
        note_unfinished(net.path, net.config)
    return net


def note_unfinished(path: Path, config: ModelConfig) -> None:
    """Print a note, once, that the training of a run has not ended."""
    run = RunFolder(path)
    if config.provenance.converged is not None or not run.settings.exists():
        return
    last = max((each.stem for each in run.checkpoints.glob("step-*.safetensors")), default="")
    if (real_path(path), last) in _NOTED:
        return
    _NOTED.add((real_path(path), last))
    used = f"its net at step {int(last.removeprefix('step-')):,}" if last else "its last saved net"
    Log(silent=not is_main()).info(
        f"The training of {path} has not ended; {used} is used. If it has stopped, continue it with "
        f"`verydeep train --resume {path}`."
    )


def align_classes(split: Split, nets: Sequence[Net]) -> Split:
    """Return the split with the classes that nets are tested on.

    Classes that are WNIDs remain, and each net is tested with their outputs alone, as it may know a thousand others.
    Otherwise the classes are those of the nets, in the order of the first one; labels are matched by name.

    Raises:
        WeightsError: a net is a trunk or does not name its classes, or nets have different classes.
        DataError: an image has a class that a net does not know.
    """
    for net in nets:
        check_not_trunk(net)
    if all(net.with_outputs_for(split.class_names) is not None for net in nets):
        return split
    first = nets[0]
    for net in nets:
        check_known(split, net.class_names, net.path)
        if net.with_outputs_for(first.class_names) is None:
            raise WeightsError(
                f"{net.path} has other classes than {first.path}: an ensemble needs nets of the same classes."
            )
    return match_classes(split, first.class_names, first.config.class_words)


def match_classes(split: Split, class_names: Sequence[str], class_words: Sequence[str]) -> Split:
    """Return the split with labels that count these classes; names are equal in any normal form."""
    names = {normalize_name(name): name for name in class_names}
    own = tuple(names.get(normalize_name(name), name) for name in split.class_names)
    return replace(split, class_names=own).with_classes(class_names, class_words)


def check_known(split: Split, class_names: Sequence[str], path: Path) -> None:
    """Refuse images of classes that a net or a classifier does not know.

    Raises:
        WeightsError: its classes have no names.
        DataError: an image has another class.
    """
    if tuple(class_names) == placeholder_names(len(class_names)):
        raise WeightsError(
            f"{path} does not name its {len(class_names)} classes: convert it with `verydeep convert` and "
            "`class_names`."
        )
    known = set(map(normalize_name, class_names))
    if unknown := [name for name in split.shown_classes if normalize_name(name) not in known]:
        noun, them = ("a class", "that class") if len(unknown) == 1 else (f"{len(unknown)} classes", "those classes")
        raise DataError(
            f"{split.root} has {noun} that {path} does not know: {shorten_list(unknown)}. Rename or remove "
            f"{them} in the data set; the net knows {shorten_list(class_names)}."
        )


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
            f"`init_from={net.path}`, or a classifier, with `verydeep transfer`."
        )


def check_predicts_classes(net: Net) -> None:
    """Refuse a net that does not predict classes.

    Raises:
        WeightsError: the net is a trunk.
        OptionError: the net predicts boxes.
    """
    if net.config.regression is not None:
        raise OptionError(f"{net.path} predicts boxes: use `verydeep localize`, which also predicts classes.", "run")
    check_not_trunk(net)


def check_predicts_boxes(net: Net) -> None:
    """Refuse a net that does not predict boxes.

    Raises:
        WeightsError: the net is a trunk, or predicts classes.
    """
    check_not_trunk(net)
    if net.config.regression is None:
        raise WeightsError(
            f"{net.path} predicts classes, not boxes: train a localization net from it, with `task=localize` and "
            f"`init_from={net.path}`."
        )


@contextmanager
def refuse_overflow(net: Net) -> Iterator[None]:
    """Name the net whose computation fails because a value is not finite.

    Raises:
        WeightsError: a FloatingPointError was raised within.
    """
    try:
        yield
    except FloatingPointError as error:
        fault = str(error).removeprefix("The net")
        raise WeightsError(f"{net.path}{fault}; its weights are too large: train the net again.") from None


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
            f"{net.path} was trained on another division of {data} ({division}), so it may have learned from images "
            "that it is tested on: move it elsewhere and train again, or put the validation images into a folder val/ "
            "next to train/."
        )
