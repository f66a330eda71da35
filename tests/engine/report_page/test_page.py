"""The report page: what it says of known predictions, of hostile names, and of runs that have moved."""

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import picture
from tests.stored_runs import (
    HOSTILE_CLASS,
    HOSTILE_FILE,
    PREDICTIONS,
    make_photographs,
    store_evaluation,
    store_metrics,
    store_run,
)
from verydeep.engine.report_page.page import WrittenPage, write_report_page
from verydeep.errors import DataError, OptionError
from verydeep.ops.metrics import wilson_interval


class Parsed(HTMLParser):
    """The tags, the texts and the attributes of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.blocks:
            self.inside = tag
            self.blocks[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks[self.inside][-1] += data
        else:
            self.text += f" {data.strip()}" if data.strip() else ""

    @property
    def data(self) -> dict[str, Any]:
        values = json.loads(self.blocks["script"][0])
        assert isinstance(values, dict)
        return values


def write(*runs: Path, **options: Any) -> tuple[WrittenPage, Parsed]:
    written = write_report_page(runs, runs[0] / "report.html", **options)
    return written, Parsed(written.path)


def test_it_says_what_the_files_say(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    written, page = write(run)
    first, second = written.summary
    assert first.startswith("Right on 50% of 6 val photographs [19, 81]; best class crab 100%, weakest ant 33%.")
    assert second == (
        "Most often ant is taken for bee (2 photographs); where the net is at least 90% sure, it is right on 50% of "
        "2 photographs."
    )
    share = wilson_interval(3, 6)
    assert f"{share.percent:.1f}% [{share.low:.1f}, {share.high:.1f}]" in page.text
    assert "12.3" in page.text and "A remark." in page.text and "256 (73)" in page.text
    assert (written.num_photographs, written.num_thumbnails) == (6, 6)
    assert "All 6 photographs have a thumbnail. The mistakes are shown first: to see" in page.text
    charts = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert charts[0] == "Training loss over the epochs, run: from 3 to 0.075."
    assert charts[1] == "Validation top-1 error after each epoch, run: from 50.0% to 20.0%."
    assert charts[2] is not None and "95% sure, 0% right (1)" in charts[2]  # bee/1.png alone is in the highest bin


@pytest.mark.parametrize(
    ("points", "low", "high", "sentence"),
    [
        (0.0, -14.7, 14.7, "is the same as on central crops [-14.7, +14.7]."),
        (-0.04, -0.3, 0.2, "is the same as on central crops [-0.3, +0.2]."),
        (-2.0, -5.0, 1.0, "is 2.0 points lower than on central crops [-5.0, +1.0], which may be chance."),
        (3.0, 1.0, 5.0, "is 3.0 points higher than on central crops [1.0, 5.0]."),
    ],
)
def test_the_whole_image_against_its_central_crop(
    points: float, low: float, high: float, sentence: str, tmp_path: Path
) -> None:
    difference = {"points": points, "low": low, "high": high}
    _, page = write(store_run(tmp_path / "run", dense_minus_center=difference))
    assert f"The error on whole images {sentence}" in page.text


def test_every_photograph_is_in_the_data(tmp_path: Path) -> None:
    _, page = write(store_run(tmp_path / "run"))
    data = page.data
    (evaluation,) = data["evaluations"]
    found = {}
    for photo, label, right, score, classes, scores, *_ in evaluation["photographs"]:
        names = [data["classes"][number] for number in classes]
        found[data["photographs"][photo]] = (data["classes"][label], list(zip(names, scores, strict=True)))
        assert right == (label == classes[0]) and score == scores[0]
    assert found == {file: (label, list(guesses)) for file, (label, guesses) in PREDICTIONS.items()}
    for uri, width, height in data["thumbnails"].values():
        assert base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))[:2] == b"\xff\xd8"
        assert 60 <= width < 66 and height == 40


def test_nothing_can_be_loaded_and_no_other_script_runs(tmp_path: Path) -> None:
    written, page = write(store_run(tmp_path / "run"))
    (policy,) = [each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    script, style = page.blocks["script"][1], page.blocks["style"][0]
    for text, kind in ((script, "script"), (style, "style")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    text = written.path.read_text(encoding="utf-8")
    assert "http://www.w3.org/2000/svg" in text  # the name of a language, which nothing loads
    assert re.findall(r"\w+://", text.replace("http://www.w3.org/2000/svg", "")) == []
    for _, attributes in page.tags:
        assert "style" not in attributes and "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_hostile_names_are_text(tmp_path: Path) -> None:
    predictions = {
        HOSTILE_FILE: (HOSTILE_CLASS, [("ant", 0.7), (HOSTILE_CLASS, 0.3)]),
        "ant/{{ 7 * 7 }}.png": ("ant", [(HOSTILE_CLASS, 0.7), ("ant", 0.3)]),
    }
    run = tmp_path / "<i>run"
    root = make_photographs(tmp_path / "photos", predictions)
    store_evaluation(run / "evaluations" / "val", predictions, root=str(root), remarks=["<script>alert(1)</script>"])
    store_metrics(run)
    written, page = write(run)
    assert written.num_thumbnails == 2
    assert [tag for tag, _ in page.tags].count("script") == 2 and "img" not in [tag for tag, _ in page.tags]
    assert "i" not in [tag for tag, _ in page.tags]
    assert page.data["photographs"] == list(predictions) and set(page.data["classes"]) == {HOSTILE_CLASS, "ant"}
    assert HOSTILE_CLASS in page.text and "<i>run" in page.text and "<script>alert(1)</script>" in page.text


def test_a_run_without_its_photographs(tmp_path: Path) -> None:
    """Photographs that are gone have no thumbnails, and the page says so; with their new folder it has them."""
    run = store_run(tmp_path / "run")
    shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    shutil.move(run, tmp_path / "moved")
    written, page = write(tmp_path / "moved")
    assert written.num_thumbnails == 0 and page.data["thumbnails"] == {}
    assert "were not found when the page was written" in page.text and "6 have none" in page.text
    assert any("`data`" in sentence for sentence in written.sentences)
    written, page = write(tmp_path / "moved", roots=[tmp_path / "elsewhere"])
    assert written.num_thumbnails == 6 and "not found" not in page.text


def test_several_evaluations_without_photographs_are_listed(tmp_path: Path) -> None:
    runs = [store_run(tmp_path / name) for name in ("one", "two")]
    shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    _, page = write(*runs)
    assert "These photographs were not found when the page was written: one, two." in page.text


def test_mistakes_get_thumbnails_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.engine.report_page.photographs.MAX_THUMBNAILS", 2)
    written, page = write(store_run(tmp_path / "run"))
    names = {page.data["photographs"][int(number)] for number in page.data["thumbnails"]}
    assert names == {"bee/1.png", "ant/1.png"}  # wrong with 0.95 and 0.8
    assert written.num_thumbnails == 2
    assert "All 6 photographs are listed; 2 of them have a thumbnail and 4 have none. The mistakes" in page.text


def test_the_page_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store_run(tmp_path / "run")
    _, whole = write(run)
    size = (run / "report.html").stat().st_size
    largest = size - sum(len(uri) for uri, _, _ in whole.data["thumbnails"].values()) // 2
    monkeypatch.setattr("verydeep.engine.report_page.page.MAX_BYTES", largest)
    written, _ = write(run)
    assert 0 < written.num_thumbnails < 6 and (run / "report.html").stat().st_size <= largest


def test_a_photograph_that_cannot_be_decoded_has_no_thumbnail(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    (tmp_path / "photos" / "bee" / "1.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "ant" / "2.png").unlink()
    written, page = write(run)
    names = {page.data["photographs"][int(number)] for number in page.data["thumbnails"]}
    assert written.num_thumbnails == 4 and names == set(PREDICTIONS) - {"bee/1.png", "ant/2.png"}


def test_several_runs_are_compared(tmp_path: Path) -> None:
    """The better run is wrong on one photograph alone, and not where the first is: 1 of 6 against 3 of 6."""
    worse = store_run(tmp_path / "worse")
    root, better = tmp_path / "photos", tmp_path / "better"
    predictions = {file: (label, [(label, 0.9), *((name, 0.05) for name in {"ant", "bee", "crab"} - {label})])
                   for file, (label, _) in PREDICTIONS.items()}  # fmt: skip
    predictions["crab/0.png"] = ("crab", [("ant", 0.9), ("crab", 0.06), ("bee", 0.04)])
    store_evaluation(better / "evaluations" / "val-dense-256", predictions, root=str(root))
    store_metrics(better, last_error=10)
    written, page = write(worse, better)
    assert written.num_photographs == 6
    assert written.summary[0].startswith("Of 2 runs, better has the fewest errors: on 16.7% of 6 photographs [")
    assert written.summary[1].startswith("The error of better is 33.3 points lower than that of worse, ")
    assert "+33.3" in page.text and "only the first: 3; only the second: 1; show" in page.text
    (loss, *_) = [each["aria-label"] for _, each in page.tags if each.get("role") == "img"]
    assert loss is not None and "worse: from" in loss and "better: from" in loss


@pytest.mark.parametrize("difference", ["classes", "photographs", "part", "untested"])
def test_runs_with_other_classes_or_photographs_are_not_ranked(tmp_path: Path, difference: str) -> None:
    """Wilson's interval of 3 of 6 is 18.8 to 81.2."""
    first, second = store_run(tmp_path / "first"), store_run(tmp_path / "second")
    folder, predictions = second / "evaluations" / "val-dense-256", dict(PREDICTIONS)
    if difference == "classes":
        (second / "classifier.json").write_text('{"class_names": ["ant", "yak"], "class_words": ["ant", "yak"]}')
    else:
        shutil.rmtree(folder)
    if difference == "photographs":
        for number, file in enumerate(PREDICTIONS):
            (tmp_path / "others" / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(50, 40, seed=number)).save(tmp_path / "others" / file)
        store_evaluation(folder, root=str(tmp_path / "others"))
    elif difference == "part":
        del predictions["bee/1.png"]
        store_evaluation(folder, predictions, root=str(tmp_path / "photos"))
    elif difference == "untested":
        (second / "classifier.json").write_text("{}")
        (second / "transfer.json").write_text('{"summary": "Not tested."}')
    written, _ = write(first, second)
    assert (
        written.summary[0]
        == {
            "classes": "The runs predict different classes, so none is called the best.",
            "photographs": "The runs were tested on different photographs, so none is called the best.",
            "part": "The runs were tested on different photographs, so none is called the best.",
            "untested": "Of 2 runs 1 have an evaluation with photographs on this page, so none is called the best.",
        }[difference]
    )
    assert written.summary[1].startswith("first is wrong on 50.0% of 6 photographs [18.8, 81.2]")
    assert "has the fewest errors" not in Path(written.path).read_text()


