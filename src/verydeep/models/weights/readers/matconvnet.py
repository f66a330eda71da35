"""The nets that MatConvNet gives away: imagenet-vgg-verydeep-16.mat and -19.mat, and others of that form.

A file holds ``layers``, a cell of structures. Layers with weights are called as in the paper, the fully connected ones
are convolutions already, kernels are (H, W, in, out), and conv1_1 takes RGB. Newer files keep kernels and biases in
``weights`` and what belongs to the input in ``meta``, those of 2014 in ``filters`` and ``biases`` and at the top.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.errors import VerydeepError
from verydeep.models.vgg import Pooling
from verydeep.models.weights.foreign import RGB_INPUT, ForeignNet, InputConvention
from verydeep.models.weights.readers.matlab import check_mat_file
from verydeep.ops.arrays import AnyArray

_WANTED = ("layers", "meta", "normalization", "classes")
_WITH_WEIGHTS = re.compile(r"conv[1-5]_[1-4]|fc[678]")
_CEIL, _FLOOR = (0, 1, 0, 1), (0, 0, 0, 0)
"""Top, bottom, left, right: one row and column more is what rounding up sees of a 2x2 pooling."""


def read_matconvnet(path: Path) -> ForeignNet:
    """Read a net of MatConvNet's SimpleNN form.

    Raises:
        VerydeepError: the file is damaged, of another form (DagNN, HDF5, a net within a variable), its layers have
            weights, padding or strides that no net of the paper has, or SciPy is not installed.
    """
    content = _load(path)
    layers = list(_layers(path, content["layers"]))
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        tensors |= _weights(path, layer, taken=tensors)
    meta = content.get("meta")
    normalization = content.get("normalization") if meta is None else _field(meta, "normalization")
    convention, notes = _input(path, normalization)
    names, words = _classes(content.get("classes") if meta is None else _field(meta, "classes"))
    outputs = len(tensors["fc8.bias"]) if "fc8.bias" in tensors else 0
    if names and len(names) != outputs:
        notes += (f"The file names {len(names)} classes for {outputs} outputs: its names are left out.",)
        names, words = (), ()
    return ForeignNet("MatConvNet", tensors, convention, _pooling(path, layers), names, words, notes=notes)


def _load(path: Path) -> dict[str, AnyArray]:
    """The wanted variables of a file that is safe to load."""
    found = check_mat_file(path, _WANTED)
    if {"params", "vars"} <= set(found):
        raise VerydeepError(
            f"{path} is a DagNN net of MatConvNet, and only SimpleNN nets are read: take the file of "
            "imagenet-vgg-verydeep-16 or -19, or one that vl_simplenn runs."
        )
    if "layers" not in found:
        raise VerydeepError(
            f"{path} holds {', '.join(map(repr, found))[:60] or 'nothing'} and no variable layers: in MATLAB, write a "
            "SimpleNN net with save(file, '-struct', 'net')."
        )
    try:
        from scipy.io import loadmat  # noqa: PLC0415 - an extra, needed here alone
    except ImportError:
        raise VerydeepError(f"Reading {path} needs SciPy: pip install scipy.") from None
    try:
        with path.open("rb") as file:
            return dict(loadmat(file, variable_names=_WANTED))
    except Exception as error:  # what is well formed may still be nonsense, and then nearly anything is raised
        raise VerydeepError(f"{path} is damaged ({error!r:.80}): get it again.") from None


def _layers(path: Path, cell: AnyArray) -> Iterator[AnyArray]:
    """The structures of the cell, one a layer."""
    if cell.dtype != object:
        raise VerydeepError(f"{path} holds layers that are no cell of structures: it is no SimpleNN net of MatConvNet.")
    for layer in cell.flat:
        if not isinstance(layer, np.ndarray) or layer.size != 1 or layer.dtype.names is None:
            raise VerydeepError(f"{path} holds a layer that is no structure: it is no SimpleNN net of MatConvNet.")
        yield layer


def _field(structure: AnyArray, name: str) -> AnyArray | None:
    """A field of a structure, None where it has none or is none."""
    if structure.size != 1 or structure.dtype.names is None or name not in structure.dtype.names:
        return None
    value = structure.flat[0][name]
    return value if isinstance(value, np.ndarray) else None


def _text(layer: AnyArray, name: str) -> str:
    """A field that is a text, "" where there is none."""
    value = _field(layer, name)
    return "" if value is None else _word(value)


def _word(value: AnyArray) -> str:
    return str(value.item()) if value.dtype.kind == "U" and value.size == 1 else ""


def _numbers(layer: AnyArray, name: str, default: int) -> tuple[float, ...]:
    """Of a setting, one number or one a side."""
    value = _field(layer, name)
    if value is None or value.size == 0 or value.dtype.kind not in "iuf":
        return (float(default),)
    return tuple(float(number) for number in value.ravel())


def _weights(path: Path, layer: AnyArray, *, taken: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of a layer in our layout; nothing of one without weights."""
    name, kind = _text(layer, "name"), _text(layer, "type")
    cell = _field(layer, "weights")
    arrays = (
        list(cell.flat)
        if cell is not None and cell.dtype == object
        else [array for field in ("filters", "biases") if (array := _field(layer, field)) is not None]
    )
    if kind in ("lrn", "normalize"):
        raise VerydeepError(
            f"{path} normalizes responses (layer {name!r:.40}), which is not read from MatConvNet's files."
        )
    if not any(array.size for array in arrays):
        if kind == "conv":
            raise VerydeepError(
                f"{path} holds no weights for its layer {name!r:.40}: it is damaged, or was never trained."
            )
        return {}
    if kind != "conv" or not _WITH_WEIGHTS.fullmatch(name) or f"{name}.weight" in taken:
        raise VerydeepError(
            f"{path} holds weights for a layer {name!r:.40} of type {kind!r:.20}, which no net of the paper has, or "
            "which comes twice: it is no VGG net that can be read."
        )
    if len(arrays) != 2 or any(array.dtype.kind not in "iuf" for array in arrays):
        raise VerydeepError(f"{path} does not hold one kernel and one bias for its layer {name}: it is damaged.")
    kernel, bias = arrays
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))  # MATLAB drops last dimensions of 1
    if kernel.ndim != 4 or not kernel.size or kernel.shape[0] != kernel.shape[1] or bias.size != kernel.shape[3]:
        raise VerydeepError(
            f"{path} holds a kernel of shape {kernel.shape} and {bias.size} biases for its layer {name}; it takes "
            "(k, k, in, out) and out biases."
        )
    _check_settings(path, layer, name, kernel.shape[0])
    return {f"{name}.weight": _tensor(kernel.transpose(3, 2, 0, 1)), f"{name}.bias": _tensor(bias.ravel())}


