"""A representation: the nets, layers, test scales and aggregation that turn an image into a descriptor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from verydeep.configs.transfer import Coverage
from verydeep.data.split import Split
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.ops.descriptors import Aggregation
from verydeep.ops.value_ranges import RangeKeeper, RecordedRanges, ValueRanges

DEFAULT_SCALES = (256,)
"""One test scale: the paper's 256, 384 and 512 take about ten times as long."""

AGGREGATION_TEXTS: Mapping[Aggregation, str] = {"average": "averaged", "stack": "stacked", "max": "maximum"}


@dataclass(frozen=True)
class Representation:
    """How an image, or a person on one, is described.

    The descriptors of a net at several test scales are aggregated. Those of several nets, and of an image and the box
    on it, are stacked. The result has length one.
    """

    nets: tuple[Net, ...]
    layers: tuple[str, ...]
    """One layer for each net."""
    scales: tuple[int, ...]
    """Test scales Q, in the paper's units."""
    aggregation: Aggregation = "average"
    coverage: Coverage = "image"
    value_ranges: ValueRanges = field(default_factory=dict, compare=False)
    """Ranges of values that are not bytes, as they were chosen for the images that were described first."""
    keeper: RangeKeeper = field(default="classifier", compare=False)
    """What they are recorded with."""

    @property
    def recorded_ranges(self) -> list[RecordedRanges]:
        """The value ranges of these images, and those that the nets were trained with."""
        own = RecordedRanges(self.value_ranges, self.keeper)
        return [own, *(ranges for net in self.nets for ranges in net.recorded_ranges)]

    def identify(self) -> str:
        """Return a text that differs for descriptors that cannot be compared.

        Raises:
            WeightsError: a net is missing, or has changed since it was read into memory.
        """
        digests = tuple(digest_of_net(net) for net in self.nets)
        return repr((digests, self.layers, self.scales, self.aggregation, self.coverage))

    def check(self) -> None:
        """Refuse layers that the nets do not have, before anything is computed.

        Raises:
            OptionError: a net has no such layer.
        """
        for net, layer in self:
            with torch.device("meta"):
                net.config.build().check_layer(layer)

    def __iter__(self) -> Iterator[tuple[Net, str]]:
        """Iterate over the nets and their layers."""
        return zip(self.nets, self.layers, strict=True)

    def __str__(self) -> str:
        layers = " + ".join(f"{net.path.name} {layer}" for net, layer in self)
        scales = ", ".join(map(str, self.scales))
        aggregation = f" {AGGREGATION_TEXTS[self.aggregation]}" if len(self.scales) > 1 else ""
        plural = "s" if len(self.scales) > 1 else ""
        coverage = ", image and box" if self.coverage == "image+box" else ""
        return f"{layers}, test scale{plural} {scales}{aggregation}{coverage}"

    def cover(self, split: Split) -> list[Split]:
        """Return the images to describe: those of a split and, if boxes are covered, the same cropped to boxes."""
        return [split, split.cropped_to_boxes()] if self.coverage == "image+box" else [split]
