"""Localization protocols as text and as values: appendix A's choices, and what is refused, with the place."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.configs.protocol_texts import (
    assert_pointed_at,
    protocols,
    reads_back_or_is_refused,
    rising_scales,
    spaced,
    train_scales,
)
from verydeep.configs.localization import (
    LOCALIZATION_VIEWS,
    Classes,
    LocalizationMember,
    LocalizationNet,
    LocalizationProtocol,
    own_classes,
    parse_classes,
)
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import EvalProtocol, Member, TrainedNet
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError

nets = st.builds(
    LocalizationNet,
    st.sampled_from(list(NETWORKS)),
    train_scales,
    st.sampled_from(["per-class", "single-class"]),
    st.sampled_from(["all", "fc"]),
)
members = st.builds(LocalizationMember, nets, rising_scales)


@st.composite
def localization_protocols(draw: st.DrawFn) -> LocalizationProtocol:
    several = tuple(draw(st.lists(members, min_size=1, max_size=5, unique=True)))
    view = draw(st.sampled_from(LOCALIZATION_VIEWS))
    truth: Classes = "truth"
    classes = draw(st.sampled_from([own_classes(several, view), truth]) | protocols)
    return LocalizationProtocol(several, view, classes)


def test_the_views_are_the_papers() -> None:
    """Appendix A.1's two testing protocols."""
    assert LOCALIZATION_VIEWS == ("dense", "center")


def test_a_protocol_by_hand() -> None:
    """The fusion of Table 9, field by field."""
    protocol = LocalizationProtocol.parse(
        "D/256pcr/256 + D/384scr-fc/352,384 @ D/256-512/256,384,512 + E/256-512fc/384 : dense+crops"
    )
    assert protocol == LocalizationProtocol(
        (
            LocalizationMember(LocalizationNet("D", TrainScale(256, 256), "per-class", "all"), (256,)),
            LocalizationMember(LocalizationNet("D", TrainScale(384, 384), "single-class", "fc"), (352, 384)),
        ),
        "dense",
        EvalProtocol(
            (
                Member(TrainedNet("D", TrainScale(256, 512)), (256, 384, 512)),
                Member(TrainedNet("E", TrainScale(256, 512), "fc"), (384,)),
            ),
            "dense+crops",
        ),
    )


def test_the_simplified_protocol_by_hand() -> None:
    """A row of Table 8; jittered nets, which the authors had no time for, are written alike."""
    net = LocalizationNet("B-5x5", TrainScale(256, 512), "single-class")
    assert LocalizationProtocol.parse("B-5x5/256-512scr/384 : center @ truth") == LocalizationProtocol(
        (LocalizationMember(net, (384,)),), "center", "truth"
    )


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("D/384pcr/352,384", "D/384/352,384"),
        ("D/384scr-fc/384 : center", "D/384/384 : center"),
        ("E/256-512pcr/384", "E/256-512/384"),
        ("D/256pcr/256 + D/384pcr/352,384", "D/256/256 + D/384/352,384"),
        ("D/384pcr/384 + D/384scr/352,416 + D/384pcr-fc/384", "D/384/352,384,416"),
        ("D/384pcr/384 : center @ truth", "truth"),
        ("D/384pcr/384 @ truth", "truth"),
        ("D/384pcr/384 : center @ D/384/384", "D/384/384"),
        ("D/384pcr/384 @ D/384/384 : center", "D/384/384 : center"),
        ("D/384pcr/384 @ E/384/384 : dense+crops", "E/384/384 : dense+crops"),
    ],
)
def test_a_text_prints_back_and_names_its_classes(text: str, classes: str) -> None:
    """A ``:`` before the ``@`` is the boxes', one behind it the classes'; without an ``@``, the nets it starts from."""
    protocol = LocalizationProtocol.parse(text)
    assert str(protocol) == text
    assert str(protocol.classes) == classes


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("D/384pcr/384 : dense", "D/384pcr/384"),
        ("D/384pcr/384 @ D/384/384", "D/384pcr/384"),
        ("D/384pcr/384 : dense @ D/384/384 : dense", "D/384pcr/384"),
        ("D/384pcr/384 : center @ D/384/384 : center", "D/384pcr/384 : center"),
        ("D/384pcr/384 @ D/384/384 : center", "D/384pcr/384 @ D/384/384 : center"),
    ],
)
def test_what_is_left_out_may_be_written(text: str, short: str) -> None:
    assert str(LocalizationProtocol.parse(text)) == short
    assert LocalizationProtocol.parse(text) == LocalizationProtocol.parse(short)


