"""Layers whose names are their places in a sequence of all layers up to pool5, as in torchvision: features.0, ..."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.networks import NETWORKS, Network
from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import SourceLayer

_PLACE = re.compile(r"(?:(.*)\.)?([0-9]{1,4})")
_SEQUENTIAL = ("A", "B", "D", "E")
"""The networks that other systems offer as VGG-11, 13, 16 and 19; C has the places of D."""


def feature_places(network: Network, *, batch_norm: bool = False) -> dict[str, int]:
    """Return the places of convolutions in a sequence of all layers up to pool5: conv1_1 -> 0."""
    places, place = {}, 0
    for i, block in enumerate(network.blocks, start=1):
        for j in range(1, len(block) + 1):
            places[f"conv{i}_{j}"] = place
            place += 3 if batch_norm else 2
        place += 1
    return places


@dataclass(frozen=True)
class NumberedLayers:
    """Numbered layers under one name, and the network whose places they fit best."""

    container: str
    network: Network
    convs: Mapping[str, SourceLayer]
    norms: Mapping[str, SourceLayer]
    """Our name of a convolution -> the batch norm after it."""
    problem: SourceLayer | None
    """A layer where the network has none, or another."""

    @property
    def is_whole(self) -> bool:
        """Whether all convolutions are there, and nothing between them is unknown."""
        return self.problem is None and len(self.convs) == sum(1 for _ in self.network.convs())

    def unknown_layer_error(self, path: Path) -> WeightsError:
        """Return the error for the layer that does not fit."""
        return WeightsError(
            f"{path} is closest to VGG-{self.network.num_weight_layers}, which does not have its {self.problem!s:.120}"
            ": give a file with VGG-11, 13, 16 or 19."
        )


def find_numbered_layers(layers: Sequence[SourceLayer]) -> Iterator[NumberedLayers]:
    """Yield each group of numbered layers with the network that it fits best."""
    containers: dict[str, dict[int, SourceLayer]] = {}
    for layer in layers:
        if match := _PLACE.fullmatch(layer.name):
            containers.setdefault(match[1] or "", {})[int(match[2])] = layer
    for container, places in containers.items():
        first = min((place for place, layer in places.items() if layer.dimensions == 4), default=None)
        if first is None:
            continue
        fits = [
            _fit(container, {place - first: layer for place, layer in places.items()}, NETWORKS[name], batch_norm=norm)
            for norm in (False, True)
            for name in _SEQUENTIAL
        ]
        yield max(fits, key=lambda fit: len(fit.convs) + len(fit.norms) - (fit.problem is not None))


def _fit(container: str, places: Mapping[int, SourceLayer], network: Network, *, batch_norm: bool) -> NumberedLayers:
    """Return the layers at the places of a network."""
    expected = feature_places(network, batch_norm=batch_norm)
    convs = {
        name: places[place] for name, place in expected.items() if place in places and places[place].dimensions == 4
    }
    norms = {
        name: places[place + 1]
        for name, place in expected.items()
        if batch_norm and place + 1 in places and places[place + 1].is_batch_norm
    }
    fitting = {id(layer) for layer in (*convs.values(), *norms.values())}
    fitting |= {id(places[place]) for place in expected.values() if place in places and not places[place].dimensions}
    last = max(expected.values()) + batch_norm
    problem = next(
        (layer for place, layer in sorted(places.items()) if place <= last and id(layer) not in fitting), None
    )
    return NumberedLayers(container, network, convs, norms, problem)
