"""``verydeep report``, and the page at the end of train, evaluate and transfer."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import verydeep as vd
from tests.runs import SMALL_NET, Cli
from tests.stored_runs import make_photographs, store_run


def data_of(page: Path) -> dict[str, list[str]]:
    """The data of a page's script."""
    text = page.read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    values = json.loads(text[begin : text.index("</script>", begin)])
    assert isinstance(values, dict)
    return values


def test_from_the_command_line(tmp_path: Path, inside: Cli) -> None:
    store_run(tmp_path / "run")
    done = inside("report", "run")
    assert done.stdout.splitlines()[0].startswith("Right on 50% of 6 val photographs")
    assert done.stdout.splitlines()[-1] == "Written: run/report.html"
    assert data_of(tmp_path / "run" / "report.html")["classes"] == ["ant", "bee", "crab"]
    (record,) = map(json.loads, inside("report", "run", "--format", "json").stdout.splitlines())
    assert record == {"page": "run/report.html", "runs": ["run"], "num_photographs": 6, "num_thumbnails": 6}


def test_from_python(tmp_path: Path) -> None:
    run = store_run(tmp_path / "run")
    page = vd.report([run], out=tmp_path / "page.html", progress=False)
    assert isinstance(page, vd.ReportPage) and Path(page) == tmp_path / "page.html"
    assert (page.num_photographs, page.num_thumbnails) == (6, 6) and page.summary.count(".") >= 2


def test_several_runs_have_one_page_beside_them(tmp_path: Path, inside: Cli) -> None:
    for name in ("a", "b"):
        store_run(tmp_path / "runs" / name, tmp_path / "photos")
    assert "Written: " in inside("report", "runs/a", "runs/b").stdout
    assert len(data_of(tmp_path / "runs" / "report-a+b.html")["evaluations"]) == 2


def test_a_name_without_an_ending_becomes_a_page_that_browsers_know(tmp_path: Path, inside: Cli) -> None:
    store_run(tmp_path / "run")
    for _ in range(2):
        assert "Written: compared-0.5.html" in inside("report", "run", "--out", "compared-0.5").stdout
    assert not (tmp_path / "compared-0.5").exists()


