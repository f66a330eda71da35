"""The source net of each net, against section 3.1, and the order of training that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.configs.ladder import LADDER, add_sources, find_source
from verydeep.configs.networks import NETWORKS
from verydeep.configs.paper import LOCALIZATION_TABLES, SHALLOW_TABLE, TABLES
from verydeep.configs.protocols import PaperNet
from verydeep.configs.scales import TrainScale

pairs = st.tuples(st.integers(224, 600), st.integers(224, 600)).map(lambda pair: TrainScale(*sorted(pair)))
train_scales = st.sampled_from([256, 384, 224, 288]).map(lambda scale: TrainScale(scale, scale)) | pairs
layers = st.sampled_from(["all", "fc"])
nets = st.builds(PaperNet, st.sampled_from(list(NETWORKS)), train_scales, layers)
regressions = st.sampled_from(["per-class", "single-class"])
box_nets = st.builds(PaperNet, st.sampled_from(list(NETWORKS)), train_scales, layers, regressions)


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
    current, found = find_source(PaperNet.parse(net)), []
    while current is not None:
        found.append(str(current))
        current = find_source(current)
    assert found == line


def test_the_ladder_is_the_papers_thirteen_nets() -> None:
    assert sorted(map(str, LADDER)) == sorted(
        ["A/256", "A-LRN/256", "B/256", "D/256-512fc"]
        + [f"{network}/{scale}" for network in "CDE" for scale in ("256", "384", "256-512")]
    )


def test_each_net_comes_after_its_source_and_all_sources_are_in_the_ladder() -> None:
    assert add_sources(LADDER) == LADDER
    for place, net in enumerate(LADDER):
        assert find_source(net) is None or find_source(net) in LADDER[:place]


def nets_of(name: str) -> set[PaperNet]:
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
    order = [str(net) for net in add_sources(member.net for member in seven)]
    assert sorted(order) == sorted(["A/256", "C/256", "C/384", "D/256", "D/384", "D/256-512fc", "E/256", "E/384"])
    assert order[:4] == ["A/256", "D/256", "D/384", "D/256-512fc"]


def test_the_ladder_has_what_appendix_a_starts_from_and_takes_classes_from() -> None:
    """D at both S for the boxes; for the classes D and E, jittered."""
    box_nets = [net for table in LOCALIZATION_TABLES.values() for net in table.nets]
    needed = [str(net) for net in add_sources(box_nets)]
    assert needed == ["A/256", "D/256", "D/384", "D/384scr-fc", "D/384pcr-fc", "D/384pcr", "D/256pcr"]
    protocols = [protocol for table in LOCALIZATION_TABLES.values() for protocol in table.protocols]
    classes = {member.net for each in protocols if each.classes != "truth" for member in each.classes.members}
    assert {str(net) for net in classes} == {"D/256-512", "E/256-512"}
    assert classes <= set(LADDER)
    assert {find_source(net) for net in box_nets} <= set(LADDER)


def test_the_shallow_comparison_needs_a_too() -> None:
    assert [str(net) for net in add_sources(SHALLOW_TABLE.nets)] == ["A/256", "B/256", "B-5x5/256"]


@pytest.mark.parametrize(
    ("trained", "missing"),
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
def test_trained_nets_need_no_source(trained: list[str], missing: list[str]) -> None:
    wanted = [PaperNet.parse(text) for text in ("D/256-512", "E/256")]
    found = add_sources(wanted, trained={PaperNet.parse(text) for text in trained})
    assert [str(net) for net in found] == missing


@given(st.lists(nets | box_nets, max_size=6))
def test_sources_come_first_and_no_net_is_missing_or_twice(wanted: list[PaperNet]) -> None:
    ordered = add_sources(wanted)
    assert len(set(ordered)) == len(ordered)
    assert set(wanted) <= set(ordered)
    for place, net in enumerate(ordered):
        source = find_source(net)
        assert source is None or source in ordered[:place]
        assert source is None or source.network in (net.network, "A")
    needed = {find_source(net) for net in ordered}
    assert all(net in wanted or net in needed for net in ordered)
