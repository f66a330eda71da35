"""The convolutions of a net of the paper among the layers of another system's file.

Layers may have the paper's names (conv1_1), Keras's (block1_conv1), the places of torchvision's nets (features.0), or
any others; then their order and their channels decide. Whatever stands before these names does not matter.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.networks import NETWORKS
from verydeep.errors import WeightsError
from verydeep.models.weights.readers.batch_norm import fold_batch_norm
from verydeep.models.weights.readers.layers import SourceLayer, check_layer
from verydeep.models.weights.readers.sequences import NumberedLayers, find_numbered_layers

_NAME = re.compile(r"(?:^|_)(?:block_?([1-5])_conv_?([1-4])(?:_[0-9]+)?|conv_?([1-5])_([1-4]))(?:_(?:0|conv|conv2d))?$")
_MAX_CONVOLUTIONS = 500
"""The most convolutions among which those of a net are searched by their order."""
_MAX_DEPTH = 8
"""The most parts of a name below which they are searched."""


@dataclass(frozen=True)
class Convolutions:
    """The convolutions of a net, and the layers that are none of them."""

    layers: Mapping[str, SourceLayer]
    """Our name -> layer, in the net's order, with batch norm folded."""
    others: tuple[SourceLayer, ...]
    batch_norm: bool = False
    in_order: bool = False
    """Whether their order alone tells which is which."""

    @property
    def num_channels(self) -> int:
        """The number of channels of pool5."""
        return list(self.layers.values())[-1].num_outputs if self.layers else 0


def find_convolutions(layers: Sequence[SourceLayer], path: Path) -> Convolutions:
    """Find the convolutions of a net of the paper, complete or, where names leave no doubt, cut.

    Args:
        layers: all layers of a file, in the order of the net, or as far as names tell.
        path: of the file, for messages.

    Raises:
        WeightsError: there are none, or those of two nets, or a layer between them changes what they compute.
    """
    convs = [layer for layer in layers if layer.dimensions == 4]
    named = _find_by_name(convs, path)
    if any(named.keys() == {name for name, _ in network.convs()} for network in NETWORKS.values()):
        return _complete(named, layers, path)
    numbered = list(find_numbered_layers(layers))
    whole = [each for each in numbered if each.is_whole]
    if len(whole) > 1:
        names = " and ".join(repr(each.container) for each in whole[:2])
        raise WeightsError(f"{path} has several nets, {names}: save one of them alone.")
    if whole:
        return _fold(whole[0], layers, path)
    ordered = _find_by_order(convs, path)
    if ordered:
        return _complete(ordered, layers, path, in_order=True)
    if named:
        return _complete(named, layers, path)
    closest = max(numbered, key=lambda each: len(each.convs), default=None)
    if closest is None or len(closest.convs) < 2:
        raise _no_net_error(layers, convs, path)
    if closest.problem is not None:
        raise closest.unknown_layer_error(path)
    return _fold(closest, layers, path)


def _find_by_name(convs: Sequence[SourceLayer], path: Path) -> dict[str, SourceLayer]:
    """Return the convolutions that have the paper's or Keras's names, in the paper's order."""
    found: dict[str, SourceLayer] = {}
    for layer in convs:
        match = _NAME.search(re.sub(r"[./:-]", "_", layer.name))
        if match is None:
            continue
        name = f"conv{match[1] or match[3]}_{match[2] or match[4]}"
        if name in found:
            raise WeightsError(
                f"{path} has two layers that may be {name}, {found[name].name!r:.60} and {layer.name!r:.60}: give a "
                "file with one net."
            )
        found[name] = layer
    return dict(sorted(found.items()))


def _find_by_order(convs: Sequence[SourceLayer], path: Path) -> dict[str, SourceLayer]:
    """Return the convolutions of a network among all, or among those below one name, as their order tells."""
    if len(convs) > _MAX_CONVOLUTIONS:
        return {}
    parts = [re.split(r"[./]", layer.name) for layer in convs]
    prefixes = {tuple(names[:count]) for names in parts for count in range(min(len(names), _MAX_DEPTH))}
    for prefix in sorted(prefixes, key=lambda each: (len(each), each)):
        below = [layer for layer, names in zip(convs, parts, strict=True) if tuple(names[: len(prefix)]) == prefix]
        found = _fit_order(below)
        if found and _fit_order(below[len(found) :]):
            raise WeightsError(f"{path} has several nets ({below[0].name!r:.60}, ...): save one of them alone.")
        if found:
            return found
    return {}


