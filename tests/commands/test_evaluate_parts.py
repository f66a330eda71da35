"""What `verydeep evaluate` tests: folders with some of the classes, without parts, and classifiers of `transfer`."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import Cli, make_photographs, read_csv, read_report
from tests.thin_nets import CROP, WIDTH_OPTIONS, narrow_config, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.models.weights.model_folder import load_config, load_model, save_weights

FP32 = ("--precision", "fp32", "--workers", 0)
CLASSES = ("apple", "bee", "cloud")


def check_agreement(folder: Path, score: str = "p") -> None:
    """Errors, ranks, and confusion are those of the classes in predictions.csv, whose first one is the guess."""
    lines, errors = read_csv(folder / "predictions.csv"), read_report(folder)["rows"][-1]["errors"]
    assert errors["top1"]["percent"] == pytest.approx(
        100 * np.mean([line["class1"] != line["label"] for line in lines])
    )
    for line in lines:
        scores = [float(line[f"{score}{place}"]) for place in (1, 2, 3)]
        assert line[f"class{line['rank']}"] == line["label"] and scores == sorted(scores, reverse=True)
    for row in read_csv(folder / "confusion.csv"):
        guesses = [line["class1"] for line in lines if line["label"] == row["true"]]
        assert [int(row[name]) for name in CLASSES] == [guesses.count(name) for name in CLASSES]


@pytest.fixture
def net(photographs: Path, tmp_path: Path) -> Path:
    return save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), photographs))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A flat folder with two of the three classes, four photographs of each."""
    folder = make_photographs(tmp_path / "made", {"two": 4}) / "two"
    shutil.rmtree(folder / "bee")
    return folder


def test_some_of_the_classes_are_tested_on_all(inside: Cli, net: Path, two: Path, tmp_path: Path) -> None:
    """By name, on all photographs; the errors are those of the same photographs beside the third class."""
    done = inside("evaluate", two, net, *FP32, "--out", "two")
    assert f"{two} has 2 of the net's 3 classes; missing: bee." in done.stdout
    assert "all 8 images" in done.stdout
    report = read_report(tmp_path / "two")
    assert (report["num_images"], report["split"], report["rows"][-1]["errors"]["k"]) == (8, "all", 2)
    check_agreement(tmp_path / "two")
    assert {line["class3"] for line in read_csv(tmp_path / "two" / "predictions.csv")} | {"bee"} <= set(CLASSES)
    inside("evaluate", two.parent, net, "--split", "val", *FP32, check=False)
    (two / "bee").mkdir()
    done = inside("evaluate", two, net, *FP32, "--out", "empty")
    assert f"Not used, because it is empty: {two / 'bee'}." in done.stdout
    assert f"{two} has 2 of the net's 3 classes; missing: bee." in done.stdout
    assert (tmp_path / "empty" / "predictions.csv").read_text() == (tmp_path / "two" / "predictions.csv").read_text()


def test_a_part_that_lacks_a_class_is_reported(inside: Cli, net: Path, tmp_path: Path) -> None:
    data = make_photographs(tmp_path / "data", {"train": 2, "val": 2})
    shutil.rmtree(data / "val" / "bee")
    done = inside("evaluate", data, net, *FP32, "--out", "report")
    assert f"The val images of {data / 'val'} show 2 of the net's 3 classes; missing: bee." in done.stdout
    assert read_report(tmp_path / "report")["num_images"] == 4


def test_unknown_classes_are_named(inside: Cli, net: Path, two: Path) -> None:
    (two / "cloud").rename(two / "moon")
    refused = inside("evaluate", two, net, *FP32, check=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert (
        f"{two} has a class that {net} does not know: moon. Rename or remove that class in the data set"
        in refused.stderr
    )
    for path in (two / "moon").iterdir():
        path.unlink()
    assert "missing: bee, cloud." in inside("evaluate", two, net, *FP32).stdout  # an empty folder does no harm


def test_a_protocol_finds_nets_of_more_classes(inside: Cli, net: Path, two: Path, tmp_path: Path) -> None:
    options = ("--protocol", "A/256/256", "--crop", CROP, *WIDTH_OPTIONS, *FP32, "--out", "report")
    assert "has 2 of the net's 3 classes" in inside("evaluate", two, *options).stdout
    assert read_report(tmp_path / "report")["num_images"] == 8


def test_a_folder_without_parts_is_tested_on_what_is_new(inside: Cli, tmp_path: Path) -> None:
    """The fifth that training left out, also if the folder was moved; of another folder everything, or its test/."""
    data = make_photographs(tmp_path / "made", {"photos": 5}) / "photos"
    run = save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), data, split_seed=4))
    val = inside("evaluate", data, run, *FP32, "--out", "own").stdout
    assert "3 val images" in val and "(seed 4)" in val and "training images" not in val
    (tmp_path / "elsewhere").mkdir()
    moved = data.rename(tmp_path / "elsewhere" / "photos")
    assert "3 val images" in inside("evaluate", moved, run, *FP32, "--out", "moved").stdout
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("own", "moved")]
    assert texts[0] == texts[1]
    assert "all 15 images" in inside("evaluate", moved, run, "--split", "all", *FP32, "--out", "all").stdout
    other = make_photographs(tmp_path / "other", {"train": 2})
    assert "all 6 images" in inside("evaluate", other / "train", run, *FP32, "--out", "flat").stdout
    assert "all 6 images" in inside("evaluate", other, run, *FP32, "--out", "train").stdout
    shutil.copytree(moved, other / "test")
    assert "15 test images" in inside("evaluate", other, run, *FP32, "--out", "test").stdout
    assert "3 val images" in inside("evaluate", other, run, "--split", "val", *FP32, "--out", "val").stdout


