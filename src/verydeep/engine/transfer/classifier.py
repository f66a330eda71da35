"""A transferred classifier on the disk: linear classifiers, and how the images that they take are described.

classifier.json     classes, nets, layers, scales, whether boxes are described too, C
classifiers.safetensors   weights (K, D) and biases (K,)

The nets are named, not copied: a classifier of a few kilobytes stands for each class, a net has half a gigabyte.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import from_numpy

from verydeep.configs.transfer import Coverage
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.representation import Representation, describe_split
from verydeep.engine.nets.digests import digest_of_net, open_unchanged_net
from verydeep.engine.nets.folders import Weights
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.linear import LinearClassifiers, margins
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json
from verydeep.models.weights.native import write_tensors
from verydeep.ops.arrays import Float32Array
from verydeep.ops.descriptors import Aggregation, Normalization

FIELDS, TENSORS = "classifier.json", "classifiers.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Classifier:
    """What ``verydeep transfer`` leaves, and ``verydeep predict`` takes."""

    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    representation: Representation
    linear: LinearClassifiers

    def says(
        self, split: Split, runtime: Runtime, decoding: Decoding = STRICT
    ) -> tuple[list[int], Float32Array, dict[str, str]] | None:
        """Which images, their margins (n, K), and what was skipped; None but on the main process.

        Raises:
            VerydeepError: it takes boxes and the split has none, or as ``describe_split``.
        """
        if self.representation.coverage == "image+box" and split.boxes is None:
            raise VerydeepError(
                "This classifier was trained on photographs and boxes of persons, and photographs alone do not say who "
                "is meant: train one with --actions image."
            )
        found = describe_split(self.representation, split, runtime, decoding)
        if found is None:
            return None
        return found.indices.tolist(), margins(self.linear, found.values), found.skipped


def is_classifier(folder: Path) -> bool:
    """Whether ``transfer`` left it."""
    return (folder / FIELDS).exists()


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Write it; classifier.json, by which one is known, last."""
    asked = classifier.representation
    tensors = {name: from_numpy(values) for name, values in classifier.linear.to_tensors().items()}
    write_tensors(folder / TENSORS, tensors, {"format": "pt"})
    write_json(
        folder / FIELDS,
        {
            "model_type": "verydeep-classifier",
            "format": FORMAT,
            "class_names": classifier.class_names,
            "class_words": classifier.class_words,
            "nets": [
                {"path": net.stored_path, "weights": net.weights, "digest": digest_of_net(net), "layer": layer}
                for net, layer in zip(asked.nets, asked.layers, strict=True)
            ],
            "scales": asked.scales,
            "aggregation": asked.aggregation,
            "normalization": asked.normalization,
            "seen": asked.coverage,
            **classifier.linear.to_fields(),
        },
    )


def load_classifier(folder: Path) -> Classifier:
    """Read it, and find its nets.

    Raises:
        VerydeepError: it is damaged, a net is not there any more, or is another net now.
    """
    fields: Any = read_json(folder / FIELDS, dict[str, Any])
    try:
        if fields["model_type"] != "verydeep-classifier" or fields["format"] != FORMAT:
            raise ValueError(f"format {fields['format']}")
        if fields["aggregation"] not in get_args(Aggregation) or fields["normalization"] not in get_args(Normalization):
            raise ValueError("aggregation or normalization")
        coverage = fields.get("seen", "image")  # before there were boxes it was not said
        if coverage not in get_args(Coverage):
            raise ValueError("seen")
        tensors = load_file(folder / TENSORS)
        linear = LinearClassifiers.from_tensors(tensors, fields, str(folder))
        names, words = tuple(map(str, fields["class_names"])), tuple(map(str, fields["class_words"]))
        told = [
            (Path(each["path"]), each.get("weights", "last"), each["digest"], each["layer"]) for each in fields["nets"]
        ]
        if not all(weights in get_args(Weights) and isinstance(layer, str) for _, weights, _, layer in told):
            raise ValueError("weights or layer")
        scales = tuple(int(scale) for scale in fields["scales"])
        if not len(names) == len(words) == len(linear.weights) or not told or not scales:
            raise ValueError("classes, nets or scales")
    except (KeyError, TypeError, ValueError, SafetensorError, OSError) as error:
        raise VerydeepError(
            f"{folder} is damaged ({type(error).__name__}: {error}): run verydeep transfer again."
        ) from None
    nets = tuple(open_unchanged_net(path, weights, digest, folder / FIELDS) for path, weights, digest, _ in told)
    layers = tuple(layer for *_, layer in told)
    representation = Representation(nets, layers, scales, fields["aggregation"], fields["normalization"], coverage)
    return Classifier(names, words, representation, linear)
