"""Weight files of other systems become model folders: recognized, their classes named, their input folded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from verydeep.configs.published import PublishedNet, find_published
from verydeep.data.ilsvrc2012 import ilsvrc_classes
from verydeep.errors import VerydeepError
from verydeep.models.weights.folding import folded
from verydeep.models.weights.foreign import (
    CAFFE_INPUT,
    RGB_INPUT,
    TORCHVISION_INPUT,
    ForeignNet,
    InputConvention,
)
from verydeep.models.weights.identification import identify
from verydeep.models.weights.native import (
    WEIGHTS,
    ModelConfig,
    Provenance,
    is_model_folder,
    save_config,
    save_weights,
    unnamed,
)
from verydeep.models.weights.recognition import read_foreign

InputName = Literal["caffe", "rgb", "torchvision"]
INPUTS: dict[InputName, InputConvention] = {"caffe": CAFFE_INPUT, "rgb": RGB_INPUT, "torchvision": TORCHVISION_INPUT}
"""What a user may say that a net was trained to see."""

ILSVRC_CLASSES = 1000
BACKGROUND = "background"
"""The class before ILSVRC's thousand in nets of 1001 outputs."""


@dataclass(frozen=True)
class Converted:
    """A net of another system, as ours."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    """What the user should be told."""
    published: PublishedNet | None = None
    """Which of the known files it was."""

    def save(self, folder: Path) -> None:
        """Write the model folder; config.json, by which one is known, last."""
        save_weights(folder, self.tensors)
        save_config(folder, self.config)


def convert_file(path: Path, told: InputName | None = None, class_names: Sequence[str] | None = None) -> Converted:
    """Read a weight file.

    Args:
        path: of the file.
        told: what the net was trained to see, where the file cannot tell or tells it wrong.
        class_names: of its outputs, where the file does not have them.

    Raises:
        VerydeepError: the file is of no system that is known, or damaged, or is no VGG net, or one of ours; or the
            names are not as many as its outputs.
    """
    if path.name == WEIGHTS and is_model_folder(path.parent):
        raise VerydeepError(f"{path} is a net of verydeep already: use its folder, {path.parent}, as RUN.")
    foreign = read_foreign(path)
    if told is not None:
        foreign = replace(foreign, input=INPUTS[told])
    config, num_classes = identify(foreign.tensors, path)
    names, words = name_classes(foreign, num_classes, class_names, path)
    digests = digests_of(path)
    published = find_published(digests) if told is None else None  # seen otherwise it is another net
    divided = foreign.input.divisor_rgb != (1, 1, 1)
    config = replace(
        config,
        class_names=names,
        class_words=words,
        mean_rgb=foreign.input.mean_rgb,
        input_scale=foreign.input.divisor_rgb if divided else None,
        pooling=foreign.pooling,
        train_scale=None if published is None else published.scale,
        provenance=provenance(path, foreign, published, digests["sha256"]),
    )
    first = folded(foreign.tensors["conv1_1.weight"], foreign.input)
    notes = foreign.notes
    if foreign.assumed and told is None:
        notes = (f"{foreign.assumed} If it was trained otherwise, say --input {', '.join(INPUTS)}.", *notes)
    if class_names is None and not foreign.class_names and BACKGROUND not in names and num_classes == ILSVRC_CLASSES:
        notes = (*notes, f"Its {num_classes:,} outputs are taken for ILSVRC's, in the order of their WNIDs.")
    if names and names == unnamed(num_classes):
        notes = (*notes, f"Its {num_classes} outputs have no names: give --class-names FILE, one in a line.")
    return Converted(config, {**foreign.tensors, "conv1_1.weight": first}, notes, published)


def name_classes(
    foreign: ForeignNet, num_classes: int, told: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the outputs, and words for people; a thousand without names are ILSVRC's, sorted by WNID as in Caffe.

    Raises:
        VerydeepError: the names given are not as many as the outputs.
    """
    known = ilsvrc_classes()
    names = tuple(told) if told is not None else foreign.class_names
    if not names and num_classes == len(known):
        names = tuple(known)
    elif not names and num_classes == len(known) + 1:
        names = (BACKGROUND, *known)
    elif not names:
        names = unnamed(num_classes)
    if len(names) != num_classes:
        raise VerydeepError(f"{path} has {num_classes} outputs, and there are {len(names)} class names: give one each.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise VerydeepError(f"{path}: two outputs are called {twice!r}: give each class a name of its own.")
    theirs = dict(zip(foreign.class_names, foreign.class_words, strict=False))
    return names, tuple(known[name].words if name in known else theirs.get(name, name) for name in names)


def digests_of(path: Path) -> dict[str, str]:
    """Algorithm -> hexadecimal digest of the file, by all that published digests use; one pass over it."""
    hashes = {name: hashlib.new(name) for name in ("sha1", "md5", "sha256")}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for each in hashes.values():
                each.update(block)
    return {name: each.hexdigest() for name, each in hashes.items()}


def provenance(path: Path, foreign: ForeignNet, published: PublishedNet | None, sha256: str) -> Provenance:
    """Where the net comes from, for config.json."""
    about = Provenance(imported_from=path.name, format=foreign.format, sha256=sha256, input=str(foreign.input))
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
