"""Every published number against a copy of the paper's tables made independently (paper_tables.json)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from verydeep.configs.paper import BEST_SYSTEM, LOCALIZATION_TABLES, SHALLOW_TABLE, TABLES, PaperRow
from verydeep.configs.protocols import EvaluationProtocol, Member, PaperNet

PAPER = json.loads(Path(__file__).with_name("paper_tables.json").read_text())

METHODS = {"dense": "", "multi-crop": " : crops", "multi-crop & dense": " : dense+crops"}
NUMBERS = range(3, 8)

ROWS = [(number, index) for number in NUMBERS for index in range(len(PAPER["tables"][str(number)]["rows"]))]

BOX_ROWS = [(number, index) for number in (8, 9, 10) for index in range(len(PAPER["tables"][str(number)]["rows"]))]


def as_text(value: int | list[int], between: str) -> str:
    return between.join(map(str, value if isinstance(value, list) else [value]))


def net_text(row: dict[str, Any]) -> str:
    layers = {"fc_only": "fc", None: ""}[row.get("fine_tuned")]
    return f"{row['config']}/{as_text(row['train_S'], '-')}{layers}/{as_text(row['test_Q'], ',')}"


def protocol_text(number: int, row: dict[str, Any]) -> str | None:
    """The row in the design's grammar, from the transcription alone."""
    table = PAPER["tables"][str(number)]
    match number:
        case 3 | 4:
            return net_text(row)
        case 5:
            return net_text({**table, **row}) + METHODS[row["method"]]
        case 6:
            return " + ".join(net_text(model) for model in row["models"]) + METHODS[row["eval"]]
    if row["method"] != "VGG":
        return None
    submission, two_nets = (PAPER["tables"]["6"]["rows"][index] for index in (0, 3))
    best_net = next(net for net in PAPER["tables"]["5"]["rows"] if net["top5_val_err"] == 7.1)
    return {
        "2 nets, multi-crop & dense eval.": protocol_text(6, two_nets),
        "1 net, multi-crop & dense eval.": protocol_text(5, best_net),
        "ILSVRC submission, 7 nets, dense eval.": protocol_text(6, submission),
    }[row["variant"]]


@pytest.mark.parametrize(("number", "index"), ROWS)
def test_a_row_is_the_papers(number: int, index: int) -> None:
    row, theirs = TABLES[f"table{number}"].rows[index], PAPER["tables"][str(number)]["rows"][index]
    assert row.top1_val == theirs["top1_val_err"]
    assert row.top5_val == theirs["top5_val_err"]
    from_the_text = 7.3 if (number, index) == (4, 9) else None  # see test_what_only_the_text_says
    assert row.top5_test == theirs.get("top5_test_err", from_the_text)
    text = protocol_text(number, theirs)
    assert row.protocol == (None if text is None else EvaluationProtocol.parse(text))
    assert row.label == (f"{theirs['method']} ({theirs['variant']})" if number == 7 else "")


def test_there_are_no_other_tables_and_rows() -> None:
    assert list(TABLES) == ["table3", "table4", "table5", "table6", "table7"]
    for name, table in TABLES.items():
        theirs = PAPER["tables"][name.removeprefix("table")]
        assert table.name == name
        assert table.title == theirs["title"]
        assert len(table.rows) == len(theirs["rows"])


def member_counts(rows: tuple[PaperRow, ...]) -> list[int]:
    return [len(row.protocol.members) if row.protocol else 0 for row in rows]


def test_the_fusions_have_as_many_nets_as_the_paper_says() -> None:
    """Tables 6 and 7 say "7 nets", "2 nets", "1 net"."""
    assert member_counts(TABLES["table6"].rows) == [7, 2, 2, 2]
    assert member_counts(TABLES["table7"].rows) == [2, 1, 7] + [0] * 12


