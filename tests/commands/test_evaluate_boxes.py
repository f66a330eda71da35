"""``verydeep evaluate --task localize``: tables, files, source of classes, thresholds, submissions, refusals."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHAPES, picture
from tests.plain_boxes import best_overlap
from tests.runs import Cli, read_csv, read_report
from tests.thin_nets import (
    CLASSES,
    SIZES,
    WIDTH_OPTIONS,
    make_boxes,
    make_pictures,
    narrow_config,
    save_box_run,
    save_run,
)
from verydeep.configs.protocols import PaperNet
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes

FP32 = ("--precision", "fp32", "--workers", 0)
LOCALIZE = ("--task", "localize", *FP32)
SIDES = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with train/, val/ and test/ and boxes, and runs/."""
    root = tmp_path_factory.mktemp("made")
    for part, count, first in (("train", 1, 100), ("val", 2, 0), ("test", 1, 50)):
        make_pictures(root / "photos" / part, count, first)
    make_boxes(root / "photos")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VERYDEEP_CACHE", str(root / "cache"))
        for text, seeds in (("D/256pcr", (0,)), ("D/384pcr", (0, 1))):
            for seed in seeds:
                save_box_run(root / "runs", PaperNet.parse(text), root / "photos", seed=seed)
        save_run(root / "runs", narrow_config(PaperNet.parse("E/256-512"), root / "photos"))
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, in the folder that the test runs in."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(made / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
    return tmp_path


def read_instances(photos: Path, part: str) -> dict[str, list[list[float]]]:
    """Image of a part -> the boxes of its class."""
    boxes = defaultdict(list)
    for line in read_csv(photos / "boxes.csv"):
        inside, label, name = line["path"].split("/")
        if inside == part and line["label"] == label:
            boxes[f"{label}/{name}"].append([float(line[side]) for side in SIDES])
    return boxes


def check_report(folder: Path, photos: Path, part: str) -> dict[str, Any]:
    """Check the figures of the last row against boxes.csv and the annotations, and return the report."""
    report, lines, truth = read_report(folder), read_csv(folder / "boxes.csv"), read_instances(photos, part)
    assert {line["path"] for line in lines} == truth.keys() and report["num_images"] == len(lines)
    overlaps, right = [], []
    for line in lines:
        assert line["path"].startswith(line["label"])
        overlaps.append(best_overlap([float(line[side]) for side in SIDES], truth[line["path"]]))
        assert float(line["iou"]) == pytest.approx(overlaps[-1], abs=0.01)
        guesses = [i for i in range(1, 6) if f"class{i}" in line]
        assert len({line[f"class{i}"] for i in guesses}) == len(guesses)
        boxes = {line[f"class{i}"]: [float(line[f"{side}{i}"]) for side in SIDES] for i in guesses}
        if line["label"] in boxes:
            assert boxes[line["label"]] == [float(line[side]) for side in SIDES], "one class, one box"
        right.append(line["label"] in boxes and overlaps[-1] >= 0.5)
    last = report["rows"][-1]
    assert last["truth"]["mean_iou"]["value"] == pytest.approx(np.mean(overlaps), abs=0.005)
    assert last["truth"]["error"]["percent"] == pytest.approx(100 * np.mean(np.array(overlaps) < 0.5))
    share = 100 * np.mean(np.array(overlaps) >= 0.5)
    digits = 1 if round(share) in (0, 100) and share not in (0, 100) else 0
    assert report["summary"].startswith(
        f"Box of the true class right on {share:.{digits}f}% of {len(lines)} {report['split']} photographs ["
    )
    if last["guesses"] is not None:
        assert last["guesses"]["error"]["percent"] == pytest.approx(100 * (1 - np.mean(right)))
        missed = [line["label"] not in [line[f"class{i}"] for i in range(1, 6)] for line in lines]
        assert report["class_error"]["percent"] == pytest.approx(100 * np.mean(missed))
    return report


