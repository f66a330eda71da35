"""Test protocols as values (sections 3.2 and 4): which nets, at which test scales, seen how.

``D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops`` is an ``EvalProtocol`` of two members. A member is
net/S/Q,Q,...: a key of ``NETWORKS``, the train scale (``fc`` behind it marks a net whose FC layers alone were
fine-tuned at that S) and the test scales. Every level is an equal-weight mean of posteriors.
"""

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
from verydeep.configs.recipes import FineTuned
from verydeep.configs.scales import LARGEST_SCALE, TrainScale

View = Literal["dense", "crops", "dense+crops", "center"]
"""How a net sees an image at one scale: the whole of it; 5x5 crops and their flips; the mean of both; the central crop
without flip (section 3.2; section 4.1 for the last)."""

VIEWS: tuple[View, ...] = get_args(View)


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
        return _read_net(TextSpan("The net", text).stripped())

    def __str__(self) -> str:
        return f"{self.network}/{self.scale}{'fc' if self.fine_tuned == 'fc' else ''}"


@dataclass(frozen=True)
class Member:
    """A trained net and its test scales Q, rising: ``D/256-512fc/256,384,512``, as Table 6 writes it."""

    net: TrainedNet
    test_scales: tuple[int, ...]

    def __post_init__(self) -> None:
        check_test_scales(self.test_scales)

    @classmethod
    def parse(cls, text: str) -> "Member":
        """Read "D/256-512/256,384,512".

        Raises:
            VerydeepError: it is not a net, its train scale and its test scales; the place is pointed at.
        """
        return _read_member(TextSpan("The member", text).stripped())

    def __str__(self) -> str:
        return write_member(self.net, self.test_scales)


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
        return read_protocol(TextSpan("--protocol", text))

    def __str__(self) -> str:
        members = " + ".join(map(str, self.members))
        return members if self.view == "dense" else f"{members} : {self.view}"


def read_protocol(part: TextSpan) -> EvalProtocol:
    """The protocol that a part of a longer text is.

    Raises:
        VerydeepError: as ``EvalProtocol.parse``.
    """
    return EvalProtocol(*read_members(part, _read_member, VIEWS))


def _read_member(part: TextSpan) -> Member:
    net, test_scales = split_member(part, example="D/256-512/256,384,512")
    return Member(_read_net(net), test_scales)


def _read_net(part: TextSpan) -> TrainedNet:
    network, field = split_net(part, example="D/256-512")
    numbers = field.text.removesuffix("fc")
    scale = train_scale(numbers)
    if scale is None:
        raise field.error(
            f"no such train scale; write 256, or 256-512 for a jittered one, from {PAPER_CROP} to {LARGEST_SCALE}, "
            "with fc behind it if the FC layers alone were fine-tuned"
        )
    return TrainedNet(network, scale, "fc" if numbers != field.text else "all")