def test_a_copied_folder_is_the_same_data_if_the_sizes_of_its_files_agree(inside: Cli, tmp_path: Path) -> None:
    data = make_photographs(tmp_path / "made", {"photos": 5}) / "photos"
    run = save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), data, split_seed=4))
    inside("evaluate", data, run, *FP32, "--out", "own")
    copied = shutil.copytree(data, tmp_path / "fl7")
    done = inside("evaluate", copied, run, *FP32, "--out", "copied").stdout
    assert "3 val images" in done and "cop" not in done.replace("copied", "")
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("own", "copied")]
    assert texts[0] == texts[1]
    for path in (copied / "bee").iterdir():
        path.write_bytes(path.read_bytes() + b"0")
    assert "all 15 images" in inside("evaluate", copied, run, *FP32, "--out", "other").stdout


def test_an_evaluation_of_changed_data_does_not_replace_that_of_the_training(inside: Cli, tmp_path: Path) -> None:
    data = make_photographs(tmp_path / "made", {"photos": 5}) / "photos"
    run = save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), data, split_seed=4))
    inside("evaluate", data, run, *FP32)
    (own,) = (run / "evaluations").iterdir()
    before = (own / "errors.json").read_bytes()
    for number in range(4):
        shutil.copy(data / "bee" / "001.jpg", data / "bee" / f"new{number}.jpg")
    assert "The data set has changed since the training" in inside("evaluate", data, run, *FP32).stdout
    (changed,) = set((run / "evaluations").iterdir()) - {own}
    assert changed.name.startswith(f"{own.name}-changed-") and (own / "errors.json").read_bytes() == before


def test_copies_of_training_photographs_are_reported(inside: Cli, tmp_path: Path) -> None:
    data = make_photographs(tmp_path / "data", {"train": 4, "val": 2, "test": 2})
    run = save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), data))
    assert "copy" not in inside("evaluate", data, run, *FP32).stdout
    shutil.copy(data / "train" / "bee" / "001.jpg", data / "val" / "bee" / "again.jpg")
    done = inside("evaluate", data, run, *FP32, "--out", "report")
    pair = ("val/bee/again.jpg", "train/bee/001.jpg")
    assert f"{pair[0]} is a copy of the training photograph {pair[1]}, so the error is optimistic" in done.stdout
    assert read_report(tmp_path / "report")["copies"] == dict([pair])
    elsewhere = tmp_path / "elsewhere" / "bee"
    elsewhere.mkdir(parents=True)
    shutil.copy(data / "train" / "bee" / "002.jpg", elsewhere / "x.jpg")
    assert (
        "elsewhere/bee/x.jpg is a copy of the training photograph data/train/bee/002.jpg"
        in inside("evaluate", elsewhere.parent, run, *FP32).stdout
    )
    done = inside("evaluate", data, run, "--split", "train", *FP32)
    assert "copy" not in done.stdout and "These are the training images" in done.stdout


def test_a_renamed_folder_is_the_same_data(inside: Cli, tmp_path: Path) -> None:
    """For nets and classifiers, what is new is tested, or all with a remark; of a changed folder, all with another."""
    gone = make_photographs(tmp_path / "made", {"gone": 10}) / "gone"
    run, classifier = save_run(tmp_path / "runs", narrow_config(PaperNet.parse("A/256"), gone)), "classifier"
    inside("transfer", gone, run, "--scales", 256, "--c", 1, *FP32, "--out", classifier)
    renamed = gone.rename(tmp_path / "gone2")
    for model in (run, classifier):
        done = inside("evaluate", renamed, model, *FP32)
        assert "6 val images" in done.stdout and "could not be searched for copies" not in done.stdout
        done = inside("evaluate", renamed, model, "--split", "all", *FP32)
        assert f"{model} are among these images" in done.stdout
    done = inside("transfer", renamed, run, "--seed", 3, "--scales", 256, "--c", 1, *FP32, "--out", "other")
    assert "may have learned from some of the test images" in done.stdout
    (renamed / "bee" / "000.jpg").rename(renamed / "bee" / "new.jpg")
    for model in (run, classifier):
        text = inside("evaluate", renamed, model, *FP32).stdout
        assert (
            "all 30 images" in text
            and f"{model} are no longer in {gone}, so the test photographs could not be searched" in text
        )
        assert "if these are the same photographs, --split val tests on those held out." in text


