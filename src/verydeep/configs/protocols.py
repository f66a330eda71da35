"""Test protocols as values and as texts (sections 3.2, 4 and A.1): nets, test scales, view, and classes of boxes.

``D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops`` is an ``EvaluationProtocol`` of two members. A member is
net/S/Q,Q,...: a key of ``NETWORKS``, the train scale and the test scales. After the train scale, ``fc`` marks a net
whose FC layers alone were fine-tuned. Every level is an equal-weight mean of posteriors.

``D/256pcr/256 + D/384pcr/352,384 @ D/256-512/256,384,512 : dense+crops`` is a protocol of localization nets, whose
boxes are pooled. After the train scale, ``pcr`` means per-class and ``scr`` single-class regression, and ``-fc`` that
the FC layers alone were fine-tuned. The classes of the boxes stand after ``@``: ``truth``, or a protocol of
classification nets with a view of its own. Without ``@`` they come from the classification nets that the members start
from, at the same Q in the same view. These nets always rate the boxes.

The view is ``dense`` where it is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from verydeep.configs.networks import NETWORKS, PAPER_CROP
from verydeep.configs.notation import TextSpan
from verydeep.configs.recipes import FineTuned
from verydeep.configs.scales import LARGEST_SCALE, TrainScale

View = Literal["dense", "crops", "dense+crops", "center"]
"""The view of an image at one scale: the whole image; 5x5 crops and their flips; the mean of both; the central crop
without flip (section 3.2; section 4.1 for the last)."""

VIEWS: tuple[View, ...] = get_args(View)

LocalizationView = Literal["dense", "center"]
"""The view of a localization net: one of appendix A.1's two test protocols, neither of them flipped."""

LOCALIZATION_VIEWS: tuple[LocalizationView, ...] = get_args(LocalizationView)

Regression = Literal["per-class", "single-class"]
"""One box for each class (PCR, 4K outputs), or one box for all classes (SCR, 4 outputs)."""

Task = Literal["classify", "localize"]

_NUMBER = "[1-9][0-9]{2,3}"
_SUFFIXES: dict[tuple[Regression | None, FineTuned], str] = {
    (None, "all"): "",
    (None, "fc"): "fc",
    ("per-class", "all"): "pcr",
    ("per-class", "fc"): "pcr-fc",
    ("single-class", "all"): "scr",
    ("single-class", "fc"): "scr-fc",
}


@dataclass(frozen=True)
class PaperNet:
    """A net of the paper and how it was trained: ``D/256-512fc``, ``D/384pcr``."""

    network: str
    scale: TrainScale
    fine_tuned: FineTuned = "all"
    """The layers that learned at this S; "fc" is the jittered D of the paper's submission (section 4.4).

    The last layer of a localization net always learns, from random weights."""
    regression: Regression | None = None
    """The boxes that a localization net predicts; None: it predicts classes."""

    def __post_init__(self) -> None:
        assert self.network in NETWORKS

    @classmethod
    def parse(cls, text: str) -> "PaperNet":
        """Read "D/384", "D/256-512fc" or "D/384pcr-fc".

        Raises:
            OptionError: the text is not a net; the message points at the place.
        """
        return _read_net(TextSpan("The net", text).strip())

    def __str__(self) -> str:
        return f"{self.network}/{self.scale}{_SUFFIXES[self.regression, self.fine_tuned]}"

    @property
    def task(self) -> Task:
        """The prediction of the net: classes or boxes."""
        return "classify" if self.regression is None else "localize"

    @property
    def classifier(self) -> "PaperNet":
        """The classification net of the same S: the source of a localization net, which also rates its boxes."""
        return PaperNet(self.network, self.scale)


@dataclass(frozen=True)
class Member:
    """A net and its test scales Q, rising: ``D/256-512fc/256,384,512``, as Table 6 writes it."""

    net: PaperNet
    test_scales: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.test_scales
        assert list(self.test_scales) == sorted(set(self.test_scales))
        assert PAPER_CROP <= self.test_scales[0] <= self.test_scales[-1] <= LARGEST_SCALE

    def __str__(self) -> str:
        return f"{self.net}/{','.join(map(str, self.test_scales))}"


@dataclass(frozen=True)
class EvaluationProtocol:
    """A test protocol: its members, their view, and for boxes the source of the classes."""

    members: tuple[Member, ...]
    view: View = "dense"
    classes: "Classes | None" = None
    """Top five classes of a classification protocol, or the true class alone; None for classification nets."""

    def __post_init__(self) -> None:
        assert self.members
        assert len(set(self.members)) == len(self.members)
        assert all(member.net.task == self.task for member in self.members)
        if self.task == "localize":
            assert self.classes is not None
            assert self.view in LOCALIZATION_VIEWS
            assert self.classes == "truth" or self.classes.task == "classify"
        else:
            assert self.classes is None

    @classmethod
    def parse(cls, text: str) -> "EvaluationProtocol":
        """Read "D/256-512/256,384,512 + E/256-512/256,384,512 : crops" or "D/384pcr/384 : center @ truth".

        White space is free around ``+``, ``:``, ``@`` and commas; test scales may come in any order.

        Raises:
            OptionError: the text is not a protocol, or names a member twice; the message points at the place.
        """
        return _read_protocol(TextSpan("`protocol`", text))

    def __str__(self) -> str:
        text = " + ".join(map(str, self.members))
        if self.view != "dense":
            text += f" : {self.view}"
        with_classes = self.classes is not None and self.classes != default_classes(self.members, self.view)
        return f"{text} @ {self.classes}" if with_classes else text

    @property
    def task(self) -> Task:
        """The prediction of the members: classes or boxes."""
        return self.members[0].net.task

    @property
    def box_view(self) -> LocalizationView:
        """The view of localization nets."""
        return "center" if self.view == "center" else "dense"


