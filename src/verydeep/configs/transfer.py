"""Appendix B as data: the test scales for each data set, and the published rows of Tables 11 and 12."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from verydeep.configs.protocols import PaperNet
from verydeep.configs.published_nets import JITTERED

DataKind = Literal["VOC", "VOC actions", "Caltech", "own"]
"""The protocol of a data set; own: people's photographs, which the paper does not treat."""

Coverage = Literal["image", "image+box"]
"""The part of a sample that is described: the whole image, or the image and its box (VOC's actions)."""


@dataclass(frozen=True)
class MultiScale:
    """Test scales Q, and the aggregation of their descriptors."""

    scales: tuple[int, ...]
    aggregation: Literal["average", "stack"]


_VOC = MultiScale((256, 384, 512, 640, 768), "average")

SCALES: Mapping[DataKind, MultiScale] = {
    "VOC": _VOC,
    "VOC actions": _VOC,  # the paper names no others
    "Caltech": MultiScale((256, 384, 512), "stack"),
    "own": MultiScale((256,), "average"),  # 256, 384 and 512 take about ten times as long
}
"""The paper's best choice for each kind of its data; a single scale for people's own, so that a first try is quick."""


@dataclass(frozen=True)
class Figure:
    """A cell of Table 11 or 12, in percent."""

    value: float | None
    deviation: float | None = None
    """The standard deviation over the draws of Caltech."""
    extended: float | None = None
    """A figure that the paper marks by *: of nets trained on more classes than ILSVRC's thousand."""

    def __str__(self) -> str:
        plain = [] if self.value is None else [f"{self.value:.1f}"]
        spread = [] if self.deviation is None else [f"± {self.deviation:.1f}"]
        starred = [] if self.extended is None else [f"({self.extended:.1f}*)" if plain else f"{self.extended:.1f}*"]
        return " ".join([*plain, *spread, *starred])


@dataclass(frozen=True)
class TransferRow:
    """A row: its figures by column, without columns that are empty in the paper."""

    label: str
    figures: Mapping[str, Figure]
    nets: tuple[PaperNet, ...] = ()
    """The nets whose descriptors are stacked; empty for other authors' systems, which are printed and never run."""
    coverage: Coverage = "image"


@dataclass(frozen=True)
class TransferTable:
    """A table of appendix B: ``TRANSFER_TABLES["table11"]``."""

    name: str
    title: str
    columns: tuple[str, ...]
    """Data sets under their names in ``data/transfer_sets.py``."""
    rows: tuple[TransferRow, ...]

    @property
    def nets(self) -> tuple[PaperNet, ...]:
        """The nets of its rows, none twice."""
        return tuple(dict.fromkeys(net for row in self.rows for net in row.nets))


_D, _E = (PaperNet.parse(f"{network}/{JITTERED}") for network in "DE")
"""The nets that the authors published."""

_DATA = ("VOC-2007", "VOC-2012", "Caltech-101", "Caltech-256")
_ACTIONS = "VOC-2012 actions"


def _row(label: str, *figures: Figure | float | None, nets: tuple[PaperNet, ...] = ()) -> TransferRow:
    """Return a row of Table 11."""
    found = {
        name: figure if isinstance(figure, Figure) else Figure(figure)
        for name, figure in zip(_DATA, figures, strict=True)
        if figure is not None
    }
    return TransferRow(label, found, nets)


TRANSFER_TABLES: dict[str, TransferTable] = {
    table.name: table
    for table in (
        TransferTable(
            "table11",
            "Comparison with the state of the art on VOC-2007, VOC-2012, Caltech-101, Caltech-256",
            _DATA,
            (
                _row("Zeiler & Fergus (Zeiler & Fergus, 2013)", None, 79.0, Figure(86.5, 0.5), Figure(74.2, 0.3)),
                _row("Chatfield et al. (Chatfield et al., 2014)", 82.4, 83.2, Figure(88.4, 0.6), Figure(77.6, 0.1)),
                _row("He et al. (He et al., 2014)", 82.4, None, Figure(93.4, 0.5), None),
                _row("Wei et al. (Wei et al., 2014)", Figure(81.5, None, 85.2), Figure(81.7, None, 90.3), None, None),
                _row("VGG Net-D (16 layers)", 89.3, 89.0, Figure(91.8, 1.0), Figure(85.0, 0.2), nets=(_D,)),
                _row("VGG Net-E (19 layers)", 89.3, 89.0, Figure(92.3, 0.5), Figure(85.1, 0.3), nets=(_E,)),
                _row("VGG Net-D & Net-E", 89.7, 89.3, Figure(92.7, 0.5), Figure(86.2, 0.3), nets=(_D, _E)),
            ),
        ),
        TransferTable(
            "table12",
            "Comparison with the state of the art in single-image action classification on VOC-2012",
            (_ACTIONS,),
            (
                TransferRow("(Oquab et al., 2014)", {_ACTIONS: Figure(None, extended=70.2)}),
                TransferRow("(Gkioxari et al., 2014)", {_ACTIONS: Figure(73.6)}),
                TransferRow("(Hoai, 2014)", {_ACTIONS: Figure(76.3)}),
                TransferRow("VGG Net-D & Net-E, image-only", {_ACTIONS: Figure(79.2)}, (_D, _E)),
                TransferRow(
                    "VGG Net-D & Net-E, image and bounding box", {_ACTIONS: Figure(84.0)}, (_D, _E), "image+box"
                ),
            ),
        ),
    )
}
"""Tables 11 and 12 by their names."""
