"""Protocols as text and as values: section 4.4's notation, and what is refused, with the place."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.configs.protocol_texts import (
    assert_pointed_at,
    members,
    protocols,
    reads_back_or_is_refused,
    spaced,
)
from verydeep.configs.protocols import VIEWS, EvalProtocol, Member, TrainedNet
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError


def scale(text: str) -> TrainScale:
    return TrainScale.parse(text)


def test_the_views_are_the_papers() -> None:
    assert VIEWS == ("dense", "crops", "dense+crops", "center")


def test_a_protocol_by_hand() -> None:
    """The example of the design, field by field."""
    protocol = EvalProtocol.parse("D/256-512fc/256,384,512 + A-LRN/384/352 : dense+crops")
    assert protocol == EvalProtocol(
        (
            Member(TrainedNet("D", TrainScale(256, 512), "fc"), (256, 384, 512)),
            Member(TrainedNet("A-LRN", TrainScale(384, 384), "all"), (352,)),
        ),
        "dense+crops",
    )
    assert EvalProtocol.parse("B-5x5/256/256") == EvalProtocol(
        (Member(TrainedNet("B-5x5", TrainScale(256, 256)), (256,)),), "dense"
    )


@pytest.mark.parametrize(
    "text",
    [
        "A/256/256",
        "B-5x5/256/256 : center",
        "D/256-512fc/256,384,512",
        "D/256-512/256,384,512 + E/256-512/256,384,512 : dense+crops",
        "D/384/352,384,416 + D/384fc/352,384,416 + A-LRN/224/224 : crops",
    ],
)
def test_a_text_prints_back(text: str) -> None:
    assert str(EvalProtocol.parse(text)) == text


def test_dense_may_be_written() -> None:
    assert str(EvalProtocol.parse("E/384/384 : dense")) == "E/384/384"


@given(protocols)
def test_a_protocol_reads_what_it_prints(protocol: EvalProtocol) -> None:
    assert EvalProtocol.parse(str(protocol)) == protocol


@given(members)
def test_a_member_and_a_net_read_what_they_print(member: Member) -> None:
    assert Member.parse(str(member)) == member
    assert TrainedNet.parse(str(member.net)) == member.net
    assert str(member).startswith(f"{member.net}/")


@given(protocols, st.data())
def test_white_space_around_the_marks_changes_nothing(protocol: EvalProtocol, data: st.DataObject) -> None:
    assert EvalProtocol.parse(spaced(str(protocol), data)) == protocol


@given(members, st.data())
def test_test_scales_are_sorted_as_on_the_command_line(member: Member, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(member.test_scales))
    assert Member.parse(f"{member.net}/{','.join(map(str, shuffled))}") == member


@given(protocols, st.data())
def test_a_character_less_is_read_or_refused(protocol: EvalProtocol, data: st.DataObject) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text) - 1))
    reads_back_or_is_refused(EvalProtocol.parse, text[:place] + text[place + 1 :])


@given(protocols, st.data(), st.sampled_from("/+:,-fc ABDx0125\t\n'\"\x1f٣²\xa0\ud800") | st.characters())
def test_a_character_more_is_read_or_refused(protocol: EvalProtocol, data: st.DataObject, sign: str) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text)))
    reads_back_or_is_refused(EvalProtocol.parse, text[:place] + sign + text[place:])


@given(st.text())
@example("D/256/" + "9" * 5000)
@example("D/" + "9" * 5000 + "/256")
@example("D/256/256 : " + "D" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    reads_back_or_is_refused(EvalProtocol.parse, text)


@pytest.mark.parametrize(
    ("text", "place", "found", "reason"),
    [
        ("D/256/256 + X/256/256", 13, "X", "no such net; choose A, A-LRN, B, C, D, E, B-5x5"),
        ("d/256/256", 1, "d", "no such net"),
        ("D /256/256", 1, "D ", "no such net"),
        ("  X/256/256", 3, "X", "no such net"),
        ("D/223/256", 3, "223", "no such train scale"),
        ("D/0256/256", 3, "0256", "no such train scale"),
        ("D/512-256/256", 3, "512-256", "no such train scale"),
        ("D/[256;512]/384", 3, "[256;512]", "no such train scale"),
        ("D/256 fc/256", 3, "256 fc", "no such train scale"),
        ("D/256fcfc/256", 3, "256fcfc", "no such train scale"),
        ("D/fc/256", 3, "fc", "no such train scale"),
        ("D/2٥6/256", 3, "2٥6", "no such train scale"),
        ("D/256/223", 7, "223", "test scales"),
        ("D/256/2٥6", 7, "2٥6", "test scales"),
        ("D/256/256,0384", 11, "0384", "test scales"),
        ("D/256/256,100000", 11, "100000", "test scales"),
        ("D/256/256,384,256", 15, "256", "different"),
        ("D/256/256 ,  x", 14, "x", "test scales"),
        ("D/256/256,+ E/256/256", 11, "", "test scales"),
        ("D/256/256-512", 7, "256-512", "test scales"),
        ("D/256", 1, "D/256", "net/S/Q,Q"),
        ("D/256/256/256", 1, "D/256/256/256", "net/S/Q,Q"),
        ("D/256/256 E/256/256", 1, "D/256/256 E/256/256", "net/S/Q,Q"),
        ("", 1, "", "net/S/Q,Q"),
        ("D/256/256+", 11, "", "net/S/Q,Q"),
        (": dense", 1, "", "net/S/Q,Q"),
        ("D/256/256:", 11, "", "no such view; choose dense, crops, dense+crops, center"),
        ("D/256/256 : crops+dense", 13, "crops+dense", "no such view"),
        ("D/256/256 : Dense", 13, "Dense", "no such view"),
        ("D/256/256 : dense : crops", 21, "crops", "one view"),
        ("A/256/256 + D/256/256 + A/256/256", 25, "A/256/256", "twice"),
        ("A/256/256,384 + A/256/384 ,256", 17, "A/256/384 ,256", "twice"),
    ],
)
def test_the_place_is_pointed_at(text: str, place: int, found: str, reason: str) -> None:
    with pytest.raises(VerydeepError) as caught:
        EvalProtocol.parse(text)
    assert_pointed_at(caught.value, text, place, found, reason)


def test_in_a_long_text_the_line_shown_is_the_part_around_the_place() -> None:
    text = " + ".join(f"D/256/{q}" for q in range(300, 330)) + " + X/256/256"
    with pytest.raises(VerydeepError) as caught:
        EvalProtocol.parse(text)
    _, shown, caret = str(caught.value).split("\n")
    assert shown[len(caret) - 1 :] == "X/256/256"
    assert shown[4:] == text[-59:]


def test_members_and_nets_alone_are_refused_by_their_names() -> None:
    with pytest.raises(VerydeepError, match=r"^The member 'D/256': at character 1, 'D/256': write a member"):
        Member.parse("D/256")
    for text in ("D", "D/256/256", ""):
        with pytest.raises(VerydeepError, match=f"^The net '{text}': at character 1.*: write a net as net/S"):
            TrainedNet.parse(text)


def test_the_same_net_with_other_scales_layers_or_s_is_another_member() -> None:
    text = "D/256/256 + D/256/224,256 + D/256fc/256 + D/384/256"
    assert len(EvalProtocol.parse(text).members) == 4


@pytest.mark.parametrize("scales", [(), (223,), (384, 256), (256, 256), (100_000,)])
def test_a_member_holds_rising_scales_only(scales: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        Member(TrainedNet("D", scale("256")), scales)


def test_a_protocol_holds_different_members_only() -> None:
    member = Member.parse("D/256/256")
    for several in ((), (member, member)):
        with pytest.raises(AssertionError):
            EvalProtocol(several)
    with pytest.raises(AssertionError):
        TrainedNet("X", scale("256"))