def test_tables_3_and_4_are_the_scales_derived_from_s() -> None:
    """Sections 4.1 and 4.2 give the rule, the transcribed tables its results."""
    for number in (3, 4):
        for theirs in PAPER["tables"][str(number)]["rows"]:
            net = PaperNet.parse(f"{theirs['config']}/{as_text(theirs['train_S'], '-')}")
            around = net.scale.test_scales if net.scale.jittered else tuple(net.scale.middle + d for d in (-32, 0, 32))
            scales = (net.scale.middle,) if number == 3 else around
            assert str(Member(net, scales)) == net_text(theirs)


def test_notes_stand_where_a_figure_could_be_misread() -> None:
    """facts.md 13: GoogLeNet's one value, and 7.0 against section 4.4's 7.1; 4.4: the FC layers alone."""
    noted = {
        (table.name, index): row.note for table in TABLES.values() for index, row in enumerate(table.rows) if row.note
    }
    words = {
        ("table4", 9): "section 4.2",
        ("table6", 0): "FC layers only",
        ("table7", 1): "7.1",
        ("table7", 2): "FC layers only",
        ("table7", 3): "one value",
        ("table7", 4): "one value",
    }
    assert noted.keys() == words.keys()
    for place, word in words.items():
        assert word in noted[place]
    merged = [row["merged_val_test"] for row in PAPER["tables"]["7"]["rows"]]
    assert [index for index, spans in enumerate(merged) if spans] == [3, 4]
    submission = TABLES["table6"].rows[0].protocol
    assert submission is not None
    assert [str(member.net) for member in submission.members if member.net.fine_tuned == "fc"] == ["D/256-512fc"]


def test_what_only_the_text_says() -> None:
    """4.1's 7 points between B and its 5x5 twin, 4.2's 7.3% of E on the test images, 4.4's 7.3% of the seven nets."""
    values = {claim["id"]: (claim["where"], claim["text_value"]) for claim in PAPER["text_claims"]}
    ((pair, points),) = SHALLOW_TABLE.differences.items()
    assert [str(protocol) for protocol in pair] == ["B/256/256 : center", "B-5x5/256/256 : center"]
    assert values["shallow_net"] == ("4.1", {"top1_val_err_increase_vs_B": -points, "eval": "center crop"})
    assert all(not table.differences for table in TABLES.values())
    best_net = TABLES["table4"].rows[-1]
    assert values["E_multiscale_test"] == ("4.2", {"top5_test_err": best_net.top5_test})
    assert str(best_net.protocol) == net_text(PAPER["tables"]["4"]["rows"][-1])
    assert values["seven_nets_test"] == ("4.4", {"top5_test_err": TABLES["table6"].rows[0].top5_test})


def box_text(number: int, row: dict[str, Any]) -> str | None:
    """A row of appendix A in the design's grammar, from the transcription alone."""
    table = PAPER["tables"][str(number)]
    match number:
        case 8:
            layers = {"1st and 2nd FC": "-fc", "all": ""}[row["fine_tuned_layers"]]
            return f"D/{table['train_S']}{row['regression'].lower()}{layers}/{table['train_S']} : center @ truth"
        case 9:
            members = [f"D/{net['train_S']}pcr/{as_text(net['test_Q'], ',')}" for net in row.get("fusion", [row])]
            return f"{' + '.join(members)} @ {protocol_text(6, PAPER['tables']['6']['rows'][3])}"
    return box_text(9, PAPER["tables"]["9"]["rows"][3]) if row["method"] == "VGG" else None


@pytest.mark.parametrize(("number", "index"), BOX_ROWS)
def test_a_row_of_appendix_a_is_the_papers(number: int, index: int) -> None:
    row, theirs = LOCALIZATION_TABLES[f"table{number}"].rows[index], PAPER["tables"][str(number)]["rows"][index]
    if number == 8:
        assert (row.val, row.test) == (theirs["gt_class_loc_err"], None)
    else:
        assert (row.val, row.test) == (theirs["top5_val_err"], theirs["top5_test_err"])
    text = box_text(number, theirs)
    assert row.protocol == (None if text is None else EvaluationProtocol.parse(text))
    assert row.label == theirs.get("method", "")