def _fit_order(convs: Sequence[SourceLayer]) -> dict[str, SourceLayer]:
    """Return the first convolutions, if they have the kernels of a network and its changes of channels."""
    for network in sorted(NETWORKS.values(), key=lambda each: -each.num_weight_layers):
        names = [name for name, _ in network.convs()]
        if len(convs) < len(names):
            continue
        channels, fits = 3, True
        for (name, conv), layer in zip(network.convs(), convs, strict=False):
            fits &= layer.num_inputs == channels and layer.values["weight"].shape[2:] == (conv.kernel, conv.kernel)
            fits &= name.endswith("_1") or layer.num_outputs == channels
            channels = layer.num_outputs
        if fits:
            return dict(zip(names, convs, strict=False))
    return {}


def _fold(numbered: NumberedLayers, layers: Sequence[SourceLayer], path: Path) -> Convolutions:
    """Return numbered convolutions with their batch norms folded."""
    norms = numbered.norms
    convs = {
        name: fold_batch_norm(layer, norms[name], path) if name in norms else layer
        for name, layer in numbered.convs.items()
    }
    return _separate(convs, [*numbered.convs.values(), *norms.values()], layers, path)


def _complete(
    convs: Mapping[str, SourceLayer], layers: Sequence[SourceLayer], path: Path, *, in_order: bool = False
) -> Convolutions:
    """Fold the batch norms of convolutions whose names do not tell them, and refuse other layers between them.

    As many batch norms as convolutions, of their channels, follow them one by one. Any other layer with one
    number for each channel must fit the head.
    """
    found = list(convs.values())
    norms = [layer for layer in layers if layer.is_batch_norm][: len(found)]
    sizes = [len(next(iter(norm.values.values()))) for norm in norms]
    is_normalized = sizes == [conv.num_outputs for conv in found]
    norms = norms if is_normalized else []
    folded = [fold_batch_norm(*pair, path) for pair in zip(found, norms, strict=True)] if is_normalized else found
    result = _separate(dict(zip(convs, folded, strict=True)), [*found, *norms], layers, path, in_order=in_order)
    _refuse_layers_between(result, path)
    return result


def _separate(
    convs: Mapping[str, SourceLayer],
    used: Sequence[SourceLayer],
    layers: Sequence[SourceLayer],
    path: Path,
    *,
    in_order: bool = False,
) -> Convolutions:
    """Return convolutions, and all layers but those that were used for them."""
    for layer in convs.values():
        check_layer(layer, path)
    used_layers = {id(layer) for layer in used}
    others = tuple(layer for layer in layers if id(layer) not in used_layers)
    return Convolutions(convs, others, batch_norm=len(used) > len(convs), in_order=in_order)


def _refuse_layers_between(convolutions: Convolutions, path: Path) -> None:
    """Refuse layers that give each channel a number unless they fit inputs or outputs of the layers of the head."""
    sizes = Counter({convolutions.num_channels: 1})
    for layer in convolutions.others:
        if layer.dimensions > 1:
            sizes.update({layer.num_inputs, layer.num_outputs})
    for layer in convolutions.others:
        size = max(values.numel() for values in layer.values.values())
        if max(values.ndim for values in layer.values.values()) != 1:
            continue
        if not sizes[size]:
            raise WeightsError(
                f"{path} has {layer!s:.120}, which may change what the convolutions give: only nets without such "
                "layers between the convolutions can be read."
            )
        sizes[size] -= 1


def _no_net_error(layers: Sequence[SourceLayer], convs: Sequence[SourceLayer], path: Path) -> WeightsError:
    shown = ", ".join(map(str, (convs or layers)[:3])) + (", ..." if len(convs or layers) > 3 else "")
    found = f"no convolutions, only tensors such as {shown:.300}" if shown else "no convolutions"
    if convs:
        found = f"{len(convs)} convolutions ({shown:.300}) that are not those of a VGG net"
    return WeightsError(f"{path} has {found}: give a file with VGG-11, 13, 16, 19 or another net of the paper.")
