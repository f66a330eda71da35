"""The report page in Chromium: by mouse and keyboard, in light and dark, on a phone; skipped without Chromium."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stored_runs import (
    HOSTILE_CLASS,
    HOSTILE_FILE,
    PREDICTIONS,
    make_photographs,
    store_evaluation,
    store_margins,
    store_metrics,
    store_run,
)
from verydeep.engine.report_page.page import write_report_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")

Open = Callable[..., Any]

PAPER = 718
"""Pixels between the margins of a sheet of A4."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Open a file in a window; a message of the console, an error and a request elsewhere fail the test."""
    contexts, faults = [], []

    def visit(path: Path, width: int = 1366, height: int = 768, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one run."""
    run = store_run(tmp_path_factory.mktemp("one") / "run")
    return write_report_page([run], run / "report.html").path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs; the second has other predictions of bee/1.png and crab/0.png."""
    folder = tmp_path_factory.mktemp("two")
    first, second = store_run(folder / "first"), folder / "second"
    predictions = dict(PREDICTIONS)
    predictions["bee/1.png"] = ("bee", [("bee", 0.9), ("ant", 0.06), ("crab", 0.04)])
    predictions["crab/0.png"] = ("crab", [("ant", 0.9), ("crab", 0.06), ("bee", 0.04)])
    store_evaluation(second / "evaluations" / "val-dense-256", predictions, root=str(folder / "photos"))
    store_metrics(second)
    return write_report_page([first, second], folder / "both.html").path


def cards(page: Any) -> list[str]:
    """The files of the photographs that are shown, in order."""
    return [each.get_attribute("title") for each in page.locator("#cards .file").all()]


def test_mistakes_are_shown_first_by_confidence(one: Path, visit: Open) -> None:
    page = visit(one)
    assert cards(page) == ["bee/1.png", "ant/1.png", "ant/2.png"]
    assert page.locator("#status").inner_text() == "3 of 6 photographs."
    assert page.locator("#cards img").count() == 3


def test_a_cell_shows_its_photographs(one: Path, visit: Open) -> None:
    page = visit(one)
    page.get_by_role("button", name="2: ant predicted as bee").click()
    assert cards(page) == ["ant/1.png", "ant/2.png"]
    page.get_by_role("button", name="1: bee predicted as bee").click()  # right ones, too
    assert cards(page) == ["bee/0.png"]
    page.get_by_role("button", name="1 photographs: bee taken for ant").click()
    assert cards(page) == ["bee/1.png"]
    page.get_by_role("button", name="Reset").click()
    assert len(cards(page)) == 3


def test_filters_and_orders(one: Path, visit: Open) -> None:
    page = visit(one)
    page.get_by_label("Show", exact=True).select_option("all")
    assert cards(page)[0] == "bee/1.png" and len(cards(page)) == 6
    page.get_by_label("Order").select_option("by file name")
    assert cards(page) == sorted(PREDICTIONS)
    page.get_by_label("Order").select_option("lowest score first")
    assert cards(page)[:2] == ["ant/2.png", "crab/0.png"]
    page.get_by_label("True class").select_option("ant (3)")
    assert cards(page) == ["ant/2.png", "ant/1.png", "ant/0.png"]
    page.get_by_label("at least").fill("60")
    assert cards(page) == ["ant/1.png", "ant/0.png"]
    page.get_by_label("at most").fill("85")
    assert cards(page) == ["ant/1.png"]
    page.get_by_label("Show", exact=True).select_option("right")
    assert cards(page) == [] and page.locator("#status").inner_text() == "0 of 6 photographs."
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Show", exact=True).select_option("doubtful labels")
    assert cards(page) == ["bee/1.png", "ant/2.png", "ant/1.png"]


def test_the_classes_sort(one: Path, visit: Open) -> None:
    page = visit(one)

    def names() -> list[str]:
        return [each.inner_text() for each in page.locator(".classes tbody th button").all()]

    heading = page.locator(".classes th").filter(has_text="error").first
    assert names() == ["ant", "bee", "crab"]  # errors 2/3, 1/2, 0
    heading.get_by_role("button").click()
    assert names() == ["ant", "bee", "crab"] and heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").click()
    assert names() == ["crab", "bee", "ant"] and heading.get_attribute("aria-sort") == "ascending"
    page.locator(".classes th").filter(has_text="class").first.get_by_role("button").click()
    assert names() == ["ant", "bee", "crab"] and heading.get_attribute("aria-sort") is None


def test_a_photograph_opens_large(one: Path, visit: Open) -> None:
    page = visit(one)
    page.locator("#cards button").first.click()
    viewer = page.get_by_role("dialog", name="ant 95%, true: bee")
    assert viewer.is_visible()
    assert viewer.locator("#guesses li").all_inner_texts() == ["ant\n95%", "bee (true)\n4%", "crab\n1%"]
    assert viewer.locator("#path").inner_text() == "bee/1.png"
    page.keyboard.press("ArrowRight")
    assert page.locator("#path").inner_text() == "ant/1.png" and page.locator("#position").inner_text() == "2 of 3"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    focused = page.evaluate("document.activeElement.querySelector('.file').title")
    assert focused == "ant/1.png"  # where the viewer was left


def test_the_keyboard_reaches_the_cells(one: Path, visit: Open) -> None:
    page = visit(one)
    page.locator(".matrix button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.ariaLabel") == "1: bee predicted as bee"
    page.keyboard.press("Enter")
    assert cards(page) == ["bee/0.png"]
    assert page.evaluate("document.activeElement.id") == "photographs-title"
    assert page.locator(".matrix button[tabindex='0']").count() == 1


def test_runs_that_disagree(two: Path, visit: Open) -> None:
    page = visit(two)
    page.get_by_role("button", name="only the second").click()
    assert sorted(cards(page)) == ["bee/1.png", "crab/0.png"]
    page.locator("#cards button").first.click()
    assert page.locator("#others").inner_text() == "second: bee 90%"
    page.keyboard.press("Escape")
    page.get_by_label("Evaluation shown below").select_option("second")
    assert cards(page) == ["crab/0.png", "ant/1.png", "ant/2.png"]
    assert page.locator(".classes:visible").count() == 1


def test_hostile_names_do_nothing(tmp_path: Path, visit: Open) -> None:
    predictions = {HOSTILE_FILE: (HOSTILE_CLASS, [("ant", 0.7), (HOSTILE_CLASS, 0.3)])}
    root = make_photographs(tmp_path / "photos", predictions)
    folder = store_evaluation(tmp_path / "run" / "evaluations" / "val", predictions, root=str(root))
    page = visit(write_report_page([tmp_path / "run"], folder / "report.html").path)
    assert cards(page) == [HOSTILE_FILE] and page.title() == "run - report"
    page.locator("#cards button").first.click()
    assert page.locator("#viewer-title").inner_text() == f"ant 70%, true: {HOSTILE_CLASS}"
    assert page.evaluate("document.querySelectorAll('img[src=x], b:not(dd b)').length") == 0


def test_boxes_are_drawn(tmp_path: Path, visit: Open) -> None:
    run, root = tmp_path / "run", make_photographs(tmp_path / "photos")
    store_evaluation(run / "evaluations" / "val", root=str(root))
    folder = run / "evaluations" / "val"
    (folder / "predictions.csv").unlink()
    (folder / "boxes.csv").write_text(
        'path,label,iou,xmin,ymin,xmax,ymax,annotations\nant/0.png,ant,0.3,1,2,30,20,"[[0, 2, 31, 20]]"\n'
    )
    errors = (folder / "errors.json").read_text().replace('"errors": {', '"truth": {"error": {"percent": 100, '
        '"low": 20, "high": 100}}, "guesses": null, "unused": {')  # fmt: skip
    (folder / "errors.json").write_text(errors)
    page = visit(write_report_page([run], run / "report.html").path)
    box = page.locator("#cards rect.predicted")
    assert [box.get_attribute(name) for name in ("x", "y", "width", "height")] == ["1", "2", "30", "19"]
    assert page.locator("#cards rect.annotated").count() == 1
    assert page.locator("#cards svg").get_attribute("viewBox") == "0 0 60 40"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a classifier of photographs with several classes."""
    folder = tmp_path_factory.mktemp("several")
    return write_report_page([store_margins(folder / "few", folder / "photos")], folder / "report.html").path


def test_photographs_with_several_classes(several: Path, visit: Open) -> None:
    page = visit(several)
    rows = [row.inner_text().split("\t") for row in page.locator(".classes tbody tr").all()]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["ant", "200", "2", "83.3% [80.0, 100.0]", "0", "1"],
        ["bee few", "19", "2", "75.0% [80.0, 100.0]", "1", "0"],
        ["crab few", "3", "1", "91.7% [80.0, 100.0]", "0", "1"],
    ]
    assert page.get_by_text("At a margin of 0, 1 of the 5 labels of the photographs are missed").count() == 1
    page.get_by_role("button", name="1 missed: bee").click()
    assert cards(page) == ["ant/1.png"]
    page.get_by_role("button", name="1 false alarms: ant").click()
    assert cards(page) == ["bee/0.png"]
    assert page.locator("#cards .truth").inner_text() == "shows: bee"
    page.get_by_role("button", name="ant", exact=True).click()  # the ranking that its average precision is of
    assert cards(page) == ["ant/0.png", "bee/0.png", "ant/1.png"]
    page.get_by_label("Order").select_option("lowest score first")
    assert cards(page) == ["ant/1.png", "bee/0.png", "ant/0.png"]
    page.locator("#cards button").first.click()
    assert page.locator("#viewer-title").inner_text() == "ant +0.30"
    assert page.locator("#guesses li.true").all_inner_texts() == ["ant (true)\n+0.30", "bee (true)\n-0.20"]


def test_the_errors_of_classes_fit_a_phone(one: Path, several: Path, visit: Open) -> None:
    for path in (one, several):
        region = visit(path, width=390, height=844).get_by_role("region", name="Table of classes")
        assert region.locator("td.number .value").count() == 3
        for each in region.locator("td.number .interval").all():
            box = each.bounding_box()
            assert 0 < box["x"] < box["x"] + box["width"] < 390


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1366, "light")])
def test_it_is_accessible_and_fits(one: Path, two: Path, several: Path, visit: Open, scheme: str, width: int) -> None:
    """axe-core finds no violation, also with an open viewer and in print; the page does not scroll sideways."""
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    for path in (one, two, several):
        page = visit(path, width=width, height=740, color_scheme=scheme, bypass_csp=True)  # axe is a script
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        checked = axe.run(page)
        found = checked["violations"]
        assert len(checked["passes"]) > 20
        page.locator("#cards button").first.click()
        found += axe.run(page)["violations"]
        page.keyboard.press("Escape")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": PAPER, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
        found += axe.run(page)["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []


def test_the_focus_is_never_lost(tmp_path: Path, visit: Open) -> None:
    """At the last photograph of the viewer, and behind the button for more of them."""
    predictions = {f"ant/{number:02d}.png": ("ant", [("bee", 0.9), ("ant", 0.1)]) for number in range(70)}
    root = make_photographs(tmp_path / "photos", predictions)
    store_evaluation(tmp_path / "run" / "evaluations" / "val", predictions, root=str(root))
    page = visit(write_report_page([tmp_path / "run"], tmp_path / "report.html").path)
    page.get_by_role("button", name="Show 10 more").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.querySelector('.file').title") == "ant/60.png"
    page.locator("#cards button").nth(68).press("Enter")
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert page.locator("#position").inner_text() == "70 of 70"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#position").inner_text() == "69 of 70"