Classes = EvaluationProtocol | Literal["truth"]
"""Source of the classes of boxes: the top five of a classification protocol, or the true class alone."""


def default_classes(members: Sequence[Member], view: View) -> EvaluationProtocol:
    """Return the protocol of the nets that localization nets start from, each once, at all of its test scales."""
    scales: dict[PaperNet, set[int]] = {}
    for member in members:
        scales.setdefault(member.net.classifier, set()).update(member.test_scales)
    return EvaluationProtocol(tuple(Member(net, tuple(sorted(some))) for net, some in scales.items()), view)


def parse_classes(text: str) -> Classes:
    """Read "truth", or a classification protocol such as "E/256-512/256,384,512 : dense+crops".

    Raises:
        OptionError: the text is neither; the message points at the place.
    """
    return _read_classes(TextSpan("`classes`", text).strip())


def _read_protocol(span: TextSpan) -> EvaluationProtocol:
    before, *after = span.split("@")
    members, view = _read_members(before)
    if members[0].net.task == "classify":
        if after:
            raise after[0].error("classes of boxes, but the members predict classes; leave them out")
        return EvaluationProtocol(members, view)
    if len(after) > 1:
        raise after[1].error('a second "@"; the classes come from one protocol')
    return EvaluationProtocol(members, view, _read_classes(after[0]) if after else default_classes(members, view))


def _read_classes(span: TextSpan) -> Classes:
    if span.text == "truth":
        return "truth"
    if "/" not in span.text:
        raise span.error("give truth alone, or a protocol such as D/384/384")
    members, view = _read_members(span)
    if members[0].net.task == "localize":
        raise span.error("this net predicts boxes; name a net that predicts classes")
    return EvaluationProtocol(members, view)


def _read_members(span: TextSpan) -> tuple[tuple[Member, ...], View]:
    before, *after = span.split(":")
    members: list[Member] = []
    for part in before.split("+"):
        member = _read_member(part)
        if member in members:
            raise part.error("this member is listed twice; list each member once")
        if members and member.net.task != members[0].net.task:
            raise part.error("a protocol has nets that predict classes, or nets that predict boxes, but not both")
        members.append(member)
    if len(after) > 1:
        raise after[1].error('a second ":"; a protocol has one view')
    views = VIEWS if members[0].net.task == "classify" else LOCALIZATION_VIEWS
    return tuple(members), _read_view(after[0], views) if after else "dense"


def _read_view(span: TextSpan, views: tuple[View, ...]) -> View:
    text = "+".join(part.text for part in span.split("+"))
    for view in views:
        if text == view:
            return view
    raise span.error(f"no such view; choose {', '.join(views)}")


def _read_member(span: TextSpan) -> Member:
    fields = span.split("/", strip=False)
    if len(fields) != 3:
        raise span.error("write a member as net/S/Q,Q, such as D/256-512/256,384,512")
    scales: list[int] = []
    for field in fields[2].split(","):
        scale = int(field.text) if re.fullmatch(_NUMBER, field.text) else 0
        if not PAPER_CROP <= scale <= LARGEST_SCALE or scale in scales:
            raise field.error(
                f"write test scales as distinct whole numbers from {PAPER_CROP} to {LARGEST_SCALE}, such as 256,384,512"
            )
        scales.append(scale)
    net = TextSpan(span.subject, span.whole, span.start, fields[2].start - 1 - span.start)
    return Member(_read_net(net), tuple(sorted(scales)))


def _read_net(span: TextSpan) -> PaperNet:
    fields = span.split("/", strip=False)
    if len(fields) != 2:
        raise span.error("write a net as net/S, such as D/256-512")
    network, train = fields
    if network.text not in NETWORKS:
        raise network.error(f"no such net; choose {', '.join(NETWORKS)}")
    match = re.fullmatch(f"({_NUMBER}(?:-{_NUMBER})?)(.*)", train.text)
    for (regression, fine_tuned), suffix in _SUFFIXES.items():
        if match and match[2] == suffix and TrainScale.is_valid(match[1]):
            return PaperNet(network.text, TrainScale.parse(match[1]), fine_tuned, regression)
    raise train.error(
        f"no such train scale; write 256, or 256-512 for a jittered one, from {PAPER_CROP} to {LARGEST_SCALE}, with fc "
        "after it if the FC layers alone were fine-tuned; of a localization net 384pcr (per-class regression), 384scr "
        "(single-class), 384pcr-fc or 384scr-fc"
    )
