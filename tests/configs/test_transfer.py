"""Tables 11 and 12 against a copy of the paper's tables made independently (paper_tables.json); the scales in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from verydeep.configs.published_nets import PUBLISHED
from verydeep.configs.transfer import SCALES, TRANSFER_TABLES, Figure

PAPER = json.loads(Path(__file__).with_name("paper_tables.json").read_text())["tables"]

COLUMNS = {
    "table11": {
        "VOC-2007": "voc2007_map",
        "VOC-2012": "voc2012_map",
        "Caltech-101": "caltech101_recall",
        "Caltech-256": "caltech256_recall",
    },
    "table12": {"VOC-2012 actions": "voc2012_action_map"},
}


def figure(row: dict[str, Any], name: str) -> Figure | None:
    """A cell, from the transcription alone."""
    value = row[name]
    if isinstance(value, dict):
        return Figure(value["mean"], value["std"])
    if row.get("extended_pretraining"):  # Table 12: the one figure of this row is marked
        return Figure(None, extended=value)
    return None if value is None else Figure(value, extended=row.get(f"{name}_extended_pretraining"))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_is_the_papers(name: str) -> None:
    table, theirs = TRANSFER_TABLES[name], PAPER[name.removeprefix("table")]
    assert (table.name, table.title) == (name, theirs["title"])
    assert list(table.columns) == list(COLUMNS[name])
    assert [row.label for row in table.rows] == [row["method"] for row in theirs["rows"]]
    for row, published in zip(table.rows, theirs["rows"], strict=True):
        found = {column: row.figures.get(column) for column in table.columns}
        assert found == {column: figure(published, key) for column, key in COLUMNS[name].items()}


def test_the_papers_own_rows_are_of_the_nets_that_it_published() -> None:
    """Net-D, Net-E, both; of actions both, without and with the box."""
    rows = [
        (row.label, "".join(net.network for net in row.nets), row.coverage) for row in TRANSFER_TABLES["table11"].rows
    ]
    assert rows[-3:] == [
        ("VGG Net-D (16 layers)", "D", "image"),
        ("VGG Net-E (19 layers)", "E", "image"),
        ("VGG Net-D & Net-E", "DE", "image"),
    ]
    assert all(not nets for _, nets, _ in rows[:-3])
    own = [row for row in TRANSFER_TABLES["table12"].rows if row.nets]
    assert [row.coverage for row in own] == ["image", "image+box"]
    assert {net for row in own for net in row.nets} == set(TRANSFER_TABLES["table11"].nets)
    for net in TRANSFER_TABLES["table11"].nets:
        name = {"D": "oxford-vgg16", "E": "oxford-vgg19"}[net.network]
        assert (PUBLISHED[name].network, PUBLISHED[name].scale) == (net.network, str(net.scale))


def test_figures_are_printed_as_the_paper_does() -> None:
    printed = [str(row.figures.get("VOC-2007", "-")) for row in TRANSFER_TABLES["table11"].rows]
    assert printed == ["-", "82.4", "82.4", "81.5 (85.2*)", "89.3", "89.3", "89.7"]
    assert str(TRANSFER_TABLES["table11"].rows[2].figures["Caltech-101"]) == "93.4 ± 0.5"
    assert str(TRANSFER_TABLES["table12"].rows[0].figures["VOC-2012 actions"]) == "70.2*"


def test_scales_are_those_of_appendix_b() -> None:
    """VOC: five, averaged; Caltech: "we used three scales Q", stacked; one for the photographs of people."""
    assert {kind: (each.scales, each.aggregation) for kind, each in SCALES.items()} == {
        "VOC": ((256, 384, 512, 640, 768), "average"),
        "VOC actions": ((256, 384, 512, 640, 768), "average"),
        "Caltech": ((256, 384, 512), "stack"),
        "own": ((256,), "average"),
    }