def test_there_are_no_other_tables_and_rows_of_appendix_a() -> None:
    assert list(LOCALIZATION_TABLES) == ["table8", "table9", "table10"]
    for table in LOCALIZATION_TABLES.values():
        theirs = PAPER["tables"][table.name.removeprefix("table")]
        assert LOCALIZATION_TABLES[table.name] is table
        assert table.title == theirs["title"].replace("ocalisation", "ocalization")
        assert len(table.rows) == len(theirs["rows"])


def test_the_best_system_is_the_best_of_table_6_and_first_in_table_7() -> None:
    """Section 4.5, which appendix A.2 refers to."""
    assert TABLES["table7"].rows[0].protocol == BEST_SYSTEM
    own = [row for row in TABLES["table6"].rows if row.top5_test is not None]
    assert min(own, key=lambda row: row.top5_test or 100).protocol == BEST_SYSTEM


def test_what_is_run_for_the_tables_of_appendix_a() -> None:
    """Table 8 needs three nets of S = 384; Table 9 the last of them and one of S = 256; Table 10 what Table 9 needs."""
    nets = {name: [str(net) for net in table.nets] for name, table in LOCALIZATION_TABLES.items()}
    assert nets == {
        "table8": ["D/384scr-fc", "D/384pcr-fc", "D/384pcr"],
        "table9": ["D/256pcr", "D/384pcr"],
        "table10": ["D/256pcr", "D/384pcr"],
    }
    assert [len(table.protocols) for table in LOCALIZATION_TABLES.values()] == [3, 4, 1]
    assert LOCALIZATION_TABLES["table10"].protocols == LOCALIZATION_TABLES["table9"].protocols[3:]


def test_a_note_stands_where_the_winning_figure_does() -> None:
    """25.3% won in 2014 (appendix A); section 4.4 dates the jittered nets after it."""
    rows = [row for table in LOCALIZATION_TABLES.values() for row in table.rows]
    assert [row.test for row in rows if "25.3%" in row.note] == [25.3, 25.3]
    assert [row for row in rows if row.test == 25.3] == [row for row in rows if row.note]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_table_needs_each_protocol_and_net_of_its_rows_once(number: int) -> None:
    """In the order of the rows; rows of other authors need none."""
    table, rows = TABLES[f"table{number}"], PAPER["tables"][str(number)]["rows"]
    texts = [text for text in (protocol_text(number, row) for row in rows) if text is not None]
    assert [str(protocol) for protocol in table.protocols] == texts
    members = [part for text in texts for part in text.partition(" : ")[0].split(" + ")]
    nets = [member.rpartition("/")[0] for member in members]
    assert [str(net) for net in table.nets] == sorted(set(nets), key=nets.index)


def test_what_comes_twice_is_needed_once() -> None:
    table = TABLES["table6"]
    twice = replace(table, rows=(*table.rows, *TABLES["table7"].rows, *table.rows))
    assert twice.protocols == (*table.protocols, TABLES["table7"].rows[1].protocol)
    assert twice.nets == table.nets


def test_the_shallow_net_has_a_table_of_its_own() -> None:
    """Section 4.1 tells the difference alone, so its rows have no published errors; the words stand in a note."""
    assert SHALLOW_TABLE.name == "shallow"
    assert SHALLOW_TABLE.name not in TABLES
    assert [row.protocol for row in SHALLOW_TABLE.rows] == [*next(iter(SHALLOW_TABLE.differences))]
    for row in SHALLOW_TABLE.rows:
        assert (row.top1_val, row.top5_val, row.top5_test, row.label) == (None, None, None, "")
    assert ["7% higher than that of B" in row.note for row in SHALLOW_TABLE.rows] == [False, True]
    assert [str(net) for net in SHALLOW_TABLE.nets] == ["B/256", "B-5x5/256"]
