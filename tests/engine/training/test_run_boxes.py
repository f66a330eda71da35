"""Whole runs that learn boxes (appendix A.1), through the command line: nets, files and refusals."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.interruption import interrupt_when
from tests.rectangles import CLASSES, make_rectangles, write_classifier
from tests.runs import Cli, losses_of, metrics_of, verydeep
from verydeep.models.weights.model_folder import load_config, load_model, load_tensors

SMALL = ("--batch-size", 12, "--precision", "fp32", "--workers", 0)
JITTERED = (*SMALL, "--scale", "256-512", "--epochs", 2, "--learning-rate", 1e-3)

Box = tuple[float, float, float, float]
GroundTruth = dict[str, tuple[tuple[int, int], Box]]
"""Path below the set's folder -> width and height, and the inclusive box."""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def jittered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same net, trained at S in [256;512]."""
    return write_classifier(tmp_path_factory.mktemp("jittered"), scale="256-512")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set ``rectangles``."""
    home = tmp_path_factory.mktemp("home")
    make_rectangles(home / "rectangles", {"train": 40, "val": 8, "test": 8})
    return home


@pytest.fixture(scope="module")
def truth(home: Path) -> GroundTruth:
    """Read from the file that users would write."""
    found = GroundTruth()
    with (home / "rectangles" / "boxes.csv").open(newline="") as file:
        for path, _, *numbers in list(csv.reader(file))[1:]:
            x1, y1, x2, y2 = map(int, numbers)
            with Image.open(home / "rectangles" / path) as image:
                found[path] = image.size, (x1, y1, x2, y2)
    return found


@pytest.fixture(scope="module")
def localizer(home: Path, classifier: Path) -> Path:
    """A net with a box for each class, all of whose layers learned for 270 steps."""
    words = ("--task", "localize", "--init-from", classifier, *SMALL, "--dropout", 0, "--learning-rate", 0.005)
    verydeep("train", "rectangles", *words, "--epochs", 27, cwd=home)
    return home / "runs" / "rectangles-A-256pcr-c32-w0.0625-f16-s0"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photographs a class to train on and four to validate."""
    root = tmp_path_factory.mktemp("few")
    make_rectangles(root, {"train": 24, "val": 4})
    return root


def changed_tensors(run: Path, source: Path) -> set[str]:
    """Return the names of the tensors that differ from those of the source net."""
    before, after = load_tensors(source), load_tensors(run / "model")
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_a_run_holds_its_net_and_the_source_net(localizer: Path, classifier: Path) -> None:
    left = {path.relative_to(localizer).as_posix() for path in localizer.rglob("*") if path.is_file()}
    assert left >= {"run.json", "metrics.jsonl", "curves.png", "model/model.safetensors", "best/model.safetensors"}
    assert "evaluations/test-boxes-dense-256/errors.json" in left
    assert not [name for name in left if name.startswith("bad-boxes")]
    for name in ("config.json", "model.safetensors"):
        assert (localizer / "model" / "classifier" / name).read_bytes() == (classifier / name).read_bytes()
    model, config = load_model(localizer / "model")
    source = load_config(classifier)
    assert (config.task, config.regression, config.num_outputs) == ("localize", "per-class", 12)
    assert (config.network, config.train_scale, config.fine_tuned, config.class_names) == ("A", "256", "all", CLASSES)
    assert config.mean_rgb == source.mean_rgb
    assert model.fc8.out_channels == 12
    assert json.loads((localizer / "run.json").read_text())["regression"] == "per-class"
    assert changed_tensors(localizer, classifier) == set(load_tensors(classifier))


def test_the_constant_box_is_that_of_the_training_images(localizer: Path, truth: GroundTruth) -> None:
    """One box an image here; of several see test_setup."""
    shares = [
        [(x1 + x2 + 1) / 2 / width, (y1 + y2 + 1) / 2 / height, (x2 + 1 - x1) / width, (y2 + 1 - y1) / height]
        for path, ((width, height), (x1, y1, x2, y2)) in truth.items()
        if path.startswith("train")
    ]
    for folder in ("model", "best"):
        assert load_config(localizer / folder).constant_box == pytest.approx(np.mean(shares, axis=0))


def test_the_plan_describes_the_learning_target(localizer: Path) -> None:
    log = (localizer / "train.log").read_text()
    assert "Plan: net A learns one box for each of 3 classes" in log and re.search(r"all [\d,]+ parameters learn", log)
    assert "initialized at random (boxes are learned from random weights): fc8" in log and "conv5_2, fc6, fc7\n" in log
    assert "Boxes of train: 120 boxes on 120 of 120 images.\n" in log
    assert "guessing" not in log and "ln K" not in log and "Crops:" not in log
    assert log.index("Boxes of test: 24 boxes on 24 of 24 images.") < log.index("Plan: ")


