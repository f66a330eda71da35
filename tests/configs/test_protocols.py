"""Protocols as texts and as values: the notation of section 4.4 and appendix A, and the errors with their places."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.configs.protocol_texts import (
    assert_pointed_at,
    box_members,
    box_protocols,
    class_protocols,
    members,
    reads_back_or_is_refused,
    spaced,
)
from verydeep.configs.protocols import (
    LOCALIZATION_VIEWS,
    VIEWS,
    Classes,
    EvaluationProtocol,
    Member,
    PaperNet,
    View,
    default_classes,
    parse_classes,
)
from verydeep.configs.scales import TrainScale
from verydeep.errors import OptionError

protocols = class_protocols | box_protocols()


def test_the_views_are_the_papers() -> None:
    """Those of section 4, and appendix A.1's two testing protocols."""
    assert VIEWS == ("dense", "crops", "dense+crops", "center")
    assert LOCALIZATION_VIEWS == ("dense", "center")


def test_a_protocol_by_hand() -> None:
    protocol = EvaluationProtocol.parse("D/256-512fc/256,384,512 + A-LRN/384/352 : dense+crops")
    assert protocol == EvaluationProtocol(
        (
            Member(PaperNet("D", TrainScale(256, 512), "fc"), (256, 384, 512)),
            Member(PaperNet("A-LRN", TrainScale(384, 384), "all"), (352,)),
        ),
        "dense+crops",
    )
    assert EvaluationProtocol.parse("B-5x5/256/256") == EvaluationProtocol(
        (Member(PaperNet("B-5x5", TrainScale(256, 256)), (256,)),), "dense"
    )


def test_a_protocol_of_boxes_by_hand() -> None:
    """The fusion of Table 9, field by field."""
    protocol = EvaluationProtocol.parse(
        "D/256pcr/256 + D/384scr-fc/352,384 @ D/256-512/256,384,512 + E/256-512fc/384 : dense+crops"
    )
    assert protocol == EvaluationProtocol(
        (
            Member(PaperNet("D", TrainScale(256, 256), "all", "per-class"), (256,)),
            Member(PaperNet("D", TrainScale(384, 384), "fc", "single-class"), (352, 384)),
        ),
        "dense",
        EvaluationProtocol(
            (
                Member(PaperNet("D", TrainScale(256, 512)), (256, 384, 512)),
                Member(PaperNet("E", TrainScale(256, 512), "fc"), (384,)),
            ),
            "dense+crops",
        ),
    )
    assert (protocol.task, protocol.box_view) == ("localize", "dense")


def test_the_simplified_protocol_by_hand() -> None:
    """A row of Table 8, with a jittered net, which the authors had no time for."""
    net = PaperNet("B-5x5", TrainScale(256, 512), regression="single-class")
    protocol = EvaluationProtocol.parse("B-5x5/256-512scr/384 : center @ truth")
    assert protocol == EvaluationProtocol((Member(net, (384,)),), "center", "truth")
    assert protocol.box_view == "center"


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
    protocol = EvaluationProtocol.parse(text)
    assert str(protocol) == text
    assert (protocol.task, protocol.classes) == ("classify", None)


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
def test_a_text_of_boxes_prints_back_and_names_its_classes(text: str, classes: str) -> None:
    """A ``:`` before the ``@`` is the boxes', one behind it the classes'; without an ``@``, the source nets'."""
    protocol = EvaluationProtocol.parse(text)
    assert str(protocol) == text
    assert str(protocol.classes) == classes


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("E/384/384 : dense", "E/384/384"),
        ("D/384pcr/384 : dense", "D/384pcr/384"),
        ("D/384pcr/384 @ D/384/384", "D/384pcr/384"),
        ("D/384pcr/384 : dense @ D/384/384 : dense", "D/384pcr/384"),
        ("D/384pcr/384 : center @ D/384/384 : center", "D/384pcr/384 : center"),
        ("D/384pcr/384 @ D/384/384 : center", "D/384pcr/384 @ D/384/384 : center"),
    ],
)
def test_defaults_may_be_written(text: str, short: str) -> None:
    assert str(EvaluationProtocol.parse(text)) == short
    assert EvaluationProtocol.parse(text) == EvaluationProtocol.parse(short)