def test_a_run(home: Path, inside: Cli) -> None:
    done = inside("evaluate", "photos", "runs/D-384pcr-s0", *LOCALIZE, "--scales", "352,384")
    (folder,) = (home / "runs" / "D-384pcr-s0" / "evaluations").iterdir()
    assert folder.name == "val-photos-boxes-dense-352,384"
    assert {path.name for path in folder.iterdir()} >= {"errors.json", "boxes.csv", "success.png", "examples.png"}
    for name in ("success.png", "examples.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 200
    report = check_report(folder, home / "photos", "val")
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]] == [
        ("constant", [], []), ("center", [352], [50]), ("center", [384], [55]), ("dense", [352], [50]),
        ("dense", [384], [55]), ("dense", [352, 384], [50, 55]),
    ]  # fmt: skip
    assert report["classes"] == "D/384/352,384 : dense" and report["merge_thresholds"] == [0.5]
    assert [report[name] for name in ("data", "split", "weights", "precision")] == ["photos", "val", "last", "fp32"]
    table = done.stdout[done.stdout.index("D-384pcr-s0 on 12 val images") :]
    for row in report["rows"]:
        truth = row["truth"]
        shown = [str(row["view"]), f"{truth['error']['percent']:.1f} [", f"{truth['mean_iou']['value']:.3f} ±"]
        assert any(all(word in line for word in shown) for line in table.splitlines())
    assert all(note in done.stdout for note in report["remarks"])
    assert done.stdout.index(report["summary"]) < done.stdout.index(table)
    assert "Boxes of val:" in done.stdout and "Written:" in done.stdout
    assert any('the 5 most probable classes by "D/384/352,384 : dense"' in note for note in report["remarks"])
    assert any("Merge threshold: 0.5." in note for note in report["remarks"])


def test_copies_of_training_photographs_are_reported(home: Path, inside: Cli) -> None:
    source, target = (sorted((home / "photos" / part).rglob("*.png"))[0] for part in ("train", "val"))
    assert source.parent.name == target.parent.name
    target.write_bytes(source.read_bytes())
    words = ("--scales", 384, "--classes", "truth", "--bad-boxes", "clip", "--out", "tested")
    done = inside("evaluate", "photos", "runs/D-384pcr-s0", *LOCALIZE, *words)
    assert "is a copy of the training photograph" in done.stdout
    assert len(read_report(home / "tested")["copies"]) == 1


def test_several_runs_and_a_protocol_are_the_same(home: Path, inside: Cli) -> None:
    """With the true class alone, so without guesses, and with the classes of another net."""
    nets = ("runs/D-256pcr-s0", "runs/D-384pcr-s0")
    common = ("evaluate", "photos", *LOCALIZE)
    for classes, name in (("truth", "truth"), ("E/256-512/384,256 : crops", "E_256-512_256,384-crops")):
        inside(*common, *nets, "--scales", 256, "--classes", classes)
        folder = home / "runs" / "evaluations" / f"val-D-256pcr-s0+D-384pcr-s0-photos-boxes-dense-{name}-256"
        text = f"D/256pcr/256 + D/384pcr/256 @ {classes}"
        inside(*common, "--protocol", text, "--crop", 32, *WIDTH_OPTIONS, "--out", "named")
        named, report = read_report(home / "named"), check_report(folder, home / "photos", "val")
        assert named["rows"] == report["rows"] and named["classes"] == report["classes"]
        assert (home / "named" / "boxes.csv").read_text() == (folder / "boxes.csv").read_text()
        assert [row["net"] for row in report["rows"]] == ["", "D-256pcr-s0", "D-384pcr-s0", "2 nets"]
        assert (report["rows"][0]["guesses"] is None) == (report["class_error"] is None) == (classes == "truth")
        assert report["nets"] == list(nets)