@given(localization_protocols())
def test_a_protocol_reads_what_it_prints(protocol: LocalizationProtocol) -> None:
    assert LocalizationProtocol.parse(str(protocol)) == protocol


@given(localization_protocols(), localization_protocols())
def test_different_protocols_print_differently(one: LocalizationProtocol, other: LocalizationProtocol) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(members)
def test_a_member_and_a_net_read_what_they_print(member: LocalizationMember) -> None:
    assert LocalizationMember.parse(str(member)) == member
    assert LocalizationNet.parse(str(member.net)) == member.net
    assert str(member).startswith(f"{member.net}/")


@given(localization_protocols(), st.data())
def test_white_space_around_the_marks_changes_nothing(protocol: LocalizationProtocol, data: st.DataObject) -> None:
    assert LocalizationProtocol.parse(spaced(str(protocol), data)) == protocol


@given(st.lists(members, min_size=1, max_size=5, unique=True), st.sampled_from(LOCALIZATION_VIEWS))
def test_own_classes_are_of_the_nets_that_rate_the_boxes(asked: list[LocalizationMember], view: str) -> None:
    """Each of them is there at each Q of its boxes, and nothing else is asked."""
    classes = own_classes(asked, view)  # type: ignore[arg-type]
    assert classes.view == view
    each = [(member.net, scale) for member in classes.members for scale in member.test_scales]
    assert len({member.net for member in classes.members}) == len(classes.members)
    assert set(each) == {(member.net.classifier, scale) for member in asked for scale in member.test_scales}


@given(localization_protocols(), st.data())
def test_a_character_less_is_read_or_refused(protocol: LocalizationProtocol, data: st.DataObject) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text) - 1))
    reads_back_or_is_refused(LocalizationProtocol.parse, text[:place] + text[place + 1 :])


@given(
    localization_protocols(),
    st.data(),
    st.sampled_from("/+:@,-pscrf ABDx0125\t\n'\"\x1f٣²\xa0\ud800") | st.characters(),
)
def test_a_character_more_is_read_or_refused(protocol: LocalizationProtocol, data: st.DataObject, sign: str) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text)))
    reads_back_or_is_refused(LocalizationProtocol.parse, text[:place] + sign + text[place:])


