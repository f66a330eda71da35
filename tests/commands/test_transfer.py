"""``verydeep transfer``, and its classifier in ``verydeep predict``."""

import csv
import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.data.sets.transfer_trees import put_action_pictures, put_voc_pictures
from tests.kills import Attempt, Forker
from tests.runs import SHORT_TRAINING, SMALL_NET, Cli, make_photographs, read_predictions
from verydeep.data.sets.voc import CLASSES, open_voc
from verydeep.data.sets.voc_actions import ACTIONS
from verydeep.engine.transfer import task
from verydeep.ops.average_precision import average_precision

FAST = ("--scales", "256", "--precision", "fp32", "--workers", "0", "--c", "1")


@pytest.fixture
def classifier(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> Path:
    inside("transfer", class_folders, trained, *FAST, "--out", "few")
    return tmp_path / "few"


def test_class_folders_become_a_classifier(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    done = inside(
        "transfer", class_folders, trained, "--scales", "256,320", "--precision", "fp32", "--c", "1,10", "--out", "few"
    )
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    (interval,) = [draw["interval"] for draw in result["draws"]]
    assert interval["low"] < interval["percent"] == result["score"] <= interval["high"] <= 100
    limits = f"[{interval['low']:.1f},{interval['high']:.1f}] (95% interval over test images)"
    assert f"Mean class recall, %: {result['score']:.1f} {limits}, on 12 test images." in done.stdout
    (draw,) = result["draws"]
    assert set(draw["trials"]) == {"1", "10"} and draw["num_train"] == 33 and draw["num_test"] == 12
    assert list(draw["class_scores"]) == ["ant", "bell", "crab"]
    assert "relu7, test scales 256, 320 averaged" in result["representation"]
    assert [point["num_train"] for point in result["curve"]] == [1, 2, 5, 10, 11]
    assert result["curve"][-1]["scores"] == [result["score"]]
    with (tmp_path / "few" / "confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    counts = np.array([row[1:] for row in rows], int)
    assert header[1:] == ["ant", "bell", "crab"] and counts.sum(axis=1).tolist() == [4, 4, 4]
    assert 100 * counts.trace() / 12 == pytest.approx(result["score"])
    assert result["summary"].startswith(f"Right on {100 * counts.trace() / 12:.0f}% of 12 photographs [")
    assert result["summary"] in done.stdout.splitlines()
    for name in ("curve.png", "confusion.png"):
        with Image.open(tmp_path / "few" / name) as image:
            assert min(image.size) > 300
    page = (tmp_path / "few" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="spread') == len(result["curve"]), "each point has its interval"
    assert re.search(r"photographs of each class: [\d.]+ \[[\d.]+,[\d.]+\] with 1; .*overlap", done.stdout)


def test_predict_prints_the_margins_of_transfer(inside: Cli, classifier: Path, class_folders: Path) -> None:
    """In every format, the class with the largest first; the recall is that of their first classes."""
    done = inside("predict", classifier, class_folders / "val", "--precision", "fp32", "--format", "json")
    assert set(json.loads(done.stdout.splitlines()[0])) == {"image", "rank", "class", "words", "margin"}
    predictions = read_predictions(done.stdout)
    assert len(predictions) == 12 and all(len(margins) == 3 for margins in predictions.values())
    assert all(list(each.values()) == sorted(each.values(), reverse=True) for each in predictions.values())
    right = [next(iter(margins)) == Path(image).parent.name for image, margins in predictions.items()]
    result = json.loads((classifier / "transfer.json").read_text())
    assert result["score"] == pytest.approx(100 * sum(right) / 12)
    table = inside("predict", classifier, class_folders / "val" / "ant", "--precision", "fp32").stdout
    assert "margin" in table and "probability" not in table
    rows = list(csv.reader(inside("predict", classifier, class_folders / "val", "--format", "csv").stdout.splitlines()))
    assert rows[0] == ["image", "rank", "class", "words", "margin"] and len(rows) == 1 + 12 * 3


def test_several_nets_are_stacked(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "twin")
    inside("transfer", class_folders, trained, "twin", *FAST, "--out", "both")
    result = json.loads((tmp_path / "both" / "classifier.json").read_text())
    assert [Path(each["path"]).name for each in result["nets"]] == [trained.name, "twin"]
    inside("transfer", class_folders, trained, *FAST, "--out", "one")
    weights = [load_file(tmp_path / name / "svms.safetensors")["weights"] for name in ("one", "both")]
    width = weights[0].shape[1]
    # The same net twice gives the same margins: each half has 1 / sqrt(2) of the descriptor and of the weights.
    assert weights[1].shape == (3, 2 * width)
    np.testing.assert_allclose(weights[1], np.tile(weights[0], 2) / 2**0.5, atol=2e-3)


def test_draws_have_a_mean_and_a_deviation(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(class_folders / "train", tmp_path / "flat")
    done = inside(
        "transfer", "flat", trained, *FAST, "--num-train", "3", "--num-test", "4", "--num-splits", "2", "--out", "few"
    )
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    scores = [draw["score"] for draw in result["draws"]]
    assert result["score"] == pytest.approx(sum(scores) / 2)
    assert result["deviation"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert [draw["num_train"] for draw in result["draws"]] == [9, 9]
    # Four test photographs of each class: the share of right ones is the mean class recall.
    figures = f"Right on {result['score']:.0f}% of the test photographs (± {result['deviation']:.1f} over 2 draws)"
    assert result["summary"].startswith(figures) and result["summary"] in " ".join(done.stdout.split())
    assert "(standard deviation over 2 draws), on 12 test images in each draw." in done.stdout
    assert "tested on flat ·" in (tmp_path / "few" / "report.html").read_text(encoding="utf-8")  # there is no flat/test
    _, *rows = csv.reader((tmp_path / "few" / "confusion.csv").read_text().splitlines())
    counts = np.array([row[1:] for row in rows], int)  # over all draws
    assert counts.sum(axis=1).tolist() == [8, 8, 8] and 100 * counts.trace() / 24 == pytest.approx(result["score"])


def test_two_processes_share_the_describing(forker: Forker, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    """Both describe, one trains and prints, and its result is that of one process alone."""
    words = ("transfer", class_folders, trained, *FAST, "--out")
    alone = forker.run(tmp_path, *words, "one", cache="cache-one")
    done, other = forker.run_in_two_processes(tmp_path, *words, "two", cache="cache-two")
    assert alone.code == done.code == other.code == 0 and other.output == ""
    assert done.stdout.count("Data: ") == done.stdout.count("Written: ") == 1
    one, two = (json.loads((tmp_path / name / "transfer.json").read_text()) for name in ("one", "two"))
    assert one["draws"] == two["draws"]
    shards = (tmp_path / "cache-two").rglob("*.safetensors")
    assert len({path.stem.split("-")[1] for path in shards}) == 2


def test_copies_are_reported(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    """A photograph that lies in both parts, under other names."""
    shutil.copytree(class_folders, tmp_path / "photos")
    learned = sorted((tmp_path / "photos/train/bell").iterdir())[3]
    shutil.copy(learned, tmp_path / "photos/val/bell" / f"again{learned.suffix}")
    done = inside("transfer", "photos", trained, *FAST, "--out", "few")
    pair = f"val/bell/again{learned.suffix}", f"train/bell/{learned.name}"
    assert f"{pair[0]} is a copy of the training photograph {pair[1]}, so the score is optimistic" in done.stdout
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert result["copies"] == dict([pair])
    page = (tmp_path / "few" / "report.html").read_text(encoding="utf-8")
    assert f"{pair[0]} is a copy of the training photograph {pair[1]}, so" in page and "tested on photos (val)" in page
    assert "copy" not in inside("transfer", class_folders, trained, *FAST, "--out", "none").stdout


def test_the_page_has_the_remarks_of_a_classifier_without_a_test(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path
) -> None:
    """SVMs with this C end before they converge; they are named, and no score is."""
    shutil.copytree(class_folders / "train", tmp_path / "flat")
    options = ("--scales", "256", "--precision", "fp32", "--c", "1e7", "--num-test", 0, "--out", "few")
    printed = " ".join(inside("transfer", "flat", trained, *options).stdout.split())
    (remark,) = re.findall(r"Not converged: the SVMs of .*? C=1e\+07\.", printed)
    assert "score" not in printed
    assert html.unescape((tmp_path / "few" / "report.html").read_text(encoding="utf-8")).count(remark) == 1


APART = """
import os
from verydeep.engine import runtime
os.environ["VERYDEEP_CACHE"] = f"cache-{os.environ['RANK']}"
os.makedirs(f"machine-{os.environ['RANK']}", exist_ok=True)
os.chdir(f"machine-{os.environ['RANK']}")
runtime.APPEARS_WITHIN = 0.5
"""


@pytest.mark.parametrize(
    ("command", "named", "remedy"),
    [
        ("transfer", "cache-0", "VERYDEEP_CACHE moves the cache"),
        ("features", "described", "by --out"),
        ("train", "run", "by --out"),
    ],
)
def test_machines_without_a_common_disk_are_refused(
    forker: Forker, class_folders: Path, trained: Path, tmp_path: Path, command: str, named: str, remedy: str
) -> None:
    """Two processes that see other folders by the same name describe nothing, and one of them says why."""
    words = {
        "transfer": ["transfer", class_folders, trained, *FAST, "--out", "few"],
        "features": ["features", trained, class_folders, "--precision", "fp32", "--out", "described"],
        "train": ["train", class_folders, *SMALL_NET, "--epochs", 1, "--out", "run"],
    }[command]
    assert refuse(forker.run_in_two_processes(tmp_path, *words, setup=APART)) == [
        f"verydeep: {named} is not the same folder for all 2 processes: put it where all machines see it ({remedy}), "
        "or run on one machine."
    ]
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob(".shared-*"))


def refuse(attempts: list[Attempt]) -> list[str]:
    """Return the errors of two processes, neither of which succeeded."""
    assert all(attempt.code != 0 for attempt in attempts)
    lines = [line for attempt in attempts for line in attempt.stderr.splitlines()]
    return [line for line in lines if line.startswith("verydeep: ")]


UNLIKE = """
import os
from verydeep.engine import runtime
runtime.has_fast_bf16 = lambda device: os.environ["RANK"] == "0"
"""


def test_machines_of_different_precision_are_refused(
    forker: Forker, class_folders: Path, trained: Path, tmp_path: Path
) -> None:
    """One is fast in bf16 and the other is not, and nobody has chosen."""
    words = ("features", trained, class_folders, "--out", "described")
    assert refuse(forker.run_in_two_processes(tmp_path, *words, setup=UNLIKE)) == [
        "verydeep: Some of the 2 processes have hardware for bf16 and others do not: give --precision."
    ]
    assert not list((tmp_path / "described").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layer", "fc9"), "has no layer fc9"),
        (("--devices", 0), "--devices 0"),
        (("--seed", 2**64), "--seed"),
        (("--c", "1,x"), "--c 1,x is not valid: give one or more different numbers above 0"),
        (("--c", "0"), "--c 0 is not valid"),
        (("--c", "1,nan,inf"), "--c 1,nan,inf is not valid"),
        (("--num-train", "3"), "defines its own training and test photographs; omit --num-train.\n"),
        (("--actions", "image"), "is not Pascal VOC"),
        (("--submission", "sent"), "--submission writes files for VOC's server, and class-folders"),
        (("--split", "test"), "has no test photographs with labels"),
        (("--scales", "100"), "100"),
    ],
)
def test_impossible_options_are_refused(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = inside("transfer", class_folders, trained, *arguments, "--out", "few", check=False)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "few").exists()


def test_missing_net_is_reported(inside: Cli, class_folders: Path) -> None:
    done = inside("transfer", class_folders, check=False)
    assert done.returncode == 1 and "RUN is missing: give a net" in done.stderr


def test_classifier_without_its_net_is_refused(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    """Moved away, or another one in its place."""
    shutil.copytree(trained / "model", tmp_path / "net")
    inside("transfer", class_folders, "net", *FAST, "--out", "few")
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))
    done = inside("predict", "few", class_folders, check=False)
    assert done.returncode == 1 and "is not the net that few was made with" in done.stderr
    shutil.rmtree(tmp_path / "net")
    done = inside("predict", "few", class_folders, check=False)
    assert done.returncode == 1 and "few/classifier.json names the net " in done.stderr
    assert "which does not exist" in done.stderr and done.stderr.count("\n") == 1
    fields = tmp_path / "few" / "classifier.json"
    fields.write_text(fields.read_text().replace("average", "halves"))
    assert "few/classifier.json is damaged" in inside("predict", "few", class_folders, check=False).stderr


def test_classifier_is_not_overwritten(inside: Cli, classifier: Path, class_folders: Path, trained: Path) -> None:
    done = inside("transfer", class_folders, trained, *FAST, "--out", classifier, check=False)
    assert done.returncode == 1 and "already holds a classifier" in done.stderr
    for option in (("--scales", "256"), ("--views", "crops"), ("--weights", "best")):
        done = inside("predict", classifier, class_folders, *option, check=False)
        assert done.returncode == 1 and f"omit {option[0]}." in done.stderr


# VOC: its actions, its parts, its server.


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Both tasks with train and val; of trainval and test of the classes no labels of test, as VOC-2012 has it."""
    folder = put_action_pictures(tmp_path / "VOC2012", ("train", "val"))
    put_voc_pictures(folder, 2012, ("train", "val", "trainval", "test"))
    for path in (folder / "ImageSets" / "Main").glob("*_test.txt"):
        path.unlink()
    return folder


def test_actions_of_images_and_of_boxes(inside: Cli, voc: Path, trained: Path, tmp_path: Path) -> None:
    """What the box adds doubles the dimensions; predict takes what needs no box, and refuses what does."""
    done = inside("transfer", voc, trained, *FAST, "--actions", "image")
    result = {"image": json.loads((tmp_path / "runs" / "VOC2012-actions-transfer-run" / "transfer.json").read_text())}
    assert "45 images, 74 persons; " in done.stdout and "on 38 test persons" in done.stdout and "Try:" in done.stdout
    done = inside("transfer", voc, trained, *FAST, "--actions", "image+box", "--out", "boxes")
    result["image+box"] = json.loads((tmp_path / "boxes" / "transfer.json").read_text())
    assert "test scale 256, image and box; 32 numbers each." in done.stdout and "Try:" not in done.stdout
    assert result["image"]["score"] != result["image+box"]["score"]
    assert result["image"]["summary"].startswith(f"Mean AP {result['image']['score']:.0f}% [")
    again = inside("transfer", voc, trained, *FAST, "--actions", "image")
    assert "Written: runs/VOC2012-actions-transfer-run-2/" in again.stdout
    photo = voc / "JPEGImages" / "2011_000000.jpg"
    done = inside("predict", "runs/VOC2012-actions-transfer-run", photo, "--format", "json")
    assert set(read_predictions(done.stdout)[str(photo)]) < set(ACTIONS)
    refused = inside("predict", "boxes", photo, check=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "This classifier takes photographs and boxes of persons" in refused.stderr


def test_files_for_vocs_server(inside: Cli, voc: Path, trained: Path, tmp_path: Path) -> None:
    """Of test, whose labels are its own; of val, the scores in the files give the score of the result."""
    done = inside("transfer", voc, trained, *FAST, "--out", "few", "--submission", "sent")
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert result["score"] is None and result["summary"].endswith(" images and not tested.")
    place = tmp_path / "sent" / "results" / "VOC2012" / "Main"
    assert f"Written: sent/{place.relative_to(tmp_path / 'sent')}/" in done.stdout
    assert sorted(path.name for path in place.iterdir()) == sorted(f"comp2_cls_test_{name}.txt" for name in CLASSES)
    assert len((place / "comp2_cls_test_cow.txt").read_text().splitlines()) == 49

    words = ("transfer", voc, trained, *FAST, "--out", "again")
    refused = inside(*words, "--submission", "sent", check=False)
    assert refused.returncode == 1 and "sent/results/VOC2012/Main/comp2_cls_test_aeroplane.txt exists" in refused.stderr
    refused = inside(*words, "--submission", tmp_path / "few", check=False)
    assert "holds files that do not belong to results for VOC's server: choose a new folder." in refused.stderr
    inside("transfer", voc, trained, *FAST, "--split", "val", "--out", "val", "--submission", "sent")
    test = open_voc(voc, "val")
    assert test.relevance is not None
    precisions = []
    for k, name in enumerate(CLASSES):
        lines = [line.split() for line in (place / f"comp2_cls_val_{name}.txt").read_text().splitlines()]
        assert [f"JPEGImages/{image}.jpg" for image, _ in lines] == list(test.files)
        scores = np.array([float(score) for _, score in lines])
        precisions.append(average_precision(scores, test.relevance[:, k]))
    result = json.loads((tmp_path / "val" / "transfer.json").read_text())
    assert result["score"] == pytest.approx(100 * float(np.mean(precisions)))
    with (tmp_path / "val" / "margins.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows[:20]] == list(CLASSES) and len(rows) == 20 * len(test.files)
    assert [int(row["relevance"]) for row in rows] == test.relevance.ravel().tolist()
    cows = np.array([float(row["margin"]) for row in rows if row["class"] == "cow"])
    cow = CLASSES.index("cow")
    assert average_precision(cows, test.relevance[:, cow]) == pytest.approx(precisions[cow], abs=0.01)
    assert result["class_intervals"]["cow"]["percent"] == pytest.approx(100 * precisions[cow])
    assert result["class_images"]["cow"] == 3  # pictures 9, 29, and 42, which shows two classes
    page = (tmp_path / "val" / "report.html").read_text()
    assert "mean AP" in page and "Average precision in percent" in page and f"{100 * precisions[cow]:.1f}%" in page

    inside("transfer", voc, trained, *FAST, "--actions", "image+box", "--out", "boxes", "--submission", "sent")
    lines = (place.with_name("Action") / "comp10_action_val_walking.txt").read_text().splitlines()
    assert len(lines) == 38 and len({line.rsplit(" ", 1)[0] for line in lines}) == 38


def test_undecodable_picture_is_one_sentence(inside: Cli, voc: Path, trained: Path, tmp_path: Path) -> None:
    """Or left out with all persons on it, and listed."""
    bad = voc / "JPEGImages" / "2011_000001.jpg"
    bad.write_bytes(b"no picture")
    words = ("transfer", voc, trained, *FAST, "--actions", "image+box", "--out", "few")
    refused = inside(*words, check=False)
    assert refused.returncode == 1 and refused.stderr.splitlines()[-1].startswith(f"verydeep: {bad} is not an image")
    assert not (tmp_path / "few").exists()
    inside(*words, "--bad-images", "skip")
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert list(result["skipped"]) == ["JPEGImages/2011_000001.jpg"] and result["draws"][0]["num_train"] == 34


def test_best_weights_are_found_again(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    inside("transfer", class_folders, trained, *FAST, "--weights", "best", "--out", "best")
    inside("predict", "best", class_folders / "val")
    result = json.loads((tmp_path / "best" / "classifier.json").read_text())
    assert [net["weights"] for net in result["nets"]] == ["best"]


def test_training_photographs_of_the_net_are_reported(inside: Cli, class_folders: Path, tmp_path: Path) -> None:
    """Its own division says nothing; another one does, and a number of photographs."""
    shutil.copytree(class_folders / "train", tmp_path / "flat")
    inside("train", "flat", *SMALL_NET, *SHORT_TRAINING, "--seed", "1")
    (run,) = (tmp_path / "runs").iterdir()
    for options, is_reported in ((("--seed", "1"), False), (("--seed", "0"), True), (("--num-train", "3"), True)):
        done = inside("transfer", "flat", run, *FAST, *options, "--out", f"few{'-'.join(options)}")
        assert ("may have learned from some" in done.stdout or "may have been trained on" in done.stdout) == is_reported
    paths = sorted((tmp_path / "flat").glob("*/*"))
    (tmp_path / "renamed").mkdir()
    for path in paths:  # the same photographs, with other names and a table of labels
        shutil.copy(path, tmp_path / "renamed" / f"{path.parent.name}{path.name}")
    lines = [f"{path.parent.name}{path.name},{path.parent.name}" for path in paths]
    (tmp_path / "renamed" / "labels.csv").write_text("\n".join(["path,label", *lines]))
    done = inside("transfer", "renamed", run, *FAST, "--out", "few-renamed")
    assert f"{run.name} was trained on copies of " in done.stdout
    assert " test photographs, so the score is optimistic: use another net." in done.stdout


def test_untested_class_is_reported(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(class_folders / "train", photos)
    for name, lines in {
        "train.csv": ["ant/00.jpg,ant", "ant/01.jpg,ant", "bell/00.jpg,bell", "bell/01.jpg,bell"],
        "test.csv": ["ant/02.jpg,ant", "crab/00.jpg,", "crab/01.jpg,"],
    }.items():
        (photos / name).write_text("\n".join(["path,label", *lines]) + "\n")
    done = inside("transfer", "photos", trained, *FAST, "--out", "few")
    assert "No test image shows bell; the mean is over the other classes." in done.stdout
    result = json.loads((tmp_path / "few" / "transfer.json").read_text(), parse_constant=pytest.fail)
    assert result["draws"][0]["class_scores"]["bell"] is None


def test_folder_of_other_files_is_refused(inside: Cli, class_folders: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("{}")
    done = inside("transfer", class_folders, trained, *FAST, "--out", "mine", check=False)
    assert done.returncode == 1 and "--out mine holds files that do not belong to a classifier" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["run.json"]


def test_incomplete_classifier_is_made_again(inside: Cli, class_folders: Path, trained: Path, classifier: Path) -> None:
    left = classifier.with_name(".few.0123abcd.tmp")  # as a kill leaves it
    left.mkdir()
    classifier.rename(left / "few")
    (left / "few" / "transfer.json").unlink()
    inside("transfer", class_folders, trained, *FAST, "--out", "few")
    assert (classifier / "transfer.json").exists() and not left.exists()


def test_photographs_that_are_skipped_are_counted(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path
) -> None:
    """In a message, in the file, and in the number that the curve ends at."""
    shutil.copytree(class_folders, tmp_path / "photos")
    for name in ("ant", "bell", "crab"):
        next((tmp_path / "photos" / "train" / name).iterdir()).write_text("no picture")
    refused = inside("transfer", "photos", trained, *FAST, "--out", "few", check=False)
    assert refused.returncode == 1 and "is not an image" in refused.stderr
    done = inside("transfer", "photos", trained, *FAST, "--bad-images", "skip", "--out", "few")
    assert "Skipped: 3 files that cannot be decoded, listed in transfer.json." in done.stdout
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert len(result["skipped"]) == 3 and result["curve"][-1]["num_train"] == 10
    for path in (tmp_path / "photos" / "train" / "bell").iterdir():
        path.write_text("no picture")
    refused = inside("transfer", "photos", trained, *FAST, "--bad-images", "skip", "--out", "none", check=False)
    assert refused.returncode == 1 and "Class 'bell' is on no training image that can be decoded" in refused.stderr


def test_too_few_photographs_are_refused_before_any_is_described(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    shutil.copytree(class_folders / "train", tmp_path / "photos")
    for message, classes, more in (
        ("Class 'ant' of photos has 11 photographs", ("ant", "bell"), ("--num-train", "11")),
        ("Class 'ant' is on every training image", ("ant",), ()),
    ):
        for name in {"ant", "bell", "crab"} - set(classes):
            shutil.rmtree(tmp_path / "photos" / name, ignore_errors=True)
        done = inside("transfer", "photos", trained, "--scales", "256", *more, "--out", "few", check=False)
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "cache").exists()


def test_one_photograph_of_each_class_is_enough_for_one_c(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path
) -> None:
    inside("transfer", class_folders / "train", trained, *FAST, "--num-train", "1", "--out", "few")
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert result["draws"][0]["num_train"] == 3 and result["draws"][0]["num_test"] == 30


@pytest.mark.parametrize("command", ["transfer", "train"])
def test_nothing_is_written_among_the_photographs(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path, command: str
) -> None:
    """Where the next command would take curve.png for a photograph of a class called runs."""
    shutil.copytree(class_folders / "train", tmp_path, dirs_exist_ok=True)
    words = (trained, *FAST) if command == "transfer" else SMALL_NET
    done = inside(command, ".", *words, check=False)
    assert done.returncode == 1 and "is inside of the data set" in done.stderr and "--out" in done.stderr
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").symlink_to(class_folders / "val" / "ant")  # whose pictures are one more class
    assert "is inside of the data set" in inside(command, ".", *words, check=False).stderr


def test_ctrl_c_says_that_the_same_command_goes_on(
    inside: Cli, class_folders: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "compute_descriptors", interrupt)  # a real signal would come at a random moment
    done = inside("transfer", class_folders, trained, *FAST, "--out", "few", check=False)
    assert done.returncode == 130 and done.stderr == (
        "verydeep: stopped; the same command continues from the descriptors that are saved.\n"
    )


# Few photographs, and photographs that belong together.


def test_one_photograph_of_each_class_makes_a_classifier(inside: Cli, trained: Path, tmp_path: Path) -> None:
    """C is the usual value, and nothing is tested; sentences say so, and other photographs test it."""
    photos = make_photographs(tmp_path / "made", {"photos": 1, "others": 2}) / "photos"
    done = inside("transfer", photos, trained, *FAST[:-2], "--out", "few")
    assert (
        "There are too few photographs for both train and val, so all photographs of apple, bee and cloud are in train."
        in done.stdout
    )
    assert (
        "C=10, the usual value, because choosing C takes at least two training photographs of a class." in done.stdout
    )
    assert "No photograph is left to test on" in done.stdout and "not tested" in done.stdout
    result = json.loads((tmp_path / "few" / "transfer.json").read_text())
    assert result["score"] is None and result["draws"][0]["num_train"] == 3 and result["draws"][0]["num_test"] == 0
    done = inside("evaluate", photos.parent / "others", "few", "--precision", "fp32")
    assert "all 6 images" in done.stdout
    done = inside("transfer", photos, trained, *FAST[:-2], "--c", 10, "--num-test", 0, "--out", "none")
    assert "No photograph is left" not in done.stdout and "the usual value" not in done.stdout
    svms = [load_file(tmp_path / name / "svms.safetensors")["weights"] for name in ("few", "none")]
    assert np.array_equal(*svms)


def test_a_class_of_one_photograph_is_reported(inside: Cli, trained: Path, tmp_path: Path) -> None:
    """It is trained on; C is chosen and the score computed by the others."""
    photos = make_photographs(tmp_path / "made", {"photos": 6}) / "photos"
    for path in sorted((photos / "bee").iterdir())[1:]:
        path.unlink()
    done = inside("transfer", photos, trained, *FAST[:-2], "--c", "1,10", "--out", "few")
    assert (
        "There are too few photographs for both train and val, so all photographs of bee are in train." in done.stdout
    )
    assert "chosen on a fifth of 11 training images, without bee (" in done.stdout
    assert "No test image shows bee; the mean is over the other classes." in done.stdout


def test_no_group_is_on_both_sides(inside: Cli, trained: Path, tmp_path: Path) -> None:
    photos = make_photographs(tmp_path / "made", {"photos": 10}) / "photos"
    lines = [f"{path.relative_to(photos)},{path.parent.name} {int(path.stem) // 2}" for path in photos.rglob("*.jpg")]
    (tmp_path / "groups.csv").write_text("\n".join(["path,group", *lines]))
    done = inside("transfer", photos, trained, *FAST[:-2], "--c", "1,10", "--group-by", "groups.csv", "--out", "few")
    assert f"20% of each class in val (seed 0, grouped by {tmp_path / 'groups.csv'})" in done.stdout
    assert "on 6 test images" in done.stdout
    record = json.loads((tmp_path / "few" / "classifier.json").read_text())["split"]
    assert record["group_by"] == str(tmp_path / "groups.csv")
    inside("evaluate", photos, "few", "--precision", "fp32", "--out", "report")
    report = json.loads((tmp_path / "report" / "errors.json").read_text())
    assert report["split"] == "val" and report["num_images"] == 6
    (tmp_path / "groups.csv").unlink()  # what was held out is unknown now
    refused = inside("evaluate", photos, "few", check=False)
    assert refused.returncode == 1 and "groups.csv cannot be read" in refused.stderr


def test_groups_without_a_random_split_are_refused(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path
) -> None:
    """If C is to be chosen, they keep its fifth together."""
    options = (class_folders, trained, *FAST[:-2], "--group-by", r"(\d)\.jpg")
    refused = inside("transfer", *options, "--c", 1, "--out", "few", check=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "random splits, and" in refused.stderr and "has its own splits: omit it." in refused.stderr
    assert not (tmp_path / "few").exists()
    assert "chosen on a fifth" in inside("transfer", *options, "--c", "1,10", "--out", "few").stdout


def test_the_default_is_one_scale_and_its_time_is_said_first(
    inside: Cli, class_folders: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    done = inside("transfer", class_folders, trained, "--precision", "fp32", "--c", 1, "--out", "few")
    assert json.loads((tmp_path / "few" / "classifier.json").read_text())["scales"] == [256]
    assert re.search(r"Expected time: about \d+ seconds? for 45 photographs\.", done.stdout)
    done = inside("features", trained, class_folders, "--precision", "fp32", "--out", "described")
    assert re.search(r"Expected time: about \d+ seconds? for 45 photographs\.", done.stdout)