@pytest.mark.parametrize("are_copies", [False, True])
def test_photographs_of_another_folder_are_others_unless_they_are_copies(tmp_path: Path, are_copies: bool) -> None:
    """Cameras begin at 1 in each folder, so the same names say nothing."""
    run, other = store_run(tmp_path / "run"), tmp_path / "others"
    if are_copies:
        shutil.copytree(tmp_path / "photos", other)
    else:
        for number, file in enumerate(PREDICTIONS):
            (other / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(50, 40, seed=100 + number)).save(other / file)
    store_evaluation(run / "evaluations" / "others-dense-256", root=str(other))
    written, page = write(run)
    assert written.num_photographs == (6 if are_copies else 12) == written.num_thumbnails
    assert ("; only the second: " in page.text) is are_copies
    thumbnails = page.data["thumbnails"]
    assert len({uri for uri, _, _ in thumbnails.values()}) == written.num_photographs


def test_a_cut_table_is_a_sentence(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    path = run / "evaluations" / "val-dense-256" / "predictions.csv"
    path.write_text(
        path.read_text().rstrip("\n").rpartition(",")[0].rpartition("\n")[0] + "\na/2.jpg,a", encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"predictions\.csv lacks the column rank: run `verydeep evaluate` again"):
        write(run)


def test_lost_photographs_of_two_folders_are_not_compared(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    shutil.rmtree(tmp_path / "photos")
    store_evaluation(run / "evaluations" / "others-dense-256", root=str(tmp_path / "others"))
    written, page = write(run)
    assert written.num_photographs == 12 and "; only the second: " not in page.text


def test_one_run_shows_all_its_evaluations_the_newest_first(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    old = run / "evaluations" / "val-dense-256" / "errors.json"
    os.utime(old, (1, 1))
    store_evaluation(run / "evaluations" / "val-crops-256", root=str(tmp_path / "photos"))
    _, page = write(run)
    assert [each["title"] for each in page.data["evaluations"]] == ["val-crops-256", "val-dense-256"]
    assert len(page.data["photographs"]) == 6 and "only the first: 0; only the second: 0; show" in page.text


def test_boxes(tmp_path: Path) -> None:
    run, root = tmp_path / "run", make_photographs(tmp_path / "photos")
    folder = run / "evaluations" / "val-boxes"
    folder.mkdir(parents=True)
    (folder / "boxes.csv").write_text(
        "path,label,iou,xmin,ymin,xmax,ymax,annotations\n"
        'ant/0.png,ant,0.9000,1.0,2.0,30.0,20.0,"[[0, 2, 31, 20]]"\n'
        'bee/0.png,bee,0.3000,1.0,2.0,30.0,20.0,"[[20, 2, 61, 39], [0, 0, 5, 5]]"\n',
        encoding="utf-8",
    )
    share = vars(wilson_interval(1, 2))
    row = {"net": "A", "crop": 64, "view": "dense", "scales": [256], "truth": {"error": share}, "guesses": None}
    values = {"summary": "", "rows": [row], "remarks": [], "data": "photos", "root": str(root), "split": "val"}
    (folder / "errors.json").write_text(json.dumps(values), encoding="utf-8")
    written, page = write(run)
    assert written.summary[0].startswith("Box of the true class right on 50% of 2 val photographs")
    (evaluation,) = page.data["evaluations"]
    assert evaluation["kind"] == "IoU"
    assert evaluation["photographs"][1] == [1, 1, 0, 0.3, [], [], [1, 2, 30, 20], [[20, 2, 61, 39], [0, 0, 5, 5]]]
    assert "Confusion matrix" not in [each.get("aria-label") for _, each in page.tags]
    assert any("50.0% of the boxes" in (each.get("aria-label") or "") for _, each in page.tags)
    both, _ = write(run, store_run(tmp_path / "classes", root))
    assert both.summary[0] == "Some runs predict boxes and others predict classes, so none is called the best."


def test_unequal_classes_are_marked(tmp_path: Path) -> None:
    few = {"crab/0.png": ("crab", [("crab", 0.9), ("ant", 0.1)])}
    many = {f"ant/{number}.png": ("ant", [("ant", 0.9), ("crab", 0.1)]) for number in range(11)}
    run = tmp_path / "run"
    store_evaluation(run / "evaluations" / "val", many | few)
    _, page = write(run)
    assert "2 classes, with 1 to 11 photographs each. The classes are unequal: ant has 11 times as many" in page.text
    assert "There is no mistake among these photographs." in page.text


@pytest.mark.parametrize("name", ["missing", "photos"])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    make_photographs(tmp_path / "photos")
    with pytest.raises(DataError, match=name):
        write(tmp_path / name)


def test_a_damaged_evaluation_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    store_evaluation(run / "evaluations" / "broken")
    (run / "evaluations" / "broken" / "predictions.csv").write_text("path,label\nant/0.png,ant\n")
    written, page = write(run)
    assert written.num_photographs == 6
    sentence = written.sentences[0]
    assert "broken/predictions.csv lacks the column rank" in sentence and sentence.replace("`", "") in page.text


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    (run / "report.html").write_text("<html>mine</html>")
    with pytest.raises(OptionError, match="no report page"):
        write(run)
    assert (run / "report.html").read_text() == "<html>mine</html>"


def test_doubtful_labels(tmp_path: Path) -> None:
    """By hand: thresholds 0.37, 0.37 and 0.6; joint [1 2 0], [1 1 0], [0 0 1]; so 2 of ant and 1 of bee are wrong."""
    run = store_run(tmp_path / "run")
    _, page = write(run)

    def doubts(page: Parsed) -> dict[int, str]:
        values = page.data["evaluations"][0]["photographs"]
        return {each[8]: page.data["photographs"][each[0]] for each in values if len(each) > 8}

    assert doubts(page) == {1: "bee/1.png", 2: "ant/2.png", 3: "ant/1.png"}  # posteriors 0.04, 0.05, 0.15
    errors = run / "evaluations" / "val-dense-256" / "errors.json"
    errors.write_text(errors.read_text().replace("A remark.", "These are the training images of runs/a."))
    assert doubts(write(run)[1]) == {}


def test_training_photographs_stand_beside_the_errors(tmp_path: Path) -> None:
    """A class of which the net has seen few is marked, whatever it was tested on."""
    run = store_run(tmp_path / "run")
    config = {"class_names": ["ant", "bee", "crab"], "provenance": {"class_images": [300, 31, 29], "converged": True}}
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text(json.dumps(config))
    text = write_report_page([run], run / "report.html").path.read_text()
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text, re.DOTALL)
    cells = [re.sub(r"<[^>]+>", " ", row).split() for row in rows[:3]]
    assert [row[:4] for row in cells] == [
        ["ant", "300", "3", "66.7%"],
        ["bee", "31", "2", "50.0%"],
        ["crab", "few", "29", "1"],
    ]
    assert "3 classes, with 29 to 300 training photographs each. The classes are unequal: ant has 10 times as" in text


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"num_images": "many"}, "num_images"),
        ({"rows": [{"view": "dense", "scales": [256], "errors": {"top1": 3}}]}, "rows"),
        ({"rows": []}, "rows"),
        ({"remarks": 7}, "remarks"),
        ({"dense_minus_center": {"points": None}}, "dense_minus_center"),
        ({"root": {}}, "root"),
    ],
)
def test_an_evaluation_with_other_fields_is_named(change: dict[str, Any], place: str, tmp_path: Path) -> None:
    """And left out; the others are on the page."""
    run = store_run(tmp_path / "run")
    store_evaluation(run / "evaluations" / "bad", **change)
    write_report_page([run], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "bad/errors.json is damaged" in text and place in text and "val-dense-256" in text


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    for line in ('{"step": 1, "loss": "low", "learning_rate": 1}', '{"step": 1}', "[]", "7", "[" * 100_000):
        (run / "metrics.jsonl").write_text(f"{line}\n")
        with pytest.raises(DataError, match=r"metrics\.jsonl is damaged"):
            write_report_page([run], tmp_path / "page.html")
