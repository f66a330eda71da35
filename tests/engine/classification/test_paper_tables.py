"""Tables 3-7 as text, JSON and Markdown: rows next to the paper's, their order, and remarks."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.thin_nets import CROP, WIDTHS, make_pictures, narrow_config, save_run
from verydeep.configs.networks import NetSizes
from verydeep.configs.paper import SHALLOW_TABLE, TABLES, PaperRow, PaperTable
from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import MapGeometry
from verydeep.engine.classification.paper_tables import build_classification_table, measure_classification_tables
from verydeep.engine.classification.table_rows import MeasuredRow, TableConditions
from verydeep.engine.datasets import fingerprint, open_data_split
from verydeep.engine.log import render_text
from verydeep.engine.nets.collection import find_nets
from verydeep.engine.nets.net import Net
from verydeep.engine.reporting.measured_table import write_measured_table
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.weights.model_folder import ModelConfig, SplitRecord
from verydeep.ops.metrics import Share, wilson_interval
from verydeep.results.measured_table import MeasuredTable

CPU = Runtime(torch.device("cpu"), bf16=False)

images = np.arange(300)


def photographs(class_names: tuple[str, ...] = ("ant", "bell", "crab", "dill", "elk", "fig")) -> Split:
    files = tuple(f"{i}.png" for i in range(len(images)))
    return Split("val", Path("photos/val"), files, images % 6, class_names, class_names, "class folders", True)


def conditions(split: Split | None = None, crop: int = 64) -> TableConditions:
    return TableConditions([], "photos", split or photographs(), NetSizes(crop), CPU)


def measured_row(*top1: int, top5: int = 0, seeds: tuple[int, ...] = (), **others: Any) -> MeasuredRow:
    """A row that errs on the first images, so many with each seed."""
    wrong = np.stack([images < count for count in top1])
    return MeasuredRow(
        seeds or tuple(range(len(top1))),
        wrong,
        np.stack([images < top5] * len(top1)),
        **{
            "center": None,
            "geometry": {},
            "converged": True,
            "unconverged": (),
            "nets": (),
            "skipped": frozenset(),
            "write_error": "",
            **others,
        },
    )


def table(name: str, measured: dict[str, MeasuredRow], where: TableConditions | None = None) -> MeasuredTable:
    """A table of the paper of which some rows were measured."""
    paper = {**TABLES, "shallow": SHALLOW_TABLE}[name]
    rows = [(row, measured.get(str(row.protocol))) for row in paper.rows]
    return build_classification_table(paper, rows, [], where or conditions())


TABLE_3 = {
    "A/256/256": measured_row(90, top5=33, center=wilson_interval(111, 300), geometry={256: MapGeometry(3, 4, 0.625)}),
    "B/256/256": measured_row(90, 60, top5=12, geometry={256: MapGeometry(3, 4, 0.625)}),
    "C/256/256": measured_row(60, converged=False, unconverged=("runs/C", "runs/C2")),
    "D/256/256": measured_row(30, geometry={384: MapGeometry(4, 5, 1.0)}),
}


def test_rows_have_the_papers_figures() -> None:
    findings = table("table3", TABLE_3)
    assert findings.headings == ("row", "paper", "top-1", "top-5", "center", "seeds")
    rows = {cells[0]: list(cells[1:]) for cells in findings.rows}
    assert list(rows) == [str(protocol) for protocol in TABLES["table3"].protocols]
    low_high = "[{0.low:.1f},{0.high:.1f}]"
    assert rows["A/256/256"] == [
        "29.6/10.4",
        "30.0 " + low_high.format(wilson_interval(90, 300)),
        "11.0 " + low_high.format(wilson_interval(33, 300)),
        "37.0",
        "1",
    ]
    assert rows["B/256/256"][0] == "28.7/9.9" and rows["B/256/256"][1].startswith("25.0 [")
    assert rows["B/256/256"][3:] == ["", "2"]
    assert rows["C/256/256"] == ["28.1/9.4", "not converged", "", "", "1"]
    assert rows["E/256/256"] == ["27.3/9.0", "no run", "", "", ""]
    assert findings.title == "Table 3: ConvNet performance at a single test scale; 300 val images"


def test_other_authors_rows_are_as_published() -> None:
    best = str(TABLES["table7"].rows[1].protocol)
    rows = {cells[0]: list(cells[1:]) for cells in table("table7", {best: measured_row(30)}).rows}
    assert rows["Krizhevsky et al. (Krizhevsky et al., 2012) (5 nets)"] == [
        "38.1/16.4/16.4",
        "as published",
        "",
        "",
        "",
    ]
    assert rows["MSRA (He et al., 2014) (11 nets)"] == ["-/-/8.1", "as published", "", "", ""]
    assert rows["VGG (1 net, multi-crop & dense eval.)"][:2] == ["24.4/7.1/7.0", f"10.0 {interval(30)}"]
    assert rows["VGG (2 nets, multi-crop & dense eval.)"][:2] == ["23.7/6.8/6.8", "no run"]
    assert sum(cells[1] == "as published" for cells in rows.values()) == 12


def interval(wrong: int) -> str:
    share = wilson_interval(wrong, 300)
    return f"[{share.low:.1f},{share.high:.1f}]"


def test_two_classes_have_one_error() -> None:
    split = replace(photographs(("ant", "bell")), labels=images % 2)
    findings = table("table3", TABLE_3, conditions(split))
    assert findings.headings == ("row", "paper", "top-1", "center", "seeds")
    assert findings.rows[0] == ("A/256/256", "29.6/10.4", f"30.0 {interval(90)}", "37.0", "1")


def remarks_of(findings: MeasuredTable) -> str:
    return "\n".join(findings.remarks)


def test_remarks_name_map_sizes_and_unconverged_runs() -> None:
    remarks = remarks_of(table("table3", TABLE_3))
    assert "Q=256 3x4, 62%; Q=384 4x5, 100%" in remarks
    assert "has not dropped as often as planned: runs/C, runs/C2" in remarks
    assert "reach beyond" not in remarks
    assert "Crop 32 is below 64, so windows reach beyond" in remarks_of(table("table3", TABLE_3, conditions(crop=32)))
    assert "Map size" not in remarks_of(table("shallow", SHALLOW))


def order_of(findings: MeasuredTable) -> list[str]:
    lines = [remark.strip() for remark in findings.remarks]
    return lines[next(place for place, line in enumerate(lines) if "pairs of rows" in line) :]


SHALLOW = {
    "B/256/256 : center": measured_row(60),
    "B-5x5/256/256 : center": measured_row(90),
}


def test_the_order_of_rows_against_the_papers() -> None:
    """A-B and A-D and B-D as the paper has them; D and E the other way round, E and A as in the paper."""
    measured = {
        "A/256/256": measured_row(92),
        "B/256/256": measured_row(91),
        "D/256/256": measured_row(30),
        "E/256/256": measured_row(28),
    }
    remarks = order_of(table("table3", measured))
    assert remarks[0] == "5 of 6 pairs of rows have the paper's order of top-1 errors."
    # A and B differ by one image, D and E by two of which none is the other way: within chance.
    assert remarks[1] == "4 of 6 differences of top-1 errors are larger than chance."
    assert [line.split(":")[0] for line in remarks[2:]] == [
        f"{first}/256/256 minus {second}/256/256" for first, second in ("AD", "AE", "BD", "BE")
    ]
    assert remarks[2].startswith("A/256/256 minus D/256/256: +20.7 [+") and remarks[2].endswith("in the paper +2.6")


def test_a_single_difference_is_reported_even_within_chance() -> None:
    within = SHALLOW | {"B-5x5/256/256 : center": measured_row(61)}
    for measured, count, points in ((SHALLOW, 1, "-10.0"), (within, 0, "-0.3")):
        remarks = order_of(table("shallow", measured))
        assert remarks[0] == "1 of 1 pairs of rows have the paper's order of top-1 errors."
        assert remarks[1] == f"{count} of 1 differences of top-1 errors are larger than chance."
        assert remarks[2].startswith(f"B/256/256 : center minus B-5x5/256/256 : center: {points} [")
        assert len(remarks) == 3 and remarks[2].endswith("in the paper -7.0")
    assert "7% higher" in remarks_of(table("shallow", SHALLOW))


def test_on_ilsvrc_itself_the_order_is_not_compared() -> None:
    thousand = tuple(ilsvrc_classes())
    assert len(thousand) == 1000
    ours = table("table3", TABLE_3)
    assert "the paper's order of" in remarks_of(ours) and "larger than chance" in remarks_of(ours)
    of_ilsvrc = remarks_of(table("table3", TABLE_3, conditions(photographs(thousand))))
    assert "order" not in of_ilsvrc and "chance" not in of_ilsvrc
    others = remarks_of(table("table3", TABLE_3, conditions(photographs((*thousand[:-1], "n99999999")))))
    assert "the paper's order of" in others


def test_rows_that_did_not_converge_are_not_compared() -> None:
    findings = table("table3", TABLE_3)
    assert {each["first"][0] + each["second"][0] for each in findings.values["differences"]} == {"AB", "AD", "BD"}
    alone = table("table3", {"A/256/256": TABLE_3["A/256/256"], "C/256/256": TABLE_3["C/256/256"]})
    assert alone.values["differences"] == [] and "order" not in remarks_of(alone)


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        ({"val": "these", "plateau": True}, "decided when the learning rate of one, two dropped"),
        ({"train": "these"}, "These are the training images of one, two"),
        ({"val": "these", "plateau": False}, None),
        ({"val": "others", "plateau": True}, None),
    ],
)
def test_remarks_name_what_the_nets_have_seen_of_the_images(split: dict[str, Any], reason: str | None) -> None:
    names = photographs().class_names
    seen = {key: fingerprint(photographs()) if value == "these" else value for key, value in split.items()}
    record = replace(SplitRecord("/photos", 0, 0.2, "", "", plateau=False), **seen)
    nets = tuple(Net(Path(path), Path(path), ModelConfig("A", names, names, split=record)) for path in ("one", "two"))
    remarks = table("table3", {"A/256/256": measured_row(90, nets=nets)}).remarks
    assert sum("hese " in remark for remark in remarks) == (reason is not None)
    assert reason is None or any(reason in remark for remark in remarks)


def test_remarks_name_skipped_files_and_a_full_cache() -> None:
    rows = {
        "A/256/256": measured_row(90, skipped=frozenset({"a.png", "b.png"}), write_error="the disk is full"),
        "D/256/256": measured_row(30, skipped=frozenset({"b.png"}), write_error="the disk is full"),
    }
    remarks = remarks_of(table("table3", rows))
    assert "2 files that cannot be decoded" in remarks and remarks.count("the disk is full") == 1


def markdown_rows(text: str) -> list[list[str]]:
    """The cells of each line of a Markdown table, without the line of dashes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert set(lines[1]) <= set("| -")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