def overlap(box: Box, other: Box) -> float:
    """IoU of inclusive boxes."""
    inside = 1.0
    for axis in (0, 1):
        inside *= max(0.0, min(box[axis + 2], other[axis + 2]) - max(box[axis], other[axis]) + 1)
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (box, other)]
    return inside / (sum(areas) - inside)


def box_of(center: tuple[float, float], sides: tuple[float, float], size: tuple[int, int]) -> Box:
    """The inclusive box within an image, from its center and sides in pixels."""
    first = [min(max(c - s / 2, 0), whole - 1) for c, s, whole in zip(center, sides, size, strict=True)]
    last = [min(c + s / 2 - 1, whole - 1) for c, s, whole in zip(center, sides, size, strict=True)]
    return first[0], first[1], last[0], last[1]


def central_crop_overlaps(localizer: Path, root: Path, truth: GroundTruth, part: str) -> list[float]:
    """Return the IoU of each image's box by the first test protocol, computed a second time."""
    model, _ = load_model(localizer / "model")
    overlaps = []
    for path, (size, box) in truth.items():
        if not path.startswith(part):
            continue
        with Image.open(root / path) as image:
            new = [round(side * 37 / min(size)) for side in size]
            pixels = np.asarray(image.convert("RGB").resize((new[0], new[1]), Image.Resampling.BILINEAR)).copy()
        left, top = (new[0] - 32) // 2, (new[1] - 32) // 2
        crop = torch.from_numpy(pixels[top : top + 32, left : left + 32]).permute(2, 0, 1)[None].float()
        label = CLASSES.index(path.split("/")[1])
        with torch.no_grad():
            x, y, width, height = model(crop).flatten()[4 * label : 4 * label + 4].tolist()
        scale = size[0] / new[0], size[1] / new[1]
        center = (left + 32 * x) * scale[0], (top + 32 * y) * scale[1]
        overlaps.append(overlap(box_of(center, (32 * width * scale[0], 32 * height * scale[1]), size), box))
    return overlaps


def test_the_net_learns_where_the_rectangle_is(localizer: Path, home: Path, truth: GroundTruth) -> None:
    overlaps = central_crop_overlaps(localizer, home / "rectangles", truth, "test")
    constant_box = load_config(localizer / "model").constant_box
    assert constant_box is not None
    constant = []
    for path, (size, box) in truth.items():
        if path.startswith("test"):
            x, y, width, height = (share * side for share, side in zip(constant_box, (*size, *size), strict=True))
            constant.append(overlap(box_of((x, y), (width, height), size), box))
    assert len(overlaps) == len(constant) == 24
    assert np.mean(np.array(constant) < 0.5) > 0.9
    assert np.mean(np.array(overlaps) < 0.5) < 0.6
    assert np.mean(overlaps) > 2.5 * np.mean(constant)


def test_the_validation_error_is_that_of_the_central_crop(localizer: Path, home: Path, truth: GroundTruth) -> None:
    overlaps = np.array(central_crop_overlaps(localizer, home / "rectangles", truth, "val"))
    low, high = (100 * np.mean(overlaps < 0.5 + rounding) for rounding in (-1e-4, 1e-4))
    *_, last = metrics_of(localizer)
    assert low - 1e-6 <= last["val_error"] <= high + 1e-6 and high - low < 10
    assert last["off_target"] == 0


def test_a_stopped_run_continues_bit_equal(few: Path, jittered: Path, tmp_path: Path, inside: Cli) -> None:
    """Stopped in the second epoch, with dropout and crops that see little of the boxes."""
    data = tmp_path / "data"
    shutil.copytree(few, data)
    words = ("train", data, "--task", "localize", "--init-from", jittered, *JITTERED)
    inside(*words, "--out", "whole")
    metrics = tmp_path / "run" / "metrics.jsonl"
    with interrupt_when(lambda: metrics.exists() and metrics.read_text().count("\n") == 9):
        assert inside(*words, "--out", "run", check=False).returncode == 130
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert len(metrics_of(run)) == 10 < len(metrics_of(whole)) == 12

    boxes = (data / "boxes.csv").read_text()
    (data / "boxes.csv").write_text(re.sub("(train/bee/003.png,bee),.*", r"\1,1,2,30,40", boxes))
    refused = inside("train", "--resume", "run", check=False)
    assert refused.returncode == 1
    assert "has changed since run began" in refused.stderr.splitlines()[-1]
    (data / "boxes.csv").write_text(boxes)

    inside("train", "--resume", "run")
    assert metrics_of(run) == metrics_of(whole)
    assert 0 < metrics_of(run)[-1]["off_target"] < 0.5
    for name in ("model/model.safetensors", "model/config.json", "model/classifier/model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_the_fc_layers_alone_can_learn_one_box_for_all_classes(
    few: Path, jittered: Path, tmp_path: Path, cli: Cli, inside: Cli
) -> None:
    """In one process and in two: the same losses and crops; the convolutions stay those of the source, bit for bit."""
    start = ("--task", "localize", "--regression", "single-class", "--fine-tune", "fc", "--init-from", jittered)
    words = ("train", few, *start, *JITTERED)
    inside(*words)
    cli(*words, "--out", "two", "--devices", 2)
    run = tmp_path / "runs" / f"{few.name}-A-256-512scr-fc-c32-w0.0625-f16-s0"
    learned = {f"fc{i}.{part}" for i in (6, 7, 8) for part in ("weight", "bias")}
    for folder in (run, tmp_path / "two"):
        assert changed_tensors(folder, jittered) == learned
        assert load_tensors(folder / "model")["fc8.weight"].shape == (4, 16, 1, 1)
    (checkpoint,) = (run / "checkpoints").iterdir()
    with safe_open(checkpoint, framework="pt") as file:
        momentum = {name for name in file.keys() if name.startswith("momentum.")}  # noqa: SIM118
    assert momentum == {f"momentum.{name}" for name in learned}
    log = (run / "train.log").read_text()
    assert "Plan: net A learns one box for all classes" in log and " parameters learn (fc6 to fc8)" in log
    assert "Crops: " in log and "each was the best of 10;" in log
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(run), rel=1e-4)
    shares = [[line["off_target"] for line in metrics_of(each) if "epoch" in line] for each in (run, tmp_path / "two")]
    assert shares[0] == shares[1] and min(shares[0]) > 0


