"""Localization protocols as values (appendix A): which box nets, seen how, and where the classes come from.

``D/256pcr/256 + D/384pcr/352,384 @ D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops`` is a
``LocalizationProtocol`` of two members, the fusion of Table 9. A member is net/S/Q,Q,... as in ``protocols``, but
behind S stands ``pcr`` (per-class regression) or ``scr`` (single-class regression), and ``-fc`` behind that marks a net
whose FC layers alone were fine-tuned. Then, each of them only where it is needed:

- ``: center``, the view: the net sees the central crop alone; otherwise ``dense``, the whole image.
- ``@``, where the classes of the boxes come from: ``truth``, or all that follows is an ``EvalProtocol``, a view of its
  own included. Without it they are those of the classification nets that the members start from, at the same Q, in the
  same view. These nets rate the boxes, wherever the classes come from.

So ``D/384pcr/384 : center @ truth`` is the last row of Table 8, and a ``:`` before the ``@`` is the boxes', one behind
it the classes'.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from verydeep.configs.networks import NETWORKS, PAPER_CROP
from verydeep.configs.notation import (
    TextSpan,
    check_test_scales,
    read_members,
    split_member,
    split_net,
    train_scale,
    write_member,
)
from verydeep.configs.protocols import EvalProtocol, Member, TrainedNet, read_protocol
from verydeep.configs.recipes import FineTuned
from verydeep.configs.scales import LARGEST_SCALE, TrainScale

Regression = Literal["per-class", "single-class"]
"""A box for each class (PCR), 4K outputs, or one for all classes (SCR), 4 outputs."""

LocalizationView = Literal["dense", "center"]
"""How a net sees an image at one scale: the whole of it, or the central crop (the second and the first test protocol of
appendix A.1); neither is flipped."""

LOCALIZATION_VIEWS: tuple[LocalizationView, ...] = get_args(LocalizationView)

Classes = EvalProtocol | Literal["truth"]
"""Where the classes of the boxes come from: the top five of a classification protocol, or the true class alone."""

_SHORT: dict[Regression, str] = {"per-class": "pcr", "single-class": "scr"}
_LONG: dict[str, Regression] = {short: regression for regression, short in _SHORT.items()}


@dataclass(frozen=True)
class LocalizationNet:
    """A net that predicts boxes and how it was trained: ``D/384pcr``, ``D/256scr-fc``."""

    network: str
    scale: TrainScale
    regression: Regression
    fine_tuned: FineTuned = "all"
    """Which layers learned boxes; the last one always does, from random weights."""

    def __post_init__(self) -> None:
        assert self.network in NETWORKS

    @classmethod
    def parse(cls, text: str) -> "LocalizationNet":
        """Read "D/384pcr" or "D/256scr-fc".

        Raises:
            VerydeepError: it is neither; the place is pointed at.
        """
        return _read_net(TextSpan("The net", text).stripped())

    def __str__(self) -> str:
        return f"{self.network}/{self.scale}{_SHORT[self.regression]}{'-fc' if self.fine_tuned == 'fc' else ''}"

    @property
    def classifier(self) -> TrainedNet:
        """The classification net of the same S: what this one starts from, and what rates its boxes."""
        return TrainedNet(self.network, self.scale)


@dataclass(frozen=True)
class LocalizationMember:
    """A localization net and its test scales Q, rising: ``D/384pcr/352,384``."""

    net: LocalizationNet
    test_scales: tuple[int, ...]

    def __post_init__(self) -> None:
        check_test_scales(self.test_scales)

    @classmethod
    def parse(cls, text: str) -> "LocalizationMember":
        """Read "D/384pcr/352,384".

        Raises:
            VerydeepError: it is not a net, its train scale and its test scales; the place is pointed at.
        """
        return _read_member(TextSpan("The member", text).stripped())

    def __str__(self) -> str:
        return write_member(self.net, self.test_scales)


@dataclass(frozen=True)
class LocalizationProtocol:
    """Different members, whose boxes are pooled, the view they share, and where the classes come from."""

    members: tuple[LocalizationMember, ...]
    view: LocalizationView
    classes: Classes

    def __post_init__(self) -> None:
        assert self.members
        assert len(set(self.members)) == len(self.members)

    @classmethod
    def parse(cls, text: str) -> "LocalizationProtocol":
        """Read "D/384pcr/352,384", "D/384scr-fc/384 : center @ truth" or "D/384pcr/384 @ E/256-512/384 : crops".

        White space may stand or be missing around ``+``, ``:``, ``@`` and commas; test scales may come in any order.

        Raises:
            VerydeepError: it is no protocol, or a member comes twice; the place is pointed at.
        """
        boxes, *after = TextSpan("--protocol", text).split("@")
        members, view = read_members(boxes, _read_member, LOCALIZATION_VIEWS)
        if len(after) > 1:
            raise after[1].error('a second "@"; the classes come from one protocol')
        return cls(members, view, _read_classes(after[0]) if after else own_classes(members, view))

    def __str__(self) -> str:
        text = " + ".join(map(str, self.members))
        if self.view != "dense":
            text += f" : {self.view}"
        return text if self.classes == own_classes(self.members, self.view) else f"{text} @ {self.classes}"


def own_classes(members: Sequence[LocalizationMember], view: LocalizationView) -> EvalProtocol:
    """The classification nets that the members start from, each once, at all Q at which boxes are asked for."""
    scales: dict[TrainedNet, set[int]] = {}
    for member in members:
        scales.setdefault(member.net.classifier, set()).update(member.test_scales)
    return EvalProtocol(tuple(Member(net, tuple(sorted(asked))) for net, asked in scales.items()), view)


def parse_classes(text: str) -> Classes:
    """Read what ``--classes`` takes: "truth", or a test protocol such as "E/256-512/256,384,512 : dense+crops".

    Raises:
        VerydeepError: it is neither; the place is pointed at.
    """
    return _read_classes(TextSpan("--classes", text).stripped())


def _read_classes(part: TextSpan) -> Classes:
    if part.text == "truth":
        return "truth"
    if "/" not in part.text:
        raise part.error("write where the classes come from: truth alone, or a test protocol such as D/384/384")
    return read_protocol(part)


def _read_member(part: TextSpan) -> LocalizationMember:
    net, test_scales = split_member(part, example="D/384pcr/352,384")
    return LocalizationMember(_read_net(net), test_scales)


def _read_net(part: TextSpan) -> LocalizationNet:
    network, field = split_net(part, example="D/384pcr")
    match = re.fullmatch("(.*)(pcr|scr)(-fc)?", field.text, re.DOTALL)
    scale = train_scale(match[1]) if match else None
    if match is None or scale is None:
        raise field.error(
            f"no such train scale; write 384pcr (per-class regression) or 384scr (single-class), S from {PAPER_CROP} "
            f"to {LARGEST_SCALE}, with -fc behind it if the FC layers alone were fine-tuned"
        )
    return LocalizationNet(network, scale, _LONG[match[2]], "fc" if match[3] else "all")