def test_a_protocol_of_two_seeds_has_two_reports(home: Path, inside: Cli) -> None:
    inside("evaluate", "photos", *LOCALIZE, "--protocol", "D/384pcr/384 : center @ truth", "--crop", 32, *WIDTH_OPTIONS)
    place = home / "runs" / "evaluations" / f"val-photos-{SIZES}-D_384pcr_384-center@truth"
    assert sorted(path.name for path in place.iterdir()) == ["s0", "s1"]
    reports = [check_report(place / seed, home / "photos", "val") for seed in ("s0", "s1")]
    assert reports[0]["nets"] == ["runs/D-384pcr-s0"] and reports[1]["nets"] == ["runs/D-384pcr-s1"]
    assert [row["view"] for row in reports[0]["rows"]] == ["constant", "center"]


def test_classes_come_from_the_source_net_unless_others_are_given(home: Path, inside: Cli) -> None:
    common = ("evaluate", "photos", "runs/D-384pcr-s1", *LOCALIZE, "--scales", 384, "--views", "center")
    inside(*common, "--out", "own")
    inside(*common, "--classes", "E/256-512/384", "--out", "others")
    inside("evaluate", "photos", "runs/E-256-512-s0", *FP32, "--scales", 384, "--views", "dense", "--out", "classes")
    inside("evaluate", "photos", "runs/D-384-s1", *FP32, "--scales", 384, "--views", "center", "--out", "source")
    for boxes, classes in (("own", "source"), ("others", "classes")):
        check_report(home / boxes, home / "photos", "val")
        named = {
            line["path"]: [line[f"class{i}"] for i in range(1, 6)] for line in read_csv(home / boxes / "boxes.csv")
        }
        assert named == {
            line["path"]: [line[f"class{i}"] for i in range(1, 6)]
            for line in read_csv(home / classes / "predictions.csv")
        }
    ious = [[line["iou"] for line in read_csv(home / name / "boxes.csv")] for name in ("own", "others")]
    assert ious[0] == ious[1], "the source of classes rates no box"


def test_a_threshold_is_chosen_on_the_other_half_of_val_or_on_all_of_it(home: Path, inside: Cli) -> None:
    common = ("evaluate", "photos", "runs/D-384pcr-s0", *LOCALIZE, "--scales", "352,384")
    done = inside(*common, "--tune-threshold", "--out", "val")
    report = check_report(home / "val", home / "photos", "val")
    assert len(report["tuned_thresholds"]) == 2 and "each half of the images" in done.stdout
    assert set(report["merge_thresholds"]) == {tuned["threshold"] for tuned in report["tuned_thresholds"]}
    done = inside(*common, "--tune-threshold", "--split", "test", "--out", "test")
    (tuned,) = check_report(home / "test", home / "photos", "test")["tuned_thresholds"]
    assert "chosen on the validation split" in done.stdout and "Boxes of val" in done.stdout
    errors = {float(threshold): error for threshold, error in tuned["errors"].items()}
    for threshold in (0.0, tuned["threshold"]):
        inside(*common, "--merge-threshold", threshold, "--out", "given")
        assert read_report(home / "given")["rows"][-1]["guesses"]["error"]["percent"] == errors[threshold]
    assert errors[tuned["threshold"]] == min(errors.values())
    inside(*common, "--merge-threshold", tuned["threshold"], "--split", "test", "--out", "given")
    assert read_report(home / "given")["rows"] == read_report(home / "test")["rows"]


def test_a_flat_folder_whose_validation_images_are_tested_too_is_tuned_by_halves(home: Path, inside: Cli) -> None:
    """No threshold is used on the images that it was chosen on."""
    shutil.rmtree(home / "photos" / "train")
    shutil.rmtree(home / "photos" / "test")
    flat = (home / "photos" / "val").rename(home / "flat")
    make_boxes(home / "flat")
    common = ("evaluate", "flat", "runs/D-384pcr-s0", *LOCALIZE, "--split", "all", "--classes", "truth")
    inside(*common, "--tune-threshold", "--out", "all")
    assert len(read_report(home / "all")["tuned_thresholds"]) == 2 and flat.is_dir()


# Submissions.

WNIDS = ("n01440764", "n02007558", "n02100735", "n02110185", "n02119789", "n03126707")


