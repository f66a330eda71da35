"""Reader of MatConvNet's nets: imagenet-vgg-verydeep-16.mat and -19.mat, and others of that form.

A file has ``layers``, a cell of structures. Layers with weights have the paper's names, the fully connected ones are
convolutions already, kernels are (H, W, in, out), and conv1_1 takes RGB. Newer files have kernels and biases in
``weights`` and facts about the input in ``meta``; those of 2014 have them in ``filters`` and ``biases``, and at the
top.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.errors import WeightsError, require_extra
from verydeep.mat_files import check_mat_file
from verydeep.models.vgg import Pooling
from verydeep.models.weights.readers.layers import SourceLayer, printable, refuse_normalization, to_float32
from verydeep.models.weights.readers.recognition import RecognizedNet, recognize_net
from verydeep.models.weights.weight_file import RGB_INPUT, InputConvention, WeightFile
from verydeep.ops.arrays import AnyArray

_VARIABLES = ("layers", "meta", "normalization", "classes")
_CEIL, _FLOOR = (0, 1, 0, 1), (0, 0, 0, 0)
"""Paddings of a 2x2 pooling (top, bottom, left, right) that round up and down."""


def read_matconvnet(path: Path) -> WeightFile:
    """Read a net of MatConvNet in its SimpleNN form.

    Raises:
        WeightsError: the file is damaged or has another form (DagNN, HDF5, a net within a variable), or its layers have
            weights, padding or strides that no net of the paper has.
        ResourceError: SciPy is not installed.
    """
    content = _load(path)
    layers = list(_list_layers(path, content["layers"]))
    net = _recognize(path, layers)
    tensors = net.tensors
    meta = content.get("meta")
    normalization = content.get("normalization") if meta is None else _field(meta, "normalization")
    convention, notes = _read_input(path, normalization)
    names, words = _read_classes(content.get("classes") if meta is None else _field(meta, "classes"))
    outputs = len(tensors["fc8.bias"]) if "fc8.bias" in tensors else 0
    if not outputs:
        names, words = (), ()
    if names and len(names) != outputs:
        notes += (f"The file names {len(names)} classes for {outputs} outputs, so its names are not used.",)
        names, words = (), ()
    notes = (*net.notes, *notes)
    return WeightFile(
        "MatConvNet",
        tensors,
        convention,
        _read_pooling(path, layers),
        names,
        words,
        notes=notes,
        left_out=net.head.left_out,
    )


def _recognize(path: Path, layers: list[AnyArray]) -> RecognizedNet:
    """Recognize the net, and check the settings of its layers."""
    converted = [source for layer in layers if (source := _convert_layer(path, layer)) is not None]
    ends_with_sigmoid = bool(layers) and _text(layers[-1], "type") == "sigmoid"
    obstacle = "ends with a sigmoid and no soft-max over classes" if ends_with_sigmoid else ""
    net = recognize_net(converted, path, obstacle=obstacle)
    by_name = {printable(_text(layer, "name")): layer for layer in layers}
    for source in net.convolutions.layers.values():
        _check_settings(path, by_name[source.name], source.name, (source.values["weight"].shape[-1] - 1) / 2)
    for name in net.head.names:
        _check_settings(path, by_name[name], name, 0)
    return net


def _load(path: Path) -> dict[str, AnyArray]:
    """Load the variables of a net from a file, after a check that this is safe."""
    try:
        with path.open("rb") as file:
            found = check_mat_file(file, path, _VARIABLES, WeightsError)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error}): give the .mat file itself.") from None
    if {"params", "vars"} <= set(found):
        raise WeightsError(
            f"{path} is a DagNN net of MatConvNet, and only SimpleNN nets are supported: give the file of "
            "imagenet-vgg-verydeep-16 or -19, or one that vl_simplenn runs."
        )
    if "layers" not in found:
        raise WeightsError(
            f"{path} has {', '.join(map(repr, found))[:60] or 'nothing'} and no variable 'layers': in MATLAB, write a "
            "SimpleNN net with save(file, '-struct', 'net')."
        )
    with require_extra(f"Reading {path}", "SciPy", "matconvnet"):
        from scipy.io import loadmat  # noqa: PLC0415 - an extra, needed only here
    try:
        with path.open("rb") as file:
            return dict(loadmat(file, variable_names=_VARIABLES))
    except Exception as error:  # SciPy raises nearly anything for well-formed nonsense
        raise WeightsError(f"{path} is damaged ({error!r:.80}): download it again.") from None


def _list_layers(path: Path, cell: AnyArray) -> Iterator[AnyArray]:
    """Yield the structures of the cell, one for each layer."""
    if cell.dtype != object:
        raise WeightsError(f"The layers in {path} are not a cell of structures: it is not a SimpleNN net.")
    for layer in cell.flat:
        if not isinstance(layer, np.ndarray) or layer.size != 1 or layer.dtype.names is None:
            raise WeightsError(f"A layer in {path} is not a structure: it is not a SimpleNN net of MatConvNet.")
        yield layer


def _field(structure: AnyArray, name: str) -> AnyArray | None:
    """Return a field of a structure, or None if there is none."""
    if structure.size != 1 or structure.dtype.names is None or name not in structure.dtype.names:
        return None
    value = structure.flat[0][name]
    return value if isinstance(value, np.ndarray) else None


def _text(layer: AnyArray, name: str) -> str:
    """Return a field that is a text, or "" if there is none."""
    value = _field(layer, name)
    return "" if value is None else _to_text(value)


def _to_text(value: AnyArray) -> str:
    return str(value.item()) if value.dtype.kind == "U" and value.size == 1 else ""


def _numbers(layer: AnyArray, name: str, default: int) -> tuple[float, ...]:
    """Return a setting: one number, or one for each side."""
    value = _field(layer, name)
    if value is None or value.size == 0 or value.dtype.kind not in "iuf":
        return (float(default),)
    return tuple(float(number) for number in value.ravel())


def _convert_layer(path: Path, layer: AnyArray) -> SourceLayer | None:
    """Return a layer in our layout; None for one without weights."""
    name, kind = printable(_text(layer, "name")), printable(_text(layer, "type"))
    cell = _field(layer, "weights")
    arrays = (
        list(cell.flat)
        if cell is not None and cell.dtype == object
        else [array for field in ("filters", "biases") if (array := _field(layer, field)) is not None]
    )
    if kind in ("lrn", "normalize"):
        refuse_normalization(name, path)
    if not any(array.size for array in arrays):
        if kind == "conv":
            raise WeightsError(f"{path} has no weights in its layer {name!r:.40}: it is damaged, or was never trained.")
        return None
    if kind != "conv":
        raise WeightsError(
            f"{path} has weights of a layer '{name:.40} ({kind:.40})', which no net of the paper has: give one "
            "without such layers."
        )
    if len(arrays) != 2 or any(array.dtype.kind not in "iuf" for array in arrays):
        raise WeightsError(f"{path} does not have one kernel and one bias in its layer {name}: it is damaged.")
    kernel, bias = arrays
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))  # MATLAB drops last dimensions of 1
    if kernel.ndim != 4 or not kernel.size or kernel.shape[0] != kernel.shape[1] or bias.size != kernel.shape[3]:
        raise WeightsError(
            f"{path} has a kernel of shape {kernel.shape} and {bias.size} biases in layer {name}, instead of "
            "(k, k, in, out) and as many biases as outputs: it is damaged."
        )
    values = {"weight": to_float32(kernel.transpose(3, 2, 0, 1)), "bias": to_float32(bias.ravel())}
    return SourceLayer(name, values)


def _check_settings(path: Path, layer: AnyArray, name: str, pad: float) -> None:
    """Check for stride 1, no dilation, and this padding."""
    for field, default, right in (("stride", 1, 1), ("dilate", 1, 1), ("pad", 0, pad)):
        values = _numbers(layer, field, default)
        if any(value != right for value in values):
            raise WeightsError(
                f"{path} has {field} {values} in its layer {name}, where the nets of the paper have {right:g}: it is "
                "not a VGG net of the paper."
            )


def _read_pooling(path: Path, layers: list[AnyArray]) -> Pooling:
    """Return the rounding of the net's poolings."""
    pads: set[tuple[float, ...]] = set()
    for layer in layers:
        if _text(layer, "type") == "pool":
            pad = _numbers(layer, "pad", 0)
            pads.add(pad * 4 if len(pad) == 1 else pad)
            sides = {*_numbers(layer, "pool", 1), *_numbers(layer, "stride", 1)}
            if sides != {2.0} or _text(layer, "method") not in ("", "max"):
                raise WeightsError(
                    f"{path} has a pooling ({_text(layer, 'name')!r:.40}) that is not the maximum over 2x2 with stride "
                    "2: it is not a VGG net of the paper."
                )
    if not pads <= {_CEIL, _FLOOR} or len(pads) > 1:
        raise WeightsError(
            f"{path} pads its poolings by {', '.join(map(str, sorted(pads)))}, but all must have {_CEIL} "
            f"(rounds up) or all {_FLOOR} (rounds down): it is not a VGG net of the paper."
        )
    return "ceil" if _CEIL in pads else "floor"