@pytest.mark.parametrize(("name", "measured"), [("table3", TABLE_3), ("shallow", SHALLOW), ("table7", {})])
def test_files_and_terminal_agree(name: str, measured: dict[str, MeasuredRow], tmp_path: Path) -> None:
    findings = table(name, measured)
    write_measured_table(findings, tmp_path / "tables")
    printed = render_text(findings.table(), 600)
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [f"{name}.json", f"{name}.md"]

    page = (tmp_path / "tables" / f"{name}.md").read_text()
    heading, *lines = markdown_rows(page)
    assert heading == list(findings.headings) and lines == list(map(list, findings.rows))
    shown = [re.sub(r"\s+", "", line) for line in printed.splitlines()]
    for cells in (heading, *lines):
        assert re.sub(r"\s+", "", "".join(cells)) in shown
    for remark in findings.remarks:
        assert f"- {remark.strip()}" in page
    assert findings.title.split() == printed.split()[: len(findings.title.split())]
    assert f"## {findings.title}" in page

    report = json.loads((tmp_path / "tables" / f"{name}.json").read_text())
    assert (report["table"], report["num_images"], report["crop"], report["k"]) == (name, 300, 64, 5)
    assert (report["data"], report["split"], report["precision"]) == ("photos", "val", "fp32")
    assert report["remarks"] == list(findings.remarks)
    for row, cells in zip(report["rows"], lines, strict=True):
        assert row["label"] == cells[0]
        published = [row["paper"][key] for key in ("top1_val", "top5_val", "top5_test")]
        texts = cells[1].split("/")
        assert texts == ["-" if value is None else f"{value:.1f}" for value in published[: len(texts)]]
        if cells[2] in ("no run", "as published"):
            assert row["measured"] is None and (row["protocol"] is None) == (cells[2] == "as published")
            continue
        ours = row["measured"]
        assert len(ours["seeds"]) == int(cells[5])
        assert bool(ours["unconverged"]) == (cells[2] == "not converged")
        if not ours["unconverged"]:
            assert [str(Share(**ours[key])) for key in ("top1", "topk")] == cells[2:4]
            assert ours["top1"]["percent"] == pytest.approx(np.mean(ours["top1_of_each_seed"]))
            center = ours["center_top1"]
            assert cells[4] == ("" if center is None else f"{center['percent']:.1f}")
    reported = [line[0] for line in lines if line[2] not in ("no run", "as published", "not converged")]
    pairs = [(each["first"], each["second"]) for each in report["differences"]]
    assert pairs == list(itertools.combinations(reported, 2))
    errors = {row["label"]: row["measured"] for row in report["rows"]}
    published = {row["label"]: row["paper"]["top1_val"] for row in report["rows"]}
    for values in report["differences"]:
        first, second = values["first"], values["second"]
        assert values["larger_than_chance"] == (values["low"] > 0 or values["high"] < 0)
        shared = min(len(errors[first]["seeds"]), len(errors[second]["seeds"]))
        means = [np.mean(errors[name]["top1_of_each_seed"][:shared]) for name in (first, second)]
        assert values["points"] == pytest.approx(means[0] - means[1])
        if name == "table3":
            assert values["paper"] == pytest.approx(published[first] - published[second])