@pytest.fixture
def ilsvrc(home: Path) -> Path:
    """Training and validation images with boxes in class folders, test images without labels; a run for them."""
    root = home / "ilsvrc"
    lines = ["path,label,xmin,ymin,xmax,ymax"]
    for seed, wnid in enumerate(WNIDS):
        for part, name in (("train", f"{wnid}_1.JPEG"), ("val", f"ILSVRC2012_val_0000000{seed + 1}.JPEG")):
            path = root / part / wnid / name
            path.parent.mkdir(parents=True)
            Image.fromarray(picture(*SHAPES[seed % len(SHAPES)], seed=seed)).save(path, quality=95)
            if (part, seed) != ("val", 4):
                lines.append(f"{part}/{wnid}/{name},{wnid},{5 + seed},4,{30 + seed},35")
    (root / "boxes.csv").write_text("\n".join(lines))
    (root / "test").mkdir()
    for number in (3, 1, 5, 2):
        file = root / "test" / f"ILSVRC2012_test_0000000{number}.JPEG"
        Image.fromarray(picture(*SHAPES[number % len(SHAPES)], seed=30 + number)).save(file, quality=95)
    save_box_run(home / "ilsvrc-runs", PaperNet.parse("D/384pcr"), root)
    return root


def read_submission(path: Path) -> list[list[tuple[int, list[int]]]]:
    """Return label and box of each guess, image after image, as the server reads them."""
    images = []
    for line in path.read_bytes().decode("ascii").removesuffix("\n").split("\n"):
        numbers = [int(word) for word in line.split(" ")]
        assert len(numbers) % 5 == 0 and len(numbers) // 5 <= 5
        images.append([(numbers[i], numbers[i + 1 : i + 5]) for i in range(0, len(numbers), 5)])
    return images


def test_a_submission_has_the_boxes_of_localize(home: Path, ilsvrc: Path, inside: Cli) -> None:
    """Line for line, in the order of the images' names, with the devkit's numbers of classes."""
    run = home / "ilsvrc-runs" / "D-384pcr-s0"
    common = ("--scales", "352,384", "--merge-threshold", 0.7, *FP32)
    done = inside("evaluate", "ilsvrc", run, "--task", "localize", "--split", "test", *common, "--submission", "s.txt")
    assert "Written: s.txt (4 lines)" in done.stdout and not (run / "evaluations").exists()
    names = [f"ilsvrc/test/ILSVRC2012_test_0000000{number}.JPEG" for number in (1, 2, 3, 5)]
    lines = inside("localize", run, *names, *common, "--top", 5, "--format", "json").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    ids = {wnid: known.devkit_id for wnid, known in ilsvrc_classes().items()}
    expected = [
        [(ids[each["class"]], [each[side] for side in SIDES]) for each in records if each["image"] == name]
        for name in names
    ]
    assert read_submission(home / "s.txt") == expected
    assert all(len(line) == 5 for line in expected) and len({line[0] for line in map(str, expected)}) >= 1
    for line, name in zip(expected, names, strict=True):
        with Image.open(home / name) as image:
            assert all(0 <= x1 <= x2 < image.width and 0 <= y1 <= y2 < image.height for _, (x1, y1, x2, y2) in line)


def test_labeled_images_get_a_submission_and_a_report_with_the_same_boxes(
    home: Path, ilsvrc: Path, inside: Cli
) -> None:
    """An image without a box has a line too."""
    common = ("evaluate", "ilsvrc", home / "ilsvrc-runs" / "D-384pcr-s0", "--bad-boxes", "skip", *LOCALIZE)
    done = inside(*common, "--submission", "s.txt", "--out", "report")
    lines = read_submission(home / "s.txt")
    assert len(lines) == 6 and "5 of 6 images" in done.stdout
    reported = {line["path"]: line for line in read_csv(home / "report" / "boxes.csv")}
    ids = {wnid: known.devkit_id for wnid, known in ilsvrc_classes().items()}
    assert len(reported) == 5
    for number, wnid in enumerate(WNIDS):
        line = reported.get(f"{wnid}/ILSVRC2012_val_0000000{number + 1}.JPEG")
        if line is None:
            continue
        assert [label for label, _ in lines[number]] == [ids[line[f"class{i}"]] for i in range(1, 6)]
        boxes = [[float(line[f"{side}{i}"]) for side in SIDES] for i in range(1, 6)]
        np.testing.assert_allclose([box for _, box in lines[number]], boxes, atol=0.56)