def test_equal_scores_are_broken_alike_everywhere(inside: Cli, net: Path, photographs: Path, tmp_path: Path) -> None:
    """A net whose outputs are all equal predicts the first class, and is right where that is true."""
    model, _ = load_model(net / "model")
    with torch.no_grad():
        model.fc8.weight.zero_()
        model.fc8.bias.zero_()
    save_weights(net / "model", model.state_dict())
    inside("evaluate", photographs, net, *FP32, "--out", "report")
    check_agreement(tmp_path / "report")
    lines = read_csv(tmp_path / "report" / "predictions.csv")
    assert all([line[f"class{place}"] for place in (1, 2, 3)] == list(CLASSES) for line in lines)
    assert read_report(tmp_path / "report")["rows"][-1]["errors"]["top1"]["percent"] == pytest.approx(200 / 3)
    done = inside("predict", net, photographs / "val", *FP32, "--format", "csv")
    assert [row["class"] for row in csv.DictReader(done.stdout.splitlines())] == list(CLASSES) * 15


@pytest.fixture
def classifier(inside: Cli, net: Path, photographs: Path, tmp_path: Path) -> Path:
    options = ("--scales", 256, "--c", 1, *FP32, "--out", "few")
    inside("transfer", photographs, net, "--split", "val", *options)
    return tmp_path / "few"


def test_a_classifier_is_tested_like_a_net(
    inside: Cli, classifier: Path, net: Path, photographs: Path, two: Path, tmp_path: Path
) -> None:
    """Its recall is the score that `transfer` gave it; its scores are margins, and nothing is calibrated."""
    done = inside("evaluate", photographs, classifier, *FP32)
    folder = classifier / "evaluations" / f"val-{photographs.name}"
    report, score = read_report(folder), json.loads((classifier / "transfer.json").read_text())["score"]
    assert report["rows"][-1]["errors"]["class_recall"]["percent"] == pytest.approx(score)
    assert report["expected_calibration_error"] is None and "calibration" not in done.stdout
    assert (report["classifier"], report["num_images"]) == (str(classifier), 15)
    check_agreement(folder, "margin")
    assert {path.name for path in folder.iterdir()} >= {"examples.png", "confusion.png", "classes.csv"}
    done = inside("evaluate", two, classifier, *FP32, "--out", "two")
    assert f"{two} has 2 of the classifier's 3 classes; missing: bee." in done.stdout
    predicted = inside("predict", classifier, two, *FP32, "--top", 1, "--format", "csv").stdout.splitlines()
    first = {Path(row["image"]).relative_to(two).as_posix(): row["class"] for row in csv.DictReader(predicted)}
    assert first == {line["path"]: line["class1"] for line in read_csv(tmp_path / "two" / "predictions.csv")}
    done = inside("evaluate", photographs, classifier, "--split", "train", *FP32)
    assert f"These are the training images of {net}, {classifier}." in done.stdout


def test_a_classifier_is_tested_on_what_is_new(inside: Cli, net: Path, tmp_path: Path) -> None:
    """The fifth that `transfer` left out; of photographs drawn by number, all, and a note."""
    data = make_photographs(tmp_path / "made", {"photos": 5}) / "photos"
    options = ("--scales", 256, "--c", 1, *FP32)
    inside("transfer", data, net, "--seed", 6, *options, "--out", "fifth")
    done = inside("evaluate", data, "fifth", *FP32)
    assert "3 val images" in done.stdout and "(seed 6)" in done.stdout
    inside("transfer", data, net, "--num-train", 2, *options, "--out", "drawn")
    done = inside("evaluate", data, "drawn", *FP32)
    assert "all 15 images" in done.stdout and "The training images of drawn are among these images" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--views", "crops"), "A classifier has its own test scales and view: omit --views.\n"),
        (("--scales", 256), "A classifier has its own test scales and view: omit --scales.\n"),
        (("--merge-threshold", 0.5), "Without --task localize, --merge-threshold has no effect: omit it.\n"),
        (("--submission", "x.txt"), "--submission is for nets of ILSVRC's classes"),
        (("few",), "few is a classifier, which is tested alone: name one run"),
    ],
)
def test_what_a_classifier_cannot_do_is_refused(
    inside: Cli, classifier: Path, photographs: Path, options: tuple[object, ...], message: str
) -> None:
    refused = inside("evaluate", photographs, classifier, *options, *FP32, check=False)
    assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1


def test_a_net_of_other_words_keeps_its_order(inside: Cli, net: Path, two: Path, tmp_path: Path) -> None:
    """Classes that another system sorted differently; the figures are the same."""
    inside("evaluate", two, net, *FP32, "--out", "sorted")
    model, config = load_model(net / "model")
    with torch.no_grad():
        for parameter in (model.fc8.weight, model.fc8.bias):
            parameter.copy_(parameter.flip(0))
    save_weights(net / "model", model.state_dict())
    path = net / "model" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "class_names": CLASSES[::-1], "class_words": CLASSES[::-1]}))
    assert load_config(net / "model").class_names == config.class_names[::-1]
    inside("evaluate", two, net, *FP32, "--out", "reversed")
    lines = [read_csv(tmp_path / name / "predictions.csv") for name in ("sorted", "reversed")]
    assert [line["class1"] for line in lines[0]] == [line["class1"] for line in lines[1]]