def _check_settings(path: Path, layer: AnyArray, name: str, kernel: int) -> None:
    """Stride 1, no dilation, and a padding that keeps the map's size, or none in a fully connected layer."""
    pad = 0 if name.startswith("fc") else (kernel - 1) / 2
    for field, default, right in (("stride", 1, 1), ("dilate", 1, 1), ("pad", 0, pad)):
        values = _numbers(layer, field, default)
        if any(value != right for value in values):
            raise VerydeepError(
                f"{path} applies its layer {name} with {field} {values}, where the nets of the paper have {right:g}: "
                "it is no VGG net that can be read."
            )


def _tensor(array: AnyArray) -> Tensor:
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which is found with the NaN
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _pooling(path: Path, layers: list[AnyArray]) -> Pooling:
    """How the net's poolings round."""
    pads: set[tuple[float, ...]] = set()
    for layer in layers:
        if _text(layer, "type") == "pool":
            pad = _numbers(layer, "pad", 0)
            pads.add(pad * 4 if len(pad) == 1 else pad)
            sides = {*_numbers(layer, "pool", 1), *_numbers(layer, "stride", 1)}
            if sides != {2.0} or _text(layer, "method") not in ("", "max"):
                raise VerydeepError(
                    f"{path} has a pooling ({_text(layer, 'name')!r:.40}) that is not the maximum over 2x2 with stride "
                    "2: it is no VGG net that can be read."
                )
    if not pads <= {_CEIL, _FLOOR} or len(pads) > 1:
        raise VerydeepError(
            f"{path} pads its poolings by {', '.join(map(str, sorted(pads)))}; only {_CEIL} in all, which rounds up, "
            f"or {_FLOOR}, which rounds down, can be read."
        )
    return "ceil" if _CEIL in pads else "floor"


def _input(path: Path, normalization: AnyArray | None) -> tuple[InputConvention, tuple[str, ...]]:
    """RGB minus the mean pixel that the file names, and what was guessed."""
    mean = None if normalization is None else _field(normalization, "averageImage")
    if mean is None:
        return RGB_INPUT, ("The file does not say its mean: ILSVRC's is taken.",)
    notes: tuple[str, ...] = ()
    if mean.dtype.kind in "iuf" and mean.ndim == 3 and mean.shape[2] == 3 and mean.size > 3:
        mean = mean.mean(axis=(0, 1), dtype=np.float64)
        notes = ("The file subtracts a mean image: the mean of its pixels is taken, so outputs differ slightly.",)
    if mean.size != 3 or mean.dtype.kind not in "iuf" or not all(0 <= value <= 255 for value in mean.flat):
        raise VerydeepError(
            f"{path} has a mean (averageImage of shape {mean.shape}) that is neither three numbers from 0 to 255 nor "
            "an image of them: set it to the mean red, green and blue."
        )
    red, green, blue = (float(value) for value in mean.flat)
    return replace(RGB_INPUT, mean_rgb=(red, green, blue)), notes


def _classes(classes: AnyArray | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and words of the outputs."""
    cells = [None if classes is None else _field(classes, field) for field in ("name", "description")]
    names, words = (() if cell is None else tuple(map(_word, cell.flat)) for cell in cells)
    return names, words if len(words) == len(names) else ()