def test_the_blacklist_is_left_out_of_the_errors(home: Path, ilsvrc: Path, inside: Cli) -> None:
    common = ("evaluate", "ilsvrc", home / "ilsvrc-runs" / "D-384pcr-s0", "--bad-boxes", "skip", *LOCALIZE)
    assert "The devkit's blacklist is missing" in inside(*common, "--out", "with").stdout
    (ilsvrc / "ILSVRC2014_devkit" / "data").mkdir(parents=True)
    listed = ilsvrc / "ILSVRC2014_devkit" / "data" / "ILSVRC2014_clsloc_validation_blacklist.txt"
    listed.write_text("2\n5\n6\n49999\n")
    assert "blacklist leaves out 2 images" in inside(*common, "--out", "without").stdout
    ious = {line["path"]: float(line["iou"]) for line in read_csv(home / "without" / "boxes.csv")}
    assert len(ious) == 5
    kept = [iou for path, iou in ious.items() if not path.endswith(("2.JPEG", "6.JPEG"))]
    both = [read_report(home / name)["rows"][-1]["truth"] for name in ("with", "without")]
    assert [truth["num_images"] for truth in both] == [5, 3]
    assert both[1]["mean_iou"]["value"] == pytest.approx(np.mean(kept), abs=1e-3) != both[0]["mean_iou"]["value"]
    listed.write_text("2\nfive\n")
    refused = inside(*common, check=False)
    assert refused.returncode == 1 and "'five'" in refused.stderr and str(listed.relative_to(home)) in refused.stderr


# Refusals.


