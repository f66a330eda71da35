"""A classifier on disk: linear SVMs, and the representation of the images that they take.

classifier.json     classes, nets, layers, test scales, coverage, C, training images
svms.safetensors    weights (K, D) and biases (K,)

Nets are named, not copied: a classifier takes a few kilobytes for each class, a net half a gigabyte.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import from_numpy

from verydeep.configs.transfer import Coverage
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.in_memory import describe_images
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.digests import digest_of_net, open_unchanged_net
from verydeep.engine.nets.folders import Weights
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.linear_svms import LinearSVMs
from verydeep.errors import DataError, OptionError
from verydeep.json_files import FileFormat, read_json, write_json
from verydeep.models.weights.model_folder import SplitRecord, write_tensors
from verydeep.ops.descriptors import Aggregation
from verydeep.ops.value_ranges import RecordedRanges, ValueRanges
from verydeep.paths import describe_read_error, utf8_path
from verydeep.results.predictions import Predictions

FIELDS, TENSORS = "classifier.json", "svms.safetensors"
FORMAT = FileFormat("verydeep-classifier", 3, "`verydeep transfer`")


@dataclass(frozen=True)
class _NetReference:
    """A net and its layer, as the file names them."""

    path: str
    weights: Weights
    digest: str
    layer: str


@dataclass(frozen=True)
class _Fields:
    """Content of classifier.json."""

    class_names: Annotated[tuple[str, ...], Meta(min_length=1)]
    class_words: tuple[str, ...]
    nets: Annotated[tuple[_NetReference, ...], Meta(min_length=1)]
    scales: Annotated[tuple[int, ...], Meta(min_length=1)]
    aggregation: Aggregation
    coverage: Coverage
    value_ranges: ValueRanges
    C: float
    unconverged: tuple[int, ...]
    split: SplitRecord


@dataclass(frozen=True, eq=False)
class Classifier:
    """Linear SVMs with the representation that they take. `verydeep transfer` writes one, `verydeep predict` uses it.

    A classifier can predict in several threads at once.
    """

    class_names: tuple[str, ...]
    """Names of the K classes."""
    class_words: tuple[str, ...]
    """Usual words for each class; its name where no words are known."""
    representation: Representation
    """Nets, layers, test scales and aggregation of the descriptors."""
    svms: LinearSVMs
    """One linear SVM for each class."""
    record: SplitRecord
    """The record of the images that it was trained on."""
    path: Path = Path()
    """The folder that it was read from."""

    def __repr__(self) -> str:
        """Return what it is, without its class names and weights."""
        return f"<Classifier {self.path}: {self.representation}, {len(self.class_names):,} classes>"

    def __str__(self) -> str:
        return self.path.name

    @property
    def recorded_ranges(self) -> list[RecordedRanges]:
        """The value ranges that the classifier and its nets were trained with."""
        return self.representation.recorded_ranges

    def predict(self, split: Split, runtime: Runtime, decoding: Decoding = STRICT) -> Predictions:
        """Compute the margins of images in one process.

        Raises:
            OptionError: the classifier takes boxes, and the images have none.
            DataError: an image cannot be decoded and bad images are errors, or none can be decoded.
            WeightsError: a net cannot be loaded.
        """
        if self.representation.coverage == "image+box" and split.boxes is None:
            raise OptionError(
                "This classifier takes photographs and boxes of persons, and photographs alone do not say who is "
                "meant: train one with `actions=image`."
            )
        descriptors = describe_images(self.representation, split, runtime, decoding)
        return Predictions(
            images=descriptors.images,
            scores=self.svms.compute_margins(descriptors.values),
            class_names=self.class_names,
            class_words=self.class_words,
            kind="margin",
            skipped=descriptors.skipped,
        )


def is_classifier(folder: Path) -> bool:
    """Whether a folder holds a classifier."""
    return (folder / FIELDS).exists()


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Write a classifier; classifier.json, which marks a complete one, comes last."""
    representation, svms = classifier.representation, classifier.svms
    tensors = {"weights": from_numpy(svms.weights), "biases": from_numpy(svms.biases)}
    write_tensors(folder / TENSORS, tensors, {"format": "pt"})
    nets = tuple(
        _NetReference(net.stored_path, net.weights, digest_of_net(net), layer) for net, layer in representation
    )
    fields = _Fields(
        class_names=classifier.class_names,
        class_words=classifier.class_words,
        nets=nets,
        scales=representation.scales,
        aggregation=representation.aggregation,
        coverage=representation.coverage,
        value_ranges=representation.value_ranges,
        C=svms.C,
        unconverged=svms.unconverged,
        split=classifier.record,
    )
    write_json(folder / FIELDS, asdict(fields), FORMAT)


def load_classifier(folder: Path) -> Classifier:
    """Read a classifier and open its nets.

    Raises:
        DataError: the classifier is damaged, or an earlier version of verydeep wrote it.
        WeightsError: a net is no longer there, or another net has taken its place.
    """
    fields = read_json(folder / FIELDS, _Fields, FORMAT)
    try:
        with utf8_path(folder / TENSORS) as path:
            tensors = load_file(path)
        weights, biases = tensors["weights"], tensors["biases"]
    except PermissionError as error:
        raise DataError(describe_read_error(folder / TENSORS, error)) from None
    except (KeyError, SafetensorError, OSError) as error:
        raise DataError(f"{folder / TENSORS} is damaged ({error}): run `verydeep transfer` again.") from None
    num_classes = len(fields.class_names)
    if (
        weights.ndim != 2
        or not len(fields.class_words) == len(weights) == num_classes
        or biases.shape != (num_classes,)
    ):
        raise DataError(
            f"{folder} is damaged: weights {weights.shape} and biases {biases.shape} do not fit {num_classes} classes; "
            "run `verydeep transfer` again."
        )
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise DataError(f"{folder / TENSORS} has NaN or infinite numbers: run `verydeep transfer` again.")
    svms = LinearSVMs(weights.astype(np.float32), biases.astype(np.float32), fields.C, fields.unconverged)
    nets = tuple(open_unchanged_net(Path(net.path), net.weights, net.digest, folder / FIELDS) for net in fields.nets)
    layers = tuple(net.layer for net in fields.nets)
    representation = Representation(
        nets, layers, fields.scales, fields.aggregation, fields.coverage, fields.value_ranges
    )
    return Classifier(fields.class_names, fields.class_words, representation, svms, fields.split, folder)