def test_a_row_of_brackets_is_no_markup() -> None:
    row = PaperRow(EvaluationProtocol.parse("A/256/256"), 29.6, 10.4, label="[bold]A[/bold]")
    paper = PaperTable("table3", "a title", (row,))
    rendered = build_classification_table(paper, [(row, measured_row(90))], [], conditions()).table()
    assert "[bold]A[/bold]" in render_text(rendered)


def test_json_of_nothing_measured_is_written(tmp_path: Path) -> None:
    write_measured_table(table("table6", {}), tmp_path)
    report = json.loads((tmp_path / "table6.json").read_text())
    assert [row["measured"] for row in report["rows"]] == [None] * 4 and report["differences"] == []


def test_records_have_the_same_keys() -> None:
    """Whatever was measured, so that they are rows of a data frame."""
    records = table("table3", TABLE_3).records()
    assert len({tuple(record) for record in records}) == 1 and len(records) == 12
    first, third = records[0], records[3]
    assert (first["label"], first["paper_top1_val"], first["measured_top1_percent"]) == ("A/256/256", 29.6, 30.0)
    assert first["measured_center_top1_percent"] == 37.0 and first["measured_seeds"] == [0]
    assert third["label"] == "C/256/256" and records[-1]["measured_top1_percent"] is None
    assert "measured" not in first


