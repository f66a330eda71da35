"""Reader of Keras's files: .h5 and .hdf5 of weights or whole models of Keras 1 to 3, .weights.h5 and .keras.

Kernels are (H, W, in, out), and the first dense layer takes the output of pool5 in the order row, column, channel.
"""

import json
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from verydeep.errors import VerydeepError, WeightsError
from verydeep.models.weights.readers.hdf5 import Group, read_groups
from verydeep.models.weights.readers.layers import SourceLayer, natural_order, shape_text
from verydeep.models.weights.readers.recognition import recognize_net
from verydeep.models.weights.weight_file import CAFFE_INPUT, WeightFile

_ZIP = b"PK\x03\x04"
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
"""The files in a .keras archive that are read."""
_OTHER_GROUPS = ("optimizer", "optimizer_weights", "top_level_model_weights")
_MAX_CONFIG = 2**24
"""Bytes at the beginning of a file in which the configuration of a whole model is searched."""
_MAX_TRIES = 3
_MODEL_CONFIG = re.compile(rb'\{"(?:module|class_name)": "')


def read_keras(path: Path) -> WeightFile:
    """Read weights that Keras wrote, with the FC layers, without them, or with another head on the convolutions.

    Raises:
        WeightsError: the file is damaged, has no net of the paper, declares more than it holds or points to other
            files.
        ResourceError: h5py is not installed.
    """
    with path.open("rb") as file:
        is_archive = file.read(len(_ZIP)) == _ZIP
    (place, groups), config = _read_archive(path) if is_archive else _read_hdf5(path)
    layers = [_convert_group(name, group, path) for name, group in _name_groups(groups, is_root=not place)]
    net = recognize_net(
        sorted(layers, key=lambda layer: natural_order(layer.name)),
        path,
        channels_last=True,
        obstacle=_find_obstacle(config),
    )
    assumption = f"The file does not state its input; that of Keras's own VGG nets is assumed: {CAFFE_INPUT}."
    return WeightFile(
        "Keras", net.tensors, CAFFE_INPUT, "floor", assumption=assumption, notes=net.notes, left_out=net.head.left_out
    )


def _read_hdf5(path: Path) -> tuple[tuple[str, list[Group]], Any]:
    """Read the groups of an HDF5 file, and the configuration of a whole model, which lies in it as text."""
    with path.open("rb") as file:
        head = file.read(_MAX_CONFIG)
    config = None
    for match in islice(_MODEL_CONFIG.finditer(head), _MAX_TRIES):
        try:
            config, _ = json.JSONDecoder().raw_decode(head[match.start() :].decode("utf-8", errors="replace"))
        except (ValueError, RecursionError):
            continue
        break
    return read_groups(path, "model_weights", "layers"), config


def _read_archive(path: Path) -> tuple[tuple[str, list[Group]], Any]:
    """Read the groups and the configuration of a .keras archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise WeightsError(
                    f"{path} declares more numbers than it holds, or is compressed: save it in Keras again."
                )
            config = json.loads(archive.read(_CONFIG))
            with archive.open(_WEIGHTS) as source, tempfile.TemporaryFile() as weights:
                shutil.copyfileobj(source, weights)
                weights.seek(0)
                return read_groups(path, "layers", file=weights), config
    except VerydeepError:
        raise
    except Exception as error:  # zipfile raises all kinds of errors for a damaged file
        raise WeightsError(f"{path} is damaged ({error!s:.100}): save it in Keras again.") from None


def _name_groups(groups: Sequence[Group], *, is_root: bool) -> Iterator[tuple[str, Group]]:
    """Yield layers with their names; those of a net within a net have its name before theirs."""
    counts = Counter(group.path[:1] for group in groups)
    for group in groups:
        if is_root and group.path and group.path[0] in _OTHER_GROUPS:
            continue
        if counts[group.path[:1]] == 1:
            yield "".join(group.path[:1]), group
        else:
            yield "/".join(part for part in group.path if part not in ("vars", "layers")), group


def _convert_group(name: str, group: Group, path: Path) -> SourceLayer:
    """Return the layer of a group in our layout."""
    kernels = [values for values in group.values.values() if values.ndim in (2, 4)]
    vectors = [values for values in group.values.values() if values.ndim == 1]
    if len(kernels) != 1 or len(vectors) > 1 or len(group.values) > 2:  # such as batch norm or a recurrent layer
        return SourceLayer(name, group.values)
    kernel = kernels[0]
    weight = kernel.T.contiguous() if kernel.ndim == 2 else _convert_kernel(kernel, name, path)
    return SourceLayer(name, {"weight": weight} | ({"bias": vectors[0]} if vectors else {}))


def _convert_kernel(kernel: Tensor, name: str, path: Path) -> Tensor:
    """Return a kernel (H, W, in, out) as (out, in, H, W)."""
    if kernel.shape[0] != kernel.shape[1] and kernel.shape[2] == kernel.shape[3]:
        raise WeightsError(
            f"{path} has a kernel of shape {shape_text(kernel)} in {name!r:.80}, where TensorFlow's have 3x3 first: an "
            "old Keras with Theano, or Caffe, wrote it; get the file for TensorFlow, or the .caffemodel."
        )
    return kernel.permute(3, 2, 0, 1).contiguous()


def _find_obstacle(config: Any) -> str:
    """Return the reason why the head of a whole model is not three dense layers with ReLUs and a soft-max, or ""."""
    kinds = list(_list_layers(config))
    convs = [place for place, (kind, _) in enumerate(kinds) if kind.startswith("Conv")]
    head = kinds[convs[-1] + 1 :] if convs else []
    activations = [activation for _, activation in head if activation not in ("", "linear")]
    if any(kind.startswith("Global") for kind, _ in head):
        return "pools globally"
    if activations and activations[-1] not in ("softmax", "relu"):
        return f"ends with {activations[-1]} and no soft-max over classes"
    if activations and (activations[-1] == "softmax") + activations.count("relu") < len(activations):
        return f"has activations ({', '.join(activations):.60}) that are no ReLUs"
    return ""


def _list_layers(config: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield class and activation of all layers of a configuration, in order; nothing where it is none."""
    if not isinstance(config, dict) or depth > 10 or not isinstance(inner := config.get("config"), dict | list):
        return
    kind, settings = str(config.get("class_name")), inner if isinstance(inner, dict) else {"layers": inner}
    if isinstance(layers := settings.get("layers"), list):
        for layer in layers:
            yield from _list_layers(layer, depth + 1)
        return
    activation = settings.get("activation")
    is_activation = kind in ("ReLU", "Softmax", "LeakyReLU", "PReLU", "ELU")
    yield kind, (activation if isinstance(activation, str) else kind if is_activation else "").casefold()
