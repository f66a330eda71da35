"""Conversion of other systems' weight files: the file is read, its classes are named, its input is folded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from verydeep.configs.published_nets import PublishedNet, find_published
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.errors import OptionError, WeightsError
from verydeep.models.weights.folding import fold_input
from verydeep.models.weights.identification import identify_network
from verydeep.models.weights.model_folder import (
    WEIGHTS,
    ModelConfig,
    Provenance,
    is_model_folder,
    placeholder_names,
    save_config,
    save_weights,
)
from verydeep.models.weights.reading import read_weight_file
from verydeep.models.weights.weight_file import CAFFE_INPUT, RGB_INPUT, TORCHVISION_INPUT, InputConvention, WeightFile

InputName = Literal["caffe", "rgb", "torchvision"]
INPUTS: dict[InputName, InputConvention] = {"caffe": CAFFE_INPUT, "rgb": RGB_INPUT, "torchvision": TORCHVISION_INPUT}
"""Input conventions that a user may name."""

ILSVRC_CLASSES = 1000
BACKGROUND = "background"
"""The class before ILSVRC's thousand in nets of 1001 outputs."""


@dataclass(frozen=True)
class ConvertedNet:
    """An imported net, as our configuration and tensors."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    """Sentences for the user: parts left out, guesses made."""
    published: PublishedNet | None = None
    """The published net that the file is."""

    def save(self, folder: Path) -> None:
        """Write the model folder; config.json, which marks it as complete, comes last."""
        save_weights(folder, self.tensors)
        save_config(folder, self.config)


def convert_file(
    path: Path, input_name: InputName | None = None, class_names: Sequence[str] | None = None
) -> ConvertedNet:
    """Convert a weight file.

    Args:
        path: of the file.
        input_name: the input convention, if the file does not state it or states a wrong one.
        class_names: names of its outputs, if the file does not have them.

    Raises:
        WeightsError: no known system wrote the file, or it is damaged, or is not a VGG net, or one of verydeep's.
        OptionError: the number of names is not that of its outputs, or a name comes twice.
        ResourceError: a package that the format needs is not installed.
    """
    if path.name == WEIGHTS and is_model_folder(path.parent):
        raise WeightsError(f"{path} already is a net of verydeep: give its folder, {path.parent}.")
    file = read_weight_file(path)
    if input_name is not None:
        file = replace(file, input=INPUTS[input_name])
    config, num_classes = identify_network(file.tensors, path)
    names, words = name_classes(file, num_classes, class_names, path)
    digests = hash_file(path)
    published = find_published(digests) if input_name is None else None  # with another input it is another net
    is_divided = file.input.divisor_rgb != (1, 1, 1)
    config = replace(
        config,
        class_names=names,
        class_words=words,
        mean_rgb=file.input.mean_rgb,
        input_scale=file.input.divisor_rgb if is_divided else None,
        pooling=file.pooling,
        train_scale=None if published is None else published.scale,
        provenance=import_provenance(path, file, published, digests["sha256"]),
    )
    first = fold_input(file.tensors["conv1_1.weight"], file.input)
    notes = file.notes
    if file.left_out:
        notes = (f"Only the convolutions were read: {file.left_out}.", *notes)
    if file.assumption and input_name is None:
        kinds = ", ".join(INPUTS)
        notes = (f"{file.assumption} If that is wrong, use `verydeep convert` with `input`: {kinds}.", *notes)
    if class_names is None and not file.class_names and BACKGROUND not in names and num_classes == ILSVRC_CLASSES:
        notes = (*notes, f"Its {num_classes:,} outputs are taken for ILSVRC's classes, in the order of their WNIDs.")
    if names and names == placeholder_names(num_classes):
        advice = "use `verydeep convert` with `class_names`, a file with one in each line"
        notes = (*notes, f"Its {num_classes} outputs have no names: {advice}.")
    return ConvertedNet(config, {**file.tensors, "conv1_1.weight": first}, notes, published)


def name_classes(
    file: WeightFile, num_classes: int, class_names: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and words of the outputs; a thousand without names are ILSVRC's, sorted by WNID as in Caffe.

    Raises:
        OptionError: the number of names is not that of the outputs, or a name comes twice; a trunk has none.
    """
    if class_names and not num_classes:
        raise OptionError(f"{path} is read as a trunk, which has no outputs: omit `class_names`.", "class_names")
    known = ilsvrc_classes()
    names = tuple(class_names) if class_names is not None else file.class_names
    if not names and num_classes == len(known):
        names = tuple(known)
    elif not names and num_classes == len(known) + 1:
        names = (BACKGROUND, *known)
    elif not names:
        names = placeholder_names(num_classes)
    if len(names) != num_classes:
        raise OptionError(
            f"{path} has {num_classes} outputs, but there are {len(names)} class names: give one for each output.",
            "class_names",
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"{path}: two outputs are called {twice!r}: give each a name of its own.", "class_names")
    file_words = dict(zip(file.class_names, file.class_words, strict=False))
    return names, tuple(known[name].words if name in known else file_words.get(name, name) for name in names)


def hash_file(path: Path) -> dict[str, str]:
    """Return algorithm -> hexadecimal digest of a file, for all algorithms of published digests, in one pass."""
    hashes = {name: hashlib.new(name) for name in ("sha1", "md5", "sha256")}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for each in hashes.values():
                each.update(block)
    return {name: each.hexdigest() for name, each in hashes.items()}


def import_provenance(path: Path, file: WeightFile, published: PublishedNet | None, sha256: str) -> Provenance:
    """Return the provenance of an imported net."""
    about = Provenance(
        imported_from=path.name,
        format=file.format,
        sha256=sha256,
        input=str(file.input),
        left_out=file.left_out or None,
    )
    if published is None:
        return about
    return replace(
        about,
        published_net=published.name,
        url=published.url,
        license=published.license,
        published_errors=published.errors,
        published_protocol=published.protocol,
        converged=True,
    )