def _read_input(path: Path, normalization: AnyArray | None) -> tuple[InputConvention, tuple[str, ...]]:
    """Return RGB minus the mean color of the file, and notes about guesses."""
    mean = None if normalization is None else _field(normalization, "averageImage")
    if mean is None:
        return RGB_INPUT, ("The file does not state its mean RGB; ILSVRC's is assumed.",)
    notes: tuple[str, ...] = ()
    if mean.dtype.kind in "iuf" and mean.ndim == 3 and mean.shape[2] == 3 and mean.size > 3:
        mean = mean.mean(axis=(0, 1), dtype=np.float64)
        notes = ("The file subtracts a mean image; its mean color is used instead, so outputs differ slightly.",)
    if mean.size != 3 or mean.dtype.kind not in "iuf" or not all(0 <= value <= 255 for value in mean.flat):
        raise WeightsError(
            f"{path} has a mean (averageImage of shape {mean.shape}) that is neither three numbers from 0 to 255 nor "
            "an image of them: set it to the mean red, green and blue."
        )
    red, green, blue = (float(value) for value in mean.flat)
    return replace(RGB_INPUT, mean_rgb=(red, green, blue)), notes


def _read_classes(classes: AnyArray | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and words of the outputs."""
    cells = [None if classes is None else _field(classes, field) for field in ("name", "description")]
    names, words = (() if cell is None else tuple(map(_to_text, cell.flat)) for cell in cells)
    return names, words if len(words) == len(names) else ()
