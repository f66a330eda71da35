"""Test protocols as values (sections 3.2 and 4): which nets, at which test scales, seen how.

``D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops`` is an ``EvalProtocol`` of two members. A member is
net/S/Q,Q,...: a key of ``NETWORKS``, the train scale (``fc`` behind it marks a net whose FC layers alone were
fine-tuned at that S) and the test scales. Every level is an equal-weight mean of posteriors.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from verydeep.configs.networks import NETWORKS, PAPER_CROP
from verydeep.configs.recipes import FineTuned
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError

View = Literal["dense", "crops", "dense+crops", "center"]
"""How a net sees an image at one scale: the whole of it; 5x5 crops and their flips; the mean of both; the central crop
without flip (section 3.2; section 4.1 for the last)."""

VIEWS: tuple[View, ...] = get_args(View)

_LARGEST = 99_999
_NUMBER = "[1-9][0-9]{2,4}"


@dataclass(frozen=True)
class TrainedNet:
    """A net and how it was trained: ``D/256-512fc``."""

    network: str
    scale: TrainScale
    fine_tuned: FineTuned = "all"
    """Which layers learned at this S; "fc" is the jittered D of the paper's submission (section 4.4)."""

    def __post_init__(self) -> None:
        assert self.network in NETWORKS

    @classmethod
    def parse(cls, text: str) -> "TrainedNet":
        """Read "D/384" or "D/256-512fc".

        Raises:
            VerydeepError: it is neither; the place is pointed at.
        """
        return _read_net(_Part("The net", text).stripped())

    def __str__(self) -> str:
        return f"{self.network}/{self.scale}{'fc' if self.fine_tuned == 'fc' else ''}"

    def at_one_scale(self) -> "Member":
        """Tested as in Table 3: Q = S, or 0.5 (Smin + Smax)."""
        return Member(self, (self.scale.middle,))

    def at_several_scales(self) -> "Member":
        """Tested as in Table 4: {S - 32, S, S + 32}, or {Smin, 0.5 (Smin + Smax), Smax}."""
        return Member(self, self.scale.several_test_scales)


@dataclass(frozen=True)
class Member:
    """A trained net and its test scales Q, rising: ``D/256-512fc/256,384,512``, as Table 6 writes it."""

    net: TrainedNet
    test_scales: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.test_scales
        assert list(self.test_scales) == sorted(set(self.test_scales))
        assert PAPER_CROP <= self.test_scales[0] <= self.test_scales[-1] <= _LARGEST

    @classmethod
    def parse(cls, text: str) -> "Member":
        """Read "D/256-512/256,384,512".

        Raises:
            VerydeepError: it is not a net, its train scale and its test scales; the place is pointed at.
        """
        return _read_member(_Part("The member", text).stripped())

    def __str__(self) -> str:
        return f"{self.net}/{','.join(map(str, self.test_scales))}"


@dataclass(frozen=True)
class EvalProtocol:
    """Different members, whose posteriors are averaged, and the view they share."""

    members: tuple[Member, ...]
    view: View = "dense"

    def __post_init__(self) -> None:
        assert self.members
        assert len(set(self.members)) == len(self.members)

    @classmethod
    def parse(cls, text: str) -> "EvalProtocol":
        """Read "D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops".

        White space may stand or be missing around ``+``, ``:`` and commas; test scales may come in any order.

        Raises:
            VerydeepError: it is no protocol, or a member comes twice; the place is pointed at.
        """
        before, *after = _Part("--protocol", text).split(":")
        members: list[Member] = []
        for part in before.split("+"):
            member = _read_member(part)
            if member in members:
                raise part.error("this member comes twice; a protocol is the mean of different ones")
            members.append(member)
        if not after:
            return cls(tuple(members))
        if len(after) > 1:
            raise after[1].error('a second ":"; a protocol has one view')
        return cls(tuple(members), _read_view(after[0]))

    def __str__(self) -> str:
        members = " + ".join(map(str, self.members))
        return members if self.view == "dense" else f"{members} : {self.view}"


@dataclass(frozen=True)
class _Part:
    """A part of a text that remembers where it stands, so that an error can point at it."""

    about: str
    """What the whole text is, as the error's first words."""
    whole: str
    start: int = 0
    length: int | None = None
    """None: to the end."""

    @property
    def text(self) -> str:
        return self.whole[self.start : None if self.length is None else self.start + self.length]

    def stripped(self) -> "_Part":
        """Without the white space around it."""
        text = self.text.strip()
        return _Part(self.about, self.whole, self.start + self.text.find(text), len(text))

    def split(self, mark: str, *, strip: bool = True) -> list["_Part"]:
        """The parts between the marks."""
        parts, start = [], self.start
        for text in self.text.split(mark):
            part = _Part(self.about, self.whole, start, len(text))
            parts.append(part.stripped() if strip else part)
            start += len(text) + len(mark)
        return parts

    def error(self, reason: str) -> VerydeepError:
        """One sentence, and under it the text around the place with a caret."""
        found = f", {self.text!r}" if self.text else ""
        first = max(0, self.start - 50)
        shown = "".join(sign if sign.isprintable() else " " for sign in self.whole[first : first + 100])
        return VerydeepError(
            f"{self.about} {self.whole!r}: at character {self.start + 1}{found}: {reason}.\n"
            f"    {shown}\n    {' ' * (self.start - first)}^"
        )


def _read_view(part: _Part) -> View:
    text = "+".join(side.text for side in part.split("+"))
    for view in VIEWS:
        if text == view:
            return view
    raise part.error(f"no such view; choose {', '.join(VIEWS)}")


def _read_member(part: _Part) -> Member:
    fields = part.split("/", strip=False)
    if len(fields) != 3:
        raise part.error("write a member as net/S/Q,Q, such as D/256-512/256,384,512")
    net = _read_net(_Part(part.about, part.whole, part.start, fields[2].start - 1 - part.start))
    scales: list[int] = []
    for field in fields[2].split(","):
        scale = int(field.text) if re.fullmatch(_NUMBER, field.text) else 0
        if scale < PAPER_CROP or scale in scales:
            raise field.error(
                f"write test scales as different whole numbers from {PAPER_CROP} to {_LARGEST}, such as 256,384,512"
            )
        scales.append(scale)
    return Member(net, tuple(sorted(scales)))


def _read_net(part: _Part) -> TrainedNet:
    fields = part.split("/", strip=False)
    if len(fields) != 2:
        raise part.error("write a net as net/S, such as D/256-512")
    network, scale = fields
    if network.text not in NETWORKS:
        raise network.error(f"no such net; choose {', '.join(NETWORKS)}")
    numbers = scale.text.removesuffix("fc")
    if not re.fullmatch(f"{_NUMBER}(-{_NUMBER})?", numbers) or not TrainScale.is_one(numbers):
        raise scale.error(
            f"no such train scale; write 256, or 256-512 for a jittered one, from {PAPER_CROP} to {_LARGEST}, with fc "
            "behind it if the FC layers alone were fine-tuned"
        )
    fine_tuned: FineTuned = "fc" if numbers != scale.text else "all"
    return TrainedNet(network.text, TrainScale.parse(numbers), fine_tuned)