@given(protocols)
def test_a_protocol_reads_what_it_prints(protocol: EvaluationProtocol) -> None:
    assert EvaluationProtocol.parse(str(protocol)) == protocol


@given(protocols, protocols)
def test_different_protocols_print_differently(one: EvaluationProtocol, other: EvaluationProtocol) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(members | box_members)
def test_a_net_reads_what_it_prints(member: Member) -> None:
    assert PaperNet.parse(str(member.net)) == member.net
    assert str(member).startswith(f"{member.net}/")


@given(protocols, st.data())
def test_white_space_around_the_marks_changes_nothing(protocol: EvaluationProtocol, data: st.DataObject) -> None:
    assert EvaluationProtocol.parse(spaced(str(protocol), data)) == protocol


@given(members, st.data())
def test_test_scales_are_sorted(member: Member, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(member.test_scales))
    (parsed,) = EvaluationProtocol.parse(f"{member.net}/{','.join(map(str, shuffled))}").members
    assert parsed == member


@given(st.lists(box_members, min_size=1, max_size=5, unique=True), st.sampled_from(VIEWS))
def test_default_classes_come_from_the_nets_that_rate_the_boxes(several: list[Member], view: View) -> None:
    """Each of them at each Q of its boxes, and no other."""
    classes = default_classes(several, view)
    assert classes.view == view
    pairs = [(member.net, scale) for member in classes.members for scale in member.test_scales]
    assert len({member.net for member in classes.members}) == len(classes.members)
    assert set(pairs) == {(member.net.classifier, scale) for member in several for scale in member.test_scales}


@given(protocols, st.data())
def test_a_character_less_is_read_or_refused(protocol: EvaluationProtocol, data: st.DataObject) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text) - 1))
    reads_back_or_is_refused(text[:place] + text[place + 1 :])


@given(
    protocols,
    st.data(),
    st.sampled_from("/+:@,-pscrf ABDx0125\t\n'\"\x1f٣²\xa0\ud800") | st.characters(),
)
def test_a_character_more_is_read_or_refused(protocol: EvaluationProtocol, data: st.DataObject, char: str) -> None:
    text = str(protocol)
    place = data.draw(st.integers(0, len(text)))
    reads_back_or_is_refused(text[:place] + char + text[place:])


@given(st.text())
@example("D/256/" + "9" * 5000)
@example("D/" + "9" * 5000 + "/256")
@example("D/" + "9" * 5000 + "pcr/256")
@example("D/256/256 : " + "D" * 5000)
@example("D/256pcr/256 @ " + "D" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    reads_back_or_is_refused(text)


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
        ("D/256/256,384,256", 15, "256", "distinct"),
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
        ("A/256/256 + D/256pcr/256", 13, "D/256pcr/256", "not both"),
        ("D/256pcr/256 + D/256/256", 16, "D/256/256", "not both"),
        ("D/256/256 @ truth", 13, "truth", "leave them out"),
        ("D/256/256 : center @ truth", 22, "truth", "leave them out"),
        ("D/256/256 @", 12, "", "leave them out"),
        ("D/256pcr/256 + X/256pcr/256", 16, "X", "no such net; choose A, A-LRN, B, C, D, E, B-5x5"),
        ("D/223pcr/256", 3, "223pcr", "from 224"),
        ("D/pcr/256", 3, "pcr", "no such train scale"),
        ("D/256PCR/256", 3, "256PCR", "no such train scale"),
        ("D/256pcrscr/256", 3, "256pcrscr", "no such train scale"),
        ("D/256 pcr/256", 3, "256 pcr", "no such train scale"),
        ("D/256pcrfc/256", 3, "256pcrfc", "384pcr-fc"),
        ("D/256fc-pcr/256", 3, "256fc-pcr", "no such train scale"),
        ("D/512-256pcr/256", 3, "512-256pcr", "no such train scale"),
        ("D/256pcr/223", 10, "223", "test scales"),
        ("D/256pcr/256,256", 14, "256", "distinct"),
        ("D/256pcr", 1, "D/256pcr", "net/S/Q,Q, such as D/256-512/256,384,512"),
        ("@ truth", 1, "", "net/S/Q,Q"),
        ("truth", 1, "truth", "net/S/Q,Q"),
        ("D/256pcr/256 : crops", 16, "crops", "no such view; choose dense, center"),
        ("D/256pcr/256 : center : dense", 25, "dense", "one view"),
        ("D/256pcr/256 : truth", 16, "truth", "no such view"),
        ("D/256pcr/256 @", 15, "", "truth alone, or a protocol such as D/384/384"),
        ("D/256pcr/256 @ Truth", 16, "Truth", "truth alone"),
        ("D/256pcr/256 @ truth : center", 16, "truth : center", "truth alone"),
        ("D/256pcr/256 @ center", 16, "center", "truth alone"),
        ("D/256pcr/256 @ D/256/256 @ truth", 28, "truth", "one protocol"),
        ("D/256pcr/256 @ D/256/256 : center : dense", 37, "dense", "one view"),
        ("D/256pcr/256 @ D/256pcr/256", 16, "D/256pcr/256", "name a net that predicts classes"),
        ("D/256pcr/256 @ D/256/256 + truth", 28, "truth", "net/S/Q,Q"),
        ("D/256pcr/256 @ D/256/256 + D/256/256", 28, "D/256/256", "twice"),
        ("D/256pcr/256,384 + D/256pcr/384 ,256", 20, "D/256pcr/384 ,256", "twice"),
    ],
)
def test_an_error_points_at_the_place(text: str, place: int, found: str, reason: str) -> None:
    with pytest.raises(OptionError) as raised:
        EvaluationProtocol.parse(text)
    assert_pointed_at(raised.value, text, place, found, reason)