def test_a_table_without_any_run_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        VerydeepError, match=r"No net in `runs` belongs to a row of table3 with crop 64 and the 6"
    ) as caught:
        next(measure_classification_tables([TABLES["table3"]], conditions()))
    assert "\n" not in str(caught.value)


def test_a_table_of_three_kinds_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer, one that did not converge, and no run, from folders of runs to cells."""
    make_pictures(tmp_path / "data" / "train", 1, first=100)
    make_pictures(tmp_path / "data" / "val", 1)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    a, b = (PaperNet.parse(text) for text in ("A/256", "B/256"))
    save_run(tmp_path / "runs", narrow_config(a, tmp_path / "data"))
    late = save_run(tmp_path / "runs", narrow_config(b, tmp_path / "data", converged=False))
    split = open_data_split(str(tmp_path / "data"), "val")
    where = TableConditions(find_nets(tmp_path / "runs"), str(tmp_path / "data"), split, NetSizes(CROP, **WIDTHS), CPU)
    (findings,) = measure_classification_tables([TABLES["table3"]], where)
    kinds = {cells[0]: cells[2] for cells in findings.rows}
    assert kinds.pop("B/256/256") == "not converged"
    assert re.fullmatch(r"\d+\.\d \[\d+\.\d,\d+\.\d\]", kinds.pop("A/256/256"))
    assert set(kinds.values()) == {"no run"} and len(kinds) == 10
    assert findings.values["differences"] == [] and str(late) in remarks_of(findings)


def test_other_authors_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Table 7 the paper's best net alone is there: one row is measured, and posteriors of one net are cached."""
    make_pictures(tmp_path / "data" / "train", 1, first=100)
    make_pictures(tmp_path / "data" / "val", 1)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    save_run(tmp_path / "runs", narrow_config(PaperNet.parse("E/256-512"), tmp_path / "data"))
    split = open_data_split(str(tmp_path / "data"), "val")
    where = TableConditions(find_nets(tmp_path / "runs"), str(tmp_path / "data"), split, NetSizes(CROP, **WIDTHS), CPU)
    (findings,) = measure_classification_tables([TABLES["table7"]], where)
    kinds = [cells[2] for cells in findings.rows]
    assert kinds.count("as published") == 12 and kinds.count("no run") == 2 and len(kinds) == 15
    (about,) = (tmp_path / "cache" / "posteriors").glob("*/about.json")
    assert json.loads(about.read_text())["net_folder"].endswith("/E-256-512-s0/model")