def test_a_training_that_has_not_ended_is_reported(tmp_path: Path, trained: Path, inside: Cli) -> None:
    run = tmp_path / "stopped"
    shutil.copytree(trained, run)
    values = json.loads((run / "model" / "config.json").read_text())
    values["provenance"]["converged"] = None
    (run / "model" / "config.json").write_text(json.dumps(values))
    assert "The training of stopped has not ended." in inside("report", "stopped", "--maps", "0").stdout
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "The training of stopped has not ended." in page and "<td>has not ended</td>" in page


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [(1.04, ""), (1.06, "still guessing"), (1.4, "worse than guessing")],  # a net that guesses among three has ln 3
)
def test_a_net_that_guesses_is_reported(loss: float, sentence: str, tmp_path: Path, trained: Path, inside: Cli) -> None:
    shutil.copytree(trained, tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    lines = [json.loads(line) | {"loss": loss} for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    inside("report", "run", "--maps", "0")
    (told,) = re.findall(
        "<td>20 steps; the learning rate dropped as planned(.*?)</td>",
        (tmp_path / "run" / "report.html").read_text("utf-8"),
    )
    assert told == (
        f"; {sentence}: the average loss of the last 20 steps is {loss:.2f}, and random guessing gives 1.10"
        if sentence
        else ""
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos",), "photos holds no run, classifier or evaluation"),
        (("run", "run/"), "A run is named twice"),
        (("run", "--out", "photos/ant/0.png"), "photos/ant/0.png exists and is no report page: choose another --out"),
        (("run", "--out", "photos"), "--out photos is a folder"),
    ],
)
def test_refusals(tmp_path: Path, inside: Cli, arguments: tuple[str, ...], message: str) -> None:
    store_run(tmp_path / "run")
    done = inside("report", *arguments, check=False)
    assert done.returncode == 1 and message in done.stderr


def test_photographs_that_moved(tmp_path: Path, inside: Cli) -> None:
    store_run(tmp_path / "run")
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    done = inside("report", "run")
    assert "0 of them have a thumbnail" in done.stdout and "--data" in done.stdout
    assert "All 6 photographs have a thumbnail." in inside("report", "run", "--data", "elsewhere").stdout
    make_photographs(tmp_path / "new" / "val")  # the folder of the data set, whose val/ was tested
    assert "All 6 photographs have a thumbnail." in inside("report", "run", "--data", "new").stdout


def test_training_and_testing_end_with_a_page(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """The page of a training has its test; that of an evaluation elsewhere lies in its folder."""
    page = data_of(trained / "report.html")
    assert len(page["photographs"]) >= 9 and page["classes"] == ["apple", "bee", "cloud"]
    text = (trained / "report.html").read_text(encoding="utf-8")
    for fact in (
        "verydeep train",
        "width 0.0625",
        "batch 12",
        "learning rate drops",
        "4 epochs at train scale 256-512",
    ):
        assert fact in text
    done = inside("evaluate", photographs, trained, "--split", "val", "--out", "tested", "--precision", "fp32")
    assert "Report: tested/report.html" in done.stdout
    tested = data_of(tmp_path / "tested" / "report.html")
    assert len(tested["photographs"]) == 15 and len(tested["thumbnails"]) == 15
    check_maps(tested, trained, photographs / "val")
    (environment,) = json.loads((tmp_path / "tested" / "environment.json").read_text())
    assert environment["precision"] == "fp32" and environment["verydeep"] and environment["hardware"]


def check_maps(data: Any, net: Path, root: Path) -> None:
    """The maps of each photograph are those of `explain`, of its prediction first, and of its true class."""
    (evaluation,) = data["evaluations"]
    assert len(data["maps"]["0"]) == 15
    for photo, label, right, _, classes, *_ in evaluation["photographs"][:3]:
        explanations = vd.explain(net, root / data["photographs"][photo], out=None, scales="384", precision="fp32")
        ((score_map,),) = explanations.maps
        maps = data["maps"]["0"][str(photo)]
        assert [number for number, _ in maps] == [classes[0], *([] if right else [label])]
        for number, uri in maps:
            with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as image:
                drawn, shape = np.asarray(image), image.size[::-1]
            assert max(shape) == 48
            np.testing.assert_allclose(drawn / 255, score_map.spread(number, shape), atol=0.5 / 255 + 1e-3)


def test_an_evaluation_in_a_run_renews_the_page_of_the_run(photographs: Path, inside: Cli, tmp_path: Path) -> None:
    inside("train", photographs, *SMALL_NET, "--epochs", 1, "--out", "run")
    done = inside("evaluate", photographs, "run", "--split", "val", "--precision", "fp32")
    assert "Report: run/report.html" in done.stdout
    titles = {each["title"] for each in data_of(tmp_path / "run" / "report.html")["evaluations"]}  # type: ignore[index]
    assert titles == {"test-dense-256", "val-dense-256"}


def test_transfer_ends_with_a_page(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done = inside("transfer", photographs, trained, "--scales", "256", "--c", "1", "--out", "few")
    assert "Report: few/report.html" in done.stdout and "predictions.csv" in done.stdout
    (evaluation,) = data_of(tmp_path / "few" / "report.html")["evaluations"]
    assert evaluation["kind"] == "margin" and len(evaluation["photographs"]) == 9  # type: ignore[index]
    lines = (tmp_path / "few" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 10 and lines[0].startswith("path,label,rank,class1,margin1")
    assert (photographs / lines[1].split(",")[0]).is_file()


def test_the_folder_of_the_photographs_must_be_there(tmp_path: Path, inside: Cli) -> None:
    """A missing one is named; of one that holds others, a photograph is named."""
    store_run(tmp_path / "run")
    done = inside("report", "run", "--data", "flowers", check=False)
    assert done.returncode == 1 and done.stderr == "verydeep: flowers does not exist; give a folder of photographs.\n"
    assert not (tmp_path / "run" / "report.html").exists()
    (tmp_path / "photos").rename(tmp_path / "moved")
    (tmp_path / "flowers").mkdir()
    done = inside("report", "run", "--data", "flowers")
    assert "flowers does not hold 'ant/0.png': --data must be the folder in which that photograph is." in done.stdout
    done = inside("report", "run")
    assert "Name the folder of the photographs, --data, to see them on the page." in done.stdout
    done = inside("report", "run", "--data", "moved")
    assert "--data" not in done.stdout
