"""Which net starts from which, against section 3.1, and the order that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.configs.ladder import LADDER, start_of, with_starts
from verydeep.configs.localization import LocalizationNet
from verydeep.configs.networks import NETWORKS
from verydeep.configs.paper import LOCALIZATION_TABLES, SHALLOW_TABLE, TABLES
from verydeep.configs.protocols import TrainedNet
from verydeep.configs.scales import TrainScale

pairs = st.tuples(st.integers(224, 600), st.integers(224, 600)).map(lambda pair: TrainScale(*sorted(pair)))
train_scales = st.sampled_from([256, 384, 224, 288]).map(lambda scale: TrainScale(scale, scale)) | pairs
layers = st.sampled_from(["all", "fc"])
nets = st.builds(TrainedNet, st.sampled_from(list(NETWORKS)), train_scales, layers)
regressions = st.sampled_from(["per-class", "single-class"])
box_nets = st.builds(LocalizationNet, st.sampled_from(list(NETWORKS)), train_scales, regressions, layers)


def read(text: str) -> TrainedNet | LocalizationNet:
    return LocalizationNet.parse(text) if "cr" in text else TrainedNet.parse(text)


@pytest.mark.parametrize(
    ("net", "line"),
    [
        ("A/256", []),
        ("A-LRN/256", []),
        ("B-5x5/256", []),
        ("B/256", ["A/256"]),
        ("C/256", ["A/256"]),
        ("E/384", ["E/256", "A/256"]),
        ("D/256-512", ["D/384", "D/256", "A/256"]),
        ("D/256-512fc", ["D/384", "D/256", "A/256"]),
        ("D/288", ["D/256", "A/256"]),
        ("D/384fc", ["D/256", "A/256"]),
        ("D/256fc", ["D/256", "A/256"]),
        ("A/256fc", ["A/256"]),
        ("E/320-400", ["E/384", "E/256", "A/256"]),
        ("A/256-512", ["A/384", "A/256"]),
        ("A-LRN/384", ["A-LRN/256"]),
        ("B-5x5/256-512fc", ["B-5x5/384", "B-5x5/256"]),
        ("D/256pcr", ["D/256", "A/256"]),
        ("D/384pcr", ["D/384", "D/256", "A/256"]),
        ("D/384scr-fc", ["D/384", "D/256", "A/256"]),
        ("A/256scr", ["A/256"]),
        ("E/256-512pcr", ["E/256-512", "E/384", "E/256", "A/256"]),
    ],
)
def test_a_net_starts_from_where_sections_3_1_and_a_1_say(net: str, line: list[str]) -> None:
    current, found = start_of(read(net)), []
    while current is not None:
        found.append(str(current))
        current = start_of(current)
    assert found == line


def test_the_ladder_is_the_papers_thirteen_nets() -> None:
    assert sorted(map(str, LADDER)) == sorted(
        ["A/256", "A-LRN/256", "B/256", "D/256-512fc"]
        + [f"{network}/{scale}" for network in "CDE" for scale in ("256", "384", "256-512")]
    )


def test_each_rung_comes_after_its_start_and_all_starts_are_on_it() -> None:
    assert with_starts(LADDER) == LADDER
    for place, net in enumerate(LADDER):
        assert start_of(net) is None or start_of(net) in LADDER[:place]


def nets_of(name: str) -> set[TrainedNet]:
    protocols = [row.protocol for row in TABLES[name].rows if row.protocol is not None]
    return {member.net for protocol in protocols for member in protocol.members}


def test_the_ladder_has_all_nets_of_the_tables_and_no_other() -> None:
    assert set().union(*(nets_of(name) for name in TABLES)) == set(LADDER)


def test_the_seven_nets_of_the_submission_need_eight_trainings() -> None:
    """C, D and E at 256 and 384, D/256-512fc, and A, which is not among the seven."""
    submission = TABLES["table6"].rows[0].protocol
    assert submission is not None
    seven = submission.members
    assert len(seven) == 7
    order = [str(net) for net in with_starts(member.net for member in seven)]
    assert sorted(order) == sorted(["A/256", "C/256", "C/384", "D/256", "D/384", "D/256-512fc", "E/256", "E/384"])
    assert order[:4] == ["A/256", "D/256", "D/384", "D/256-512fc"]


def test_the_ladder_has_what_appendix_a_starts_from_and_takes_classes_from() -> None:
    """D at both S for the boxes; for the classes D and E, jittered."""
    box_nets = [net for table in LOCALIZATION_TABLES.values() for net in table.nets]
    needed = [str(net) for net in with_starts(box_nets)]
    assert needed == ["A/256", "D/256", "D/384", "D/384scr-fc", "D/384pcr-fc", "D/384pcr", "D/256pcr"]
    protocols = [protocol for table in LOCALIZATION_TABLES.values() for protocol in table.protocols]
    classes = {member.net for each in protocols if each.classes != "truth" for member in each.classes.members}
    assert {str(net) for net in classes} == {"D/256-512", "E/256-512"}
    assert classes <= set(LADDER)
    assert {start_of(net) for net in box_nets} <= set(LADDER)


def test_the_shallow_comparison_needs_a_too() -> None:
    assert [str(net) for net in with_starts(SHALLOW_TABLE.nets)] == ["A/256", "B/256", "B-5x5/256"]


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([], ["A/256", "D/256", "D/384", "D/256-512", "E/256"]),
        (["A/256"], ["D/256", "D/384", "D/256-512", "E/256"]),
        (["D/384"], ["D/256-512", "A/256", "E/256"]),
        (["D/384", "A/256"], ["D/256-512", "E/256"]),
        (["D/256-512"], ["A/256", "E/256"]),
        (["D/256-512", "E/256"], []),
        (["E/384"], ["A/256", "D/256", "D/384", "D/256-512", "E/256"]),
        (["D/256-512pcr"], ["A/256", "D/256", "D/384", "D/256-512", "E/256"]),
    ],
)
def test_what_is_there_needs_no_start(there: list[str], left: list[str]) -> None:
    asked = [TrainedNet.parse(text) for text in ("D/256-512", "E/256")]
    found = with_starts(asked, there={read(text) for text in there})
    assert [str(net) for net in found] == left


@given(st.lists(nets | box_nets, max_size=6))
def test_starts_come_first_and_nothing_is_missing_or_twice(asked: list[TrainedNet | LocalizationNet]) -> None:
    ordered = with_starts(asked)
    assert len(set(ordered)) == len(ordered)
    assert set(asked) <= set(ordered)
    for place, net in enumerate(ordered):
        start = start_of(net)
        assert start is None or start in ordered[:place]
        assert start is None or start.network in (net.network, "A")
    needed = {start_of(net) for net in ordered}
    assert all(net in asked or net in needed for net in ordered)