@given(st.text())
@example("D/256pcr/" + "9" * 5000)
@example("D/" + "9" * 5000 + "pcr/256")
@example("D/256pcr/256 @ " + "D" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    reads_back_or_is_refused(LocalizationProtocol.parse, text)


@pytest.mark.parametrize(
    ("text", "place", "found", "reason"),
    [
        ("D/256pcr/256 + X/256pcr/256", 16, "X", "no such net; choose A, A-LRN, B, C, D, E, B-5x5"),
        ("D/256/256", 3, "256", "write 384pcr (per-class regression) or 384scr (single-class)"),
        ("D/256fc/256", 3, "256fc", "write 384pcr"),
        ("D/223pcr/256", 3, "223pcr", "from 224"),
        ("D/pcr/256", 3, "pcr", "no such train scale"),
        ("D/256PCR/256", 3, "256PCR", "no such train scale"),
        ("D/256pcrscr/256", 3, "256pcrscr", "no such train scale"),
        ("D/256 pcr/256", 3, "256 pcr", "no such train scale"),
        ("D/256pcrfc/256", 3, "256pcrfc", "with -fc behind it"),
        ("D/256fc-pcr/256", 3, "256fc-pcr", "no such train scale"),
        ("D/512-256pcr/256", 3, "512-256pcr", "no such train scale"),
        ("D/256pcr/223", 10, "223", "test scales"),
        ("D/256pcr/256,256", 14, "256", "different"),
        ("D/256pcr", 1, "D/256pcr", "net/S/Q,Q, such as D/384pcr/352,384"),
        ("", 1, "", "net/S/Q,Q"),
        ("@ truth", 1, "", "net/S/Q,Q"),
        ("truth", 1, "truth", "net/S/Q,Q"),
        ("D/256pcr/256 : crops", 16, "crops", "no such view; choose dense, center"),
        ("D/256pcr/256 : center : dense", 25, "dense", "one view"),
        ("D/256pcr/256 : truth", 16, "truth", "no such view"),
        ("D/256pcr/256 @", 15, "", "truth alone, or a test protocol such as D/384/384"),
        ("D/256pcr/256 @ Truth", 16, "Truth", "truth alone"),
        ("D/256pcr/256 @ truth : center", 16, "truth : center", "truth alone"),
        ("D/256pcr/256 @ center", 16, "center", "truth alone"),
        ("D/256pcr/256 @ D/256/256 @ truth", 28, "truth", "one protocol"),
        ("D/256pcr/256 @ D/256/256 : center : dense", 37, "dense", "one view"),
        ("D/256pcr/256 @ D/256pcr/256", 18, "256pcr", "no such train scale; write 256, or 256-512"),
        ("D/256pcr/256 @ D/256/256 + truth", 28, "truth", "net/S/Q,Q"),
        ("D/256pcr/256 @ D/256/256 + D/256/256", 28, "D/256/256", "twice"),
        ("D/256pcr/256,384 + D/256pcr/384 ,256", 20, "D/256pcr/384 ,256", "twice"),
    ],
)
def test_the_place_is_pointed_at(text: str, place: int, found: str, reason: str) -> None:
    with pytest.raises(VerydeepError) as caught:
        LocalizationProtocol.parse(text)
    assert_pointed_at(caught.value, text, place, found, reason)


def test_a_classification_protocol_takes_no_classes_and_no_boxes() -> None:
    for text in ("D/256/256 @ truth", "D/256/256 : center @ truth", "D/256pcr/256"):
        with pytest.raises(VerydeepError):
            EvalProtocol.parse(text)


@pytest.mark.parametrize("text", ["truth", "E/256-512/256,384,512 : dense+crops", "D/384/384 + E/384/384"])
def test_classes_alone_are_what_stands_behind_the_mark(text: str) -> None:
    classes: Classes = parse_classes(f" {text} ")
    assert classes == LocalizationProtocol.parse(f"D/256pcr/256 @ {text}").classes
    assert str(classes) == text


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [("", 1, "truth alone"), ("true", 1, "truth alone"), ("D/256pcr/256", 3, "no such train scale")],
)
def test_classes_alone_are_refused_by_their_option(text: str, place: int, reason: str) -> None:
    with pytest.raises(VerydeepError, match=f"^--classes '{text}': at character {place}[,:].*{reason}"):
        parse_classes(text)


def test_members_and_nets_alone_are_refused_by_their_names() -> None:
    with pytest.raises(VerydeepError, match=r"^The member 'D/256pcr': at character 1, .*: write a member"):
        LocalizationMember.parse("D/256pcr")
    with pytest.raises(
        VerydeepError, match=r"^The net 'D': at character 1, 'D': write a net as net/S, such as D/384pcr"
    ):
        LocalizationNet.parse("D")


def test_the_values_refuse_what_no_text_says() -> None:
    net = LocalizationNet.parse("D/256pcr")
    member = LocalizationMember(net, (256,))
    for several in ((), (member, member)):
        with pytest.raises(AssertionError):
            LocalizationProtocol(several, "dense", "truth")
    for scales in ((), (223,), (384, 256), (256, 256)):
        with pytest.raises(AssertionError):
            LocalizationMember(net, scales)
    with pytest.raises(AssertionError):
        LocalizationNet("X", TrainScale(256, 256), "per-class")