def test_a_long_text_is_shown_around_the_place() -> None:
    text = " + ".join(f"D/256/{q}" for q in range(300, 330)) + " + X/256/256"
    with pytest.raises(OptionError) as raised:
        EvaluationProtocol.parse(text)
    _, shown, caret = str(raised.value).split("\n")
    assert shown[len(caret) - 1 :] == "X/256/256"
    assert shown[4:] == text[-59:]


@pytest.mark.parametrize("text", ["truth", "E/256-512/256,384,512 : dense+crops", "D/384/384 + E/384/384"])
def test_classes_alone_are_what_stands_behind_the_mark(text: str) -> None:
    classes: Classes = parse_classes(f" {text} ")
    assert classes == EvaluationProtocol.parse(f"D/256pcr/256 @ {text}").classes
    assert str(classes) == text


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [("", 1, "truth alone"), ("true", 1, "truth alone"), ("D/256pcr/256", 1, "predicts boxes")],
)
def test_classes_alone_are_refused_by_their_parameter(text: str, place: int, reason: str) -> None:
    with pytest.raises(OptionError, match=f"^`classes` '{text}' is wrong at character {place}[,:].*{reason}") as raised:
        parse_classes(text)
    assert raised.value.parameter == "classes"


def test_a_net_alone_is_refused_by_its_name() -> None:
    for text in ("D", "D/256/256", ""):
        with pytest.raises(
            OptionError, match=f"^The net '{text}' is wrong at character 1.*: write a net as net/S"
        ) as raised:
            PaperNet.parse(text)
        assert raised.value.parameter is None


def test_the_same_net_with_other_scales_layers_or_s_is_another_member() -> None:
    text = "D/256/256 + D/256/224,256 + D/256fc/256 + D/384/256"
    assert len(EvaluationProtocol.parse(text).members) == 4


@pytest.mark.parametrize("scales", [(), (223,), (384, 256), (256, 256), (100_000,)])
def test_a_member_has_rising_scales_only(scales: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        Member(PaperNet.parse("D/256"), scales)


def test_the_values_refuse_what_no_text_says() -> None:
    boxes, classes = Member(PaperNet.parse("D/256pcr"), (256,)), Member(PaperNet.parse("D/256"), (256,))
    protocol = EvaluationProtocol((boxes,), "dense", "truth")
    refused: list[tuple[tuple[Member, ...], View, Classes | None]] = [
        ((), "dense", None),
        ((classes, classes), "dense", None),
        ((classes,), "dense", "truth"),
        ((boxes, classes), "dense", "truth"),
        ((boxes,), "dense", None),
        ((boxes,), "crops", "truth"),
        ((boxes,), "dense", protocol),
    ]
    for fields in refused:
        with pytest.raises(AssertionError):
            EvaluationProtocol(*fields)
    with pytest.raises(AssertionError):
        PaperNet("X", TrainScale(256, 256))