RUN, CLASSES_ALONE, BOXES = "runs/D-384pcr-s0", "runs/D-384-s0", ("--task", "localize")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (CLASSES_ALONE, *BOXES),
            [CLASSES_ALONE, "predicts classes, not boxes", "--task localize"],
        ),
        ((RUN,), [RUN, "predicts boxes", "--task localize"]),
        ((CLASSES_ALONE, RUN), [RUN, "predicts boxes"]),
        ((RUN, CLASSES_ALONE, *BOXES), [CLASSES_ALONE, "predicts classes, not boxes"]),
        ((CLASSES_ALONE, "--classes", "truth"), ["--classes", "--task localize"]),
        ((CLASSES_ALONE, "--merge-threshold", 0.4), ["--merge-threshold", "--task localize"]),
        ((CLASSES_ALONE, "--tune-threshold"), ["--tune-threshold", "--task localize"]),
        ((RUN, *BOXES, "--views", "crops"), ["--views crops", "dense or center"]),
        ((RUN, *BOXES, "--views", "dense+crops"), ["--views dense+crops"]),
        (
            ("--protocol", "D/384pcr/384 @ truth", *BOXES, "--classes", "truth"),
            ["--protocol", "--classes"],
        ),
        (("--protocol", "D/384pcr/384"), ["'D/384pcr/384'", "--task localize"]),
        (("--protocol", "D/384/384 @ truth"), ["'truth'", "classes of boxes"]),
        (("--protocol", "D/384/384", *BOXES), ["'D/384/384'", "--task classify"]),
        (("--protocol", "D/384scr/384 @ truth", *BOXES), ["D/384scr", "crop 32"]),
        (("--protocol", "D/384pcr/384 @ C/256/256", *BOXES), ["C/256", "crop 32"]),
        (("--protocol", "D/384pcr/384 : crops", *BOXES), ["'crops'", "no such view"]),
        ((RUN, *BOXES, "--classes", "E/384/384"), ["E/384", "runs"]),
        ((RUN, *BOXES, "--classes", "best"), ["--classes", "'best'"]),
        (
            (RUN, *BOXES, "--merge-threshold", 0.4, "--tune-threshold"),
            ["--merge-threshold"],
        ),
        ((RUN, *BOXES, "--merge-threshold", -1), ["--merge-threshold -1"]),
        ((RUN, *BOXES, "--submission", "s.txt"), ["'ant'", "WNIDs"]),
        (
            (RUN, *BOXES, "--submission", "s.txt", "--classes", "truth"),
            ["--submission", "truth"],
        ),
        (
            ("--protocol", "D/384pcr/384", *BOXES, "--submission", "s.txt"),
            ["--submission takes one seed", "there are 2 seeds"],
        ),
        ((RUN, *BOXES, "--scales", "200"), ["--scales"]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_mistakes_are_refused_in_one_sentence(
    home: Path, inside: Cli, arguments: tuple[object, ...], words: list[str]
) -> None:
    crop = ("--crop", 32, *WIDTH_OPTIONS) if "--protocol" in arguments else ()
    before = {path for path in home.rglob("*") if path.is_file()}
    refused = inside("evaluate", "photos", *arguments, *crop, check=False)
    assert refused.returncode == 1 and refused.stdout == "" and "Traceback" not in refused.stderr
    sentence, *pointed = refused.stderr.splitlines()
    for word in words:
        assert word in sentence
    assert pointed == [] or pointed[-1].strip() == "^"
    assert {path for path in home.rglob("*") if path.is_file()} == before


def test_the_place_of_a_mistake_is_pointed_at(home: Path, inside: Cli) -> None:
    text = "D/256pcr/256 + D/384pcx/384 : center @ truth"
    refused = inside("evaluate", "photos", "--task", "localize", "--protocol", text, check=False)
    assert refused.returncode == 1
    _, shown, caret = refused.stderr.splitlines()
    assert shown[caret.index("^") :].startswith("384pcx")


def test_data_without_boxes_or_labels(home: Path, inside: Cli) -> None:
    common = ("evaluate", "photos", "runs/D-384pcr-s0", *LOCALIZE)
    (home / "photos" / "boxes.csv").unlink()
    refused = inside(*common, check=False)
    assert refused.returncode == 1 and "photos holds no boxes" in refused.stderr
    shutil.rmtree(home / "photos" / "test")
    make_pictures(home / "photos" / "test", 1)
    for label in CLASSES:
        (home / "photos" / "test" / label / "0.png").rename(home / "photos" / "test" / f"{label}.png")
        (home / "photos" / "test" / label).rmdir()
    refused = inside(*common, "--split", "test", check=False)
    assert refused.returncode == 1 and "no labels" in refused.stderr and "--submission" in refused.stderr


def test_boxes_that_cannot_be_right(home: Path, inside: Cli) -> None:
    """An error names the line; clipped and skipped boxes are counted and listed."""
    common = ("evaluate", "photos", "runs/D-384pcr-s0", *LOCALIZE, "--classes", "truth")
    lines = (home / "photos" / "boxes.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("val/bell/0.png,bell"))
    last = max(i for i, line in enumerate(lines) if line.startswith("val/bell/0.png,bell"))
    del lines[place + 1 : last + 1]
    lines[place] = "val/bell/0.png,bell,2,3,500,40"
    (home / "photos" / "boxes.csv").write_text("\n".join(lines))
    refused = inside(*common, check=False)
    assert refused.returncode == 1 and "--bad-boxes" in refused.stderr
    assert f"Line {place + 1} of photos/boxes.csv reaches beyond the image" in refused.stderr
    for treatment, word, count in (("clip", "clipped", 12), ("skip", "left out", 11)):
        done = inside(*common, "--bad-boxes", treatment, "--out", treatment)
        assert f"Line {place + 1} of photos/boxes.csv" in done.stdout and word in done.stdout
        assert read_report(home / treatment)["num_images"] == len(read_csv(home / treatment / "boxes.csv")) == count
