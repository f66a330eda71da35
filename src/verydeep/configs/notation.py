"""What the texts of all protocols share: marks, numbers, and errors that point at the place.

A text is ``member + member : view``, a member net/S/Q,Q,...; how S is written is the protocol's own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from verydeep.configs.networks import NETWORKS, PAPER_CROP
from verydeep.configs.scales import LARGEST_SCALE, TrainScale
from verydeep.errors import VerydeepError

_NUMBER = "[1-9][0-9]{2,3}"

MemberT = TypeVar("MemberT")
ViewT = TypeVar("ViewT", bound=str)


@dataclass(frozen=True)
class TextSpan:
    """A part of a text that remembers where it stands, so that an error can point at it."""

    about: str
    """What the whole text is, as the error's first words."""
    whole: str
    start: int = 0
    length: int | None = None
    """None: to the end."""

    @property
    def text(self) -> str:
        """What it says."""
        return self.whole[self.start : None if self.length is None else self.start + self.length]

    def stripped(self) -> "TextSpan":
        """Without the white space around it."""
        text = self.text.strip()
        return TextSpan(self.about, self.whole, self.start + self.text.find(text), len(text))

    def split(self, mark: str, *, strip: bool = True) -> list["TextSpan"]:
        """The parts between the marks."""
        parts, start = [], self.start
        for text in self.text.split(mark):
            part = TextSpan(self.about, self.whole, start, len(text))
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


def read_members(
    part: TextSpan, read_member: Callable[[TextSpan], MemberT], views: tuple[ViewT, ...]
) -> tuple[tuple[MemberT, ...], ViewT]:
    """Different members, and the view they share: the first of ``views`` when left out.

    Raises:
        VerydeepError: a member or the view is none, a member comes twice, or there are two views.
    """
    before, *after = part.split(":")
    members: list[MemberT] = []
    for each in before.split("+"):
        member = read_member(each)
        if member in members:
            raise each.error("this member comes twice; the members of a protocol are different ones")
        members.append(member)
    if len(after) > 1:
        raise after[1].error('a second ":"; a protocol has one view')
    return tuple(members), _read_view(after[0], views) if after else views[0]


def _read_view(part: TextSpan, views: tuple[ViewT, ...]) -> ViewT:
    text = "+".join(side.text for side in part.split("+"))
    for view in views:
        if text == view:
            return view
    raise part.error(f"no such view; choose {', '.join(views)}")


def split_member(part: TextSpan, example: str) -> tuple[TextSpan, tuple[int, ...]]:
    """The net's part and the test scales, rising.

    Raises:
        VerydeepError: it is not net/S/Q,Q, such as the example, or one of the scales is none or comes twice.
    """
    fields = part.split("/", strip=False)
    if len(fields) != 3:
        raise part.error(f"write a member as net/S/Q,Q, such as {example}")
    scales: list[int] = []
    for field in fields[2].split(","):
        scale = int(field.text) if re.fullmatch(_NUMBER, field.text) else 0
        if not PAPER_CROP <= scale <= LARGEST_SCALE or scale in scales:
            raise field.error(
                f"write test scales as different whole numbers from {PAPER_CROP} to {LARGEST_SCALE}, such as "
                "256,384,512"
            )
        scales.append(scale)
    return TextSpan(part.about, part.whole, part.start, fields[2].start - 1 - part.start), tuple(sorted(scales))


def split_net(part: TextSpan, example: str) -> tuple[str, TextSpan]:
    """The network's name and the train scale's part.

    Raises:
        VerydeepError: it is not net/S, such as the example, or there is no such network.
    """
    fields = part.split("/", strip=False)
    if len(fields) != 2:
        raise part.error(f"write a net as net/S, such as {example}")
    network, scale = fields
    if network.text not in NETWORKS:
        raise network.error(f"no such net; choose {', '.join(NETWORKS)}")
    return network.text, scale


def train_scale(text: str) -> TrainScale | None:
    """The train scale that a protocol writes so; None: it is none."""
    if not re.fullmatch(f"{_NUMBER}(-{_NUMBER})?", text) or not TrainScale.is_one(text):
        return None
    return TrainScale.parse(text)


def check_test_scales(scales: tuple[int, ...]) -> None:
    """Assert that these are what ``split_member`` gives."""
    assert scales
    assert list(scales) == sorted(set(scales))
    assert PAPER_CROP <= scales[0] <= scales[-1] <= LARGEST_SCALE


def write_member(net: object, scales: tuple[int, ...]) -> str:
    """The member's text."""
    return f"{net}/{','.join(map(str, scales))}"