def remove_boxes(root: Path) -> None:
    (root / "boxes.csv").unlink()


def break_a_box(root: Path) -> None:
    lines = (root / "boxes.csv").read_text().splitlines()
    lines[3] = "train/apple/002.png,apple,10,10,500,20"
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")


def reorder_classes(root: Path) -> None:
    """Class folders are sorted, so that another first letter is another order."""
    for part in ("train", "val"):
        (root / part / "apple").rename(root / part / "dill")


REFUSED: dict[str, tuple[tuple[object, ...], Callable[[Path], None] | None, str]] = {
    "no net to start from": ((), None, "--task localize starts from a classification net"),
    "fc alone, no net": (("--fine-tune", "fc"), None, "give the net as --init-from"),
    "another network": (("--init-from", "net", "--network", "D"), None, "--network D differs from net, which has A"),
    "another crop": (("--init-from", "net", "--crop", 64), None, "--crop 64 differs from net, which has 32"),
    "another width": (("--init-from", "net", "--width", 0.5), None, "--width 0.5 differs from net, which has 0.0625"),
    "a localization net": (("--init-from", "boxes"), None, "boxes is a localization net"),
    "other classes": (("--init-from", "net"), reorder_classes, "net has other classes than"),
    "no boxes": (("--init-from", "net"), remove_boxes, "with the columns path,label,xmin,ymin,xmax,ymax, or put XML"),
    "a box beyond its image": (("--init-from", "net"), break_a_box, "Line 4 of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_trainings_are_refused_before_they_start(
    case: str, few: Path, classifier: Path, localizer: Path, tmp_path: Path, inside: Cli
) -> None:
    arguments, change, message = REFUSED[case]
    shutil.copytree(few, tmp_path / "data")
    (tmp_path / "net").symlink_to(classifier)
    (tmp_path / "boxes").symlink_to(localizer)
    if change is not None:
        change(tmp_path / "data")
    refused = inside("train", "data", "--task", "localize", *arguments, *SMALL, "--out", "run", check=False)
    assert refused.returncode == 1
    assert message in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert "Measuring" not in refused.stderr
    assert not (tmp_path / "run").exists()


def test_regression_is_refused_for_classes(few: Path, inside: Cli) -> None:
    refused = inside("train", few, "--regression", "single-class", *SMALL, check=False)
    assert refused.returncode == 1
    assert "Without --task localize, --regression has no effect: omit it." in refused.stderr


def test_bad_boxes_are_clipped_or_left_out_and_listed(few: Path, classifier: Path, tmp_path: Path, inside: Cli) -> None:
    shutil.copytree(few, tmp_path / "data")
    break_a_box(tmp_path / "data")
    words = ("train", "data", "--task", "localize", "--init-from", classifier, *SMALL, "--epochs", 1)
    for choice, left, done in (("clip", 72, "clipped"), ("skip", 71, "left out")):
        inside(*words, "--bad-boxes", choice, "--out", choice)
        (problem,) = json.loads((tmp_path / choice / "bad-boxes-train.json").read_text())
        assert "Line 4 of" in problem and problem.endswith(done)
        assert load_config(tmp_path / choice / "model").provenance.num_images == left
        assert not (tmp_path / choice / "bad-boxes-val.json").exists()
        assert f"{left} boxes on {left} of 72 images; 1 {done}" in (tmp_path / choice / "train.log").read_text()
