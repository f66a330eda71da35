"""The page of verify: its files, and how it looks in Chromium, where there is one."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import picture
from verydeep.data.folders.groups import name_groups
from verydeep.engine.report_page.findings_page import MAX_CARDS, check_findings_folder, write_findings
from verydeep.errors import OptionError
from verydeep.results.verified_data import Finding, VerifiedData

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "ant/<script>alert(1)</script> & 'x'.jpg"


@pytest.fixture
def verified(tmp_path: Path) -> VerifiedData:
    root = tmp_path / "photographs"
    names = ["ant/0.jpg", "ant/1.jpg", "bee/2.jpg", HOSTILE]
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(90, 130, seed)).save(root / name)
    return VerifiedData(
        root,
        "class folders",
        5,
        {"ant/bad.jpg": "is not an image."},
        (),
        notes=("A note with `a_name`, `net=oxford-vgg16`, `git lfs pull` and <b>.",),
        findings=(
            Finding("near-duplicates", ("ant/0.jpg", "ant/1.jpg"), "nearly the same photograph", 1),
            Finding("blurred", (HOSTILE,), "blurred: 0.70"),
            Finding("too dark", ("bee/gone.jpg",), "too dark: 95% of its pixels are at most 3 of 255"),
        ),
        class_counts={"ant": 40, "bee": 2},
        short_sides={"64-127": 4},
    )


def test_files_of_the_page(verified: VerifiedData, tmp_path: Path) -> None:
    files = ["ant/0.jpg", "ant/1.jpg", "bee/2.jpg", HOSTILE, "ant/bad.jpg"]
    page = write_findings(verified, files, tmp_path / "out", camera_rotation=True)
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;alert" in text
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', text)) == 3 and "no picture" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    for expected in (
        "Group 1: nearly the same photograph",
        "blurred: 0.70",
        "The classes are unequal: ant has 40",
        "A note with <code>--a-name</code>, <code>--net oxford-vgg16</code>, <code>git lfs pull</code> and &lt;b&gt;.",
        "or keep groups together with <code>--group-by</code>.",
    ):
        assert expected in text
    rows = list(csv.DictReader((tmp_path / "out/findings.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == ["ant/bad.jpg", "ant/0.jpg", "ant/1.jpg", HOSTILE, "bee/gone.jpg"]
    groups = name_groups(files, verified.folder, str(tmp_path / "out/groups.csv"))  # as --group-by reads them
    assert groups[0] == groups[1] and len(set(groups)) == 4
    write_findings(verified, files, tmp_path / "out", camera_rotation=True)  # again


def test_the_number_of_groups_is_that_of_the_sections(verified: VerifiedData, tmp_path: Path) -> None:
    copies = Finding("copies", ("ant/1.jpg", "bee/2.jpg"), "copies of each other", 2)
    page = write_findings(
        replace(verified, findings=(*verified.findings, copies)), [], tmp_path / "out", camera_rotation=True
    )
    text = page.read_text()
    assert "<dt>groups of copies and near-duplicates</dt><dd><b>2</b></dd>" in text
    assert text.count("<h3>Group ") == 2 and text.count(" in 1 group") == 2


def test_files_that_the_page_leaves_out_are_counted(verified: VerifiedData, tmp_path: Path) -> None:
    broken = {f"ant/{number}.jpg": "is not an image." for number in range(MAX_CARDS + 7)}
    page = write_findings(replace(verified, undecodable=broken), [], tmp_path / "out", camera_rotation=True)
    assert "7 more are in findings.csv." in page.read_text()


def test_no_folder_among_the_photographs(verified: VerifiedData, tmp_path: Path) -> None:
    for folder in (verified.folder, verified.folder / "ant/out"):
        with pytest.raises(OptionError, match="is inside of the data set"):
            check_findings_folder(folder, verified.folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("")
    with pytest.raises(OptionError, match="holds files that do not belong"):
        check_findings_folder(tmp_path / "other", verified.folder)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1366, "light")])
def test_it_is_accessible_and_fits(verified: VerifiedData, tmp_path: Path, width: int, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    path = write_findings(verified, ["ant/0.jpg"], tmp_path / "out", camera_rotation=True)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        size = {"width": width, "height": 740}
        page = browser.new_page(viewport=size, color_scheme=scheme, bypass_csp=True)  # axe is a script
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(page)["violations"]
        page.emulate_media(media="print")
        found += axe.run(page)["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
        browser.close()
