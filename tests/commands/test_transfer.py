"""``verydeep transfer``, and what it leaves in ``verydeep predict``."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.runs import Cli

FAST = ("--scales", "256", "--precision", "fp32", "--c", "1")


@pytest.fixture
def described(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> Path:
    inside("transfer", class_folders, trained, *FAST, "--out", "few")
    return tmp_path / "few"


def test_class_folders_become_a_classifier(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    done = inside(
        "transfer", class_folders, trained, "--scales", "256,320", "--precision", "fp32", "--c", "1,10", "--out", "few"
    )
    told = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert f"Mean class recall, %: {told['score']:.1f}, on 12 test images." in done.stdout
    (draw,) = told["draws"]
    assert set(draw["tried"]) == {"1", "10"} and draw["num_train"] == 33 and draw["num_test"] == 12
    assert list(draw["of_each_class"]) == ["ant", "bell", "crab"]
    assert "relu7, Q=256, 320 averaged" in told["representation"]


def test_predict_tells_margins_as_transfer_did(inside: Cli, described: Path, class_folders: Path) -> None:
    """They are margins in every format, of the class with the largest first; and recall is that of their answers."""
    done = inside("predict", described, class_folders / "val", "--precision", "fp32", "--format", "json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 12 and all(set(each) == {"class", "words", "margin"} for each in answers[0]["classes"])
    margins = [[each["margin"] for each in answer["classes"]] for answer in answers]
    assert all(row == sorted(row, reverse=True) for row in margins)
    right = [answer["classes"][0]["class"] == Path(answer["path"]).parent.name for answer in answers]
    told = json.loads((described / "transfer.json").read_text())
    assert told["score"] == pytest.approx(100 * sum(right) / 12)
    table = inside("predict", described, class_folders / "val" / "ant", "--precision", "fp32").stdout
    assert "margin" in table and "probability" not in table
    rows = list(csv.reader(inside("predict", described, class_folders / "val", "--format", "csv").stdout.splitlines()))
    assert rows[0] == ["path", "rank", "class", "words", "margin"] and len(rows) == 1 + 12 * 3


def test_several_nets_are_stacked(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "twin")
    inside("transfer", class_folders, trained, "twin", *FAST, "--out", "both")
    told = json.loads((tmp_path / "both" / "classifier.json").read_text())
    assert [Path(each["path"]).name for each in told["nets"]] == [trained.name, "twin"]
    inside("transfer", class_folders, trained, *FAST, "--out", "one")
    # Twice the same net says what it says once.
    one, both = (json.loads((tmp_path / name / "transfer.json").read_text())["score"] for name in ("one", "both"))
    assert one == pytest.approx(both, abs=10)


def test_draws_have_a_mean_and_a_deviation(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(class_folders / "train", tmp_path / "flat")
    done = inside(
        "transfer", "flat", trained, *FAST, "--num-train", "3", "--num-test", "4", "--num-splits", "2", "--out", "few"
    )
    told = json.loads((tmp_path / "few" / "transfer.json").read_text())
    scores = [draw["score"] for draw in told["draws"]]
    assert told["score"] == pytest.approx(sum(scores) / 2)
    assert told["deviation"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert [draw["num_train"] for draw in told["draws"]] == [9, 9]
    assert "(standard deviation over 2 draws), on 24 test images" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--layer", "fc9"), "--layer fc9 is no layer of this net"),
        (("--c", "1,x"), "--c '1,x': write different numbers"),
        (("--c", "0"), "--c '0'"),
        (("--num-train", "3"), "says itself what is learned from"),
        (("--actions",), "is not Pascal VOC"),
        (("--scales", "100"), "100"),
    ],
)
def test_what_cannot_be_is_told(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = inside("transfer", class_folders, trained, *arguments, "--out", "few", check=False)
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "few").exists()


def test_a_classifier_without_its_net_is_told(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    """Moved away, or another one in its place."""
    shutil.copytree(trained / "model", tmp_path / "net")
    inside("transfer", class_folders, "net", *FAST, "--out", "few")
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))
    done = inside("predict", "few", class_folders, check=False)
    assert done.returncode == 1 and "is another net than the one that few was trained with" in done.stderr
    shutil.rmtree(tmp_path / "net")
    done = inside("predict", "few", class_folders, check=False)
    assert done.returncode == 1 and "net" in done.stderr and done.stderr.count("\n") == 1
    fields = tmp_path / "few" / "classifier.json"
    fields.write_text(fields.read_text().replace("parts", "halves"))
    assert "few is damaged" in inside("predict", "few", class_folders, check=False).stderr


def test_a_classifier_is_not_overwritten(inside: Cli, described: Path, class_folders: Path, trained: Path) -> None:
    done = inside("transfer", class_folders, trained, *FAST, "--out", described, check=False)
    assert done.returncode == 1 and "already holds a classifier" in done.stderr
    done = inside("predict", described, class_folders, "--scales", "256", check=False)
    assert done.returncode == 1 and "leave --scales and --views out" in done.stderr
