"""``verydeep localize``: boxes on photographs, as text and as pictures."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from tests.runs import Cli, read_predictions
from tests.thin_nets import CROP, make_pictures, narrow_config, save_box_run, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.models.weights.model_folder import load_model, save_weights

SIDES = ("xmin", "ymin", "xmax", "ymax")
SHAPES = ((90, 131), (131, 90), (73, 73), (70, 210))
"""(height, width) of the photographs"""
TITLE = 48
"""Rows of a picture that hold its title, in whole blocks of JPEG."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of thin nets, with a set of pictures beside it, and photographs."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "data", 4)
    (tmp_path / "photos").mkdir()
    for number, shape in enumerate(SHAPES):
        Image.fromarray(picture(*shape, seed=50 + number)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "runs"


def leave_net(runs: Path, net: str = "D/256pcr") -> Path:
    return save_box_run(runs, PaperNet.parse(net), runs.parent / "data")


def localize(inside: Cli, *arguments: object) -> list[dict[str, Any]]:
    """Return the objects of each photograph."""
    done = inside("localize", *arguments, "--format", "json", "--precision", "fp32", "--workers", 0)
    results: dict[str, list[dict[str, Any]]] = {}
    for record in map(json.loads, done.stdout.splitlines()):
        results.setdefault(record["image"], []).append(record)
    return [{"image": image, "objects": objects} for image, objects in results.items()]


@torch.inference_mode()
def predict_positions(run: Path, photo: Path, scale: int, label: int) -> list[tuple[Any, float]]:
    """Return box, in pixels of the file, and posterior of a class at each position of a dense map."""
    (model, config), (classifier, _) = load_model(run / "model"), load_model(run / "model" / "classifier")
    image = Image.open(photo)
    short = round(scale * CROP / 224)
    factor = short / min(image.size)
    width, height = max(short, round(image.width * factor)), max(short, round(image.height * factor))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    outputs, posteriors = model(batch)[0].double().numpy(), classifier(batch).softmax(dim=1)[0].numpy()
    first = 0 if config.regression == "single-class" else 4 * label
    positions = []
    for row in range(outputs.shape[1]):
        for column in range(outputs.shape[2]):
            cx, cy, w, h = CROP * outputs[first : first + 4, row, column]
            x, y = 32 * column + cx, 32 * row + cy
            edges = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            edges *= np.tile([image.width / width, image.height / height], 2)
            limits = np.tile([image.width - 1, image.height - 1], 2)
            positions.append(((edges - [0, 0, 1, 1]).clip(0, limits), float(posteriors[label, row, column])))
    return positions


@pytest.mark.parametrize("net", ["D/256pcr", "A/384scr-fc"])
def test_unmerged_the_box_is_that_of_the_position_with_the_largest_posterior(runs: Path, inside: Cli, net: str) -> None:
    run = leave_net(runs, net)
    results = localize(inside, run, "photos", "--scales", 384, "--merge-threshold", 0, "--top", 3)
    names = load_model(run / "model")[1].class_names
    best_places = set()
    for number, result in enumerate(results):
        assert result["image"] == f"photos/{number}.png" and len(result["objects"]) == 3
        for each in result["objects"]:
            positions = predict_positions(
                run, Path(run.parent.parent, result["image"]), 384, names.index(each["class"])
            )
            assert len(positions) >= 4
            place = max(range(len(positions)), key=lambda i: positions[i][1])
            best_places.add(place)
            box, score = positions[place]
            np.testing.assert_allclose([each[side] for side in SIDES], box, atol=0.501)
            assert each["rating"] == pytest.approx(score, abs=1e-5)
    assert len(best_places) > 1


def merge_by_hand(positions: list[tuple[Any, float]], threshold: float) -> tuple[Any, float, int]:
    """Merge the two closest boxes until all are apart; return the best box, its score and the number of its members."""
    sets = [(box, score, 1) for box, score in positions]

    def distance(a: Any, b: Any) -> float:
        sides = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1).clip(min=0)
        areas = [np.prod(box[2:] - box[:2] + 1) for box in (a, b)]
        diagonals = [np.hypot(*(box[2:] - box[:2] + 1)) for box in (a, b)]
        apart = np.hypot(*((a[:2] + a[2:] - b[:2] - b[2:]) / 2))
        return float(apart / np.mean(diagonals) + 1 - sides.prod() / (sum(areas) - sides.prod()))

    while len(sets) > 1:
        pairs = [(distance(a[0], b[0]), i, j) for i, a in enumerate(sets) for j, b in enumerate(sets) if i < j]
        least, i, j = min(pairs)
        if least > threshold:
            break
        (a, s, m), (b, t, n) = sets[i], sets.pop(j)
        sets[i] = ((m * a + n * b) / (m + n), s + t, m + n)
    return max(sets, key=lambda each: each[1])


@pytest.mark.parametrize("options", [(), ("--merge-threshold", 1.3)], ids=str)
def test_boxes_of_all_positions_and_scales_are_merged(runs: Path, inside: Cli, options: tuple[object, ...]) -> None:
    run = leave_net(runs)
    names, members = load_model(run / "model")[1].class_names, []
    for result in localize(inside, run, "photos", "--scales", "320,256,288", "--top", 2, *options):
        for each in result["objects"]:
            path, label = Path(run.parent.parent, result["image"]), names.index(each["class"])
            positions = [pair for scale in (256, 288, 320) for pair in predict_positions(run, path, scale, label)]
            box, score, merged = merge_by_hand(positions, float(str(options[1])) if options else 0.5)
            np.testing.assert_allclose([each[side] for side in SIDES], box, atol=0.501)
            assert each["rating"] == pytest.approx(score, abs=1e-4)
            members.append(merged)
    assert max(members) > 1


def test_classes_are_those_of_the_source_net_or_of_a_protocol(runs: Path, inside: Cli) -> None:
    """As ``verydeep predict`` finds them, whose posteriors are those of ``evaluate``."""
    run = leave_net(runs)
    for net in ("E/256-512", "D/384"):
        save_run(runs, narrow_config(PaperNet.parse(net), runs.parent / "data"))

    def predict(net: Path, *options: object) -> dict[str, dict[str, float]]:
        common = ("--format", "json", "--precision", "fp32", "--workers", 0, "--top", 6)
        return read_predictions(inside("predict", net, "photos", *common, *options).stdout)

    def check(results: list[dict[str, Any]], expected: list[dict[str, dict[str, float]]]) -> list[str]:
        best = []
        for result in results:
            rows = [table[result["image"]] for table in expected]
            means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
            names = sorted(means, key=lambda name: -means[name])
            assert [each["class"] for each in result["objects"]] == names[:5]
            shares = [each["probability"] for each in result["objects"]]
            assert shares == pytest.approx([means[name] for name in names[:5]], abs=1e-5)
            best.append(names[0])
        return best

    own = check(localize(inside, run, "photos", "--top", 5), [predict(run / "model" / "classifier")])
    protocol = ("--classes", "E/256-512/256,384 + D/384/256,384 : center", "--top", 5)
    both = [predict(runs / name, "--scales", "256,384", "--views", "center") for name in ("E-256-512-s0", "D-384-s0")]
    assert check(localize(inside, run, "photos", *protocol), both) != own


def test_json_csv_and_table_agree(runs: Path, inside: Cli) -> None:
    run = leave_net(runs)
    results = localize(inside, run, "photos", "--top", 2)
    common = ("localize", run, "photos", "--top", 2, "--precision", "fp32", "--workers", 0)
    rows = list(csv.DictReader(io.StringIO(inside(*common, "--format", "csv").stdout)))
    assert [(row["image"], row["rank"]) for row in rows] == [
        (result["image"], rank) for result in results for rank in ("1", "2")
    ]
    table = [line.split() for line in inside(*common).stdout.splitlines()]
    assert table[0] == ["image", "class", "probability", "rating", *SIDES]
    objects = [each for result in results for each in result["objects"]]
    for each, row, line in zip(objects, rows, table[1:], strict=True):
        box = [str(each[side]) for side in SIDES]
        assert [row[side] for side in SIDES] == line[-4:] == box
        assert (row["class"], row["words"]) == (each["class"], each["words"])
        assert float(row["probability"]) == pytest.approx(each["probability"], abs=1e-6)
        assert float(row["rating"]) == pytest.approx(each["rating"], abs=1e-6)
        assert line[-7:-4] == [each["words"], f"{each['probability']:.1%}", f"{each['rating']:.2f}"]


def test_boxes_are_those_of_the_photograph_as_it_is_shown(runs: Path, inside: Cli, tmp_path: Path) -> None:
    """A file with a quarter turn in EXIF against the same photograph turned; the picture shows it upright."""
    run, upright = leave_net(runs), Image.fromarray(picture(150, 101, seed=9))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    turned, plain = localize(inside, run, "turned.png", "upright.png", "--top", 3, "--out", "out")
    pictures = [[each.pop("picture") for each in result["objects"]] for result in (turned, plain)]
    names = [[each.pop("image") for each in result["objects"]] for result in (turned, plain)]
    assert names == [["turned.png"] * 3, ["upright.png"] * 3] and turned["objects"] == plain["objects"]
    assert any(each["ymax"] > 101 for each in turned["objects"])
    with Image.open(tmp_path / pictures[0][0]) as one, Image.open(tmp_path / pictures[1][0]) as other:
        assert one.size == other.size and one.height > one.width / 2
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other))
        assert difference[TITLE:].max() < 8 and difference[:TITLE].max() > 100, "only the names of the files differ"


def test_a_picture_for_each_photograph(runs: Path, inside: Cli, tmp_path: Path) -> None:
    """No picture overwrites another or a photograph; a second run replaces the pictures of the first."""
    run = leave_net(runs)
    for name in ("a/cat.png", "b/cat.png", "b/Cat.jpg", "out/cat-boxes.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(61, 45, seed=len(name))).save(tmp_path / name)
    photograph = (tmp_path / "out/cat-boxes.jpg").read_bytes()
    for _ in range(2):
        results = localize(inside, run, "a/cat.png", "b/cat.png", "b/Cat.jpg", "out/cat-boxes.jpg", "--out", "out")
        paths = [result["objects"][0]["picture"] for result in results]
        names = ["cat-boxes-2.jpg", "cat-boxes-3.jpg", "Cat-boxes-4.jpg", "cat-boxes-boxes.jpg"]
        assert paths == [f"out/{name}" for name in names]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*names, "cat-boxes.jpg"])
    assert (tmp_path / "out/cat-boxes.jpg").read_bytes() == photograph
    done = inside("localize", run, "photos/0.png", "--precision", "fp32", "--out", "boxes")
    assert "0.png" in done.stdout and done.stdout.endswith("Pictures written: 1, in boxes/\n") and not done.stderr
    assert [path.name for path in (tmp_path / "boxes").iterdir()] == ["0-boxes.jpg"]
    assert "written" not in inside("localize", run, "photos/0.png").stdout
    Image.fromarray(picture(61, 45, seed=9)).save(tmp_path / "a" / "0.png")  # its picture is one of another photograph
    for _ in range(2):
        inside("localize", run, "a/0.png", "--precision", "fp32", "--out", "boxes")
        assert {path.name for path in (tmp_path / "boxes").iterdir()} == {"0-boxes.jpg", "0-boxes-2.jpg"}
    other = shutil.copytree(run, run.with_name("other"))
    assert localize(inside, other, "a/0.png", "--out", "boxes")[0]["objects"][0]["picture"] == "boxes/0-boxes-3.jpg"
    of_nets = [np.asarray(Image.open(tmp_path / f"boxes/0-boxes-{n}.jpg"), np.int16) for n in (2, 3)]
    difference = np.abs(of_nets[0] - of_nets[1])
    assert difference[TITLE:].max() < 8 and difference[:TITLE].max() > 100, "only the names of the nets differ"
    refused = inside("localize", run, "photos", "--out", "photos", check=False)
    assert refused.returncode == 1 and "photos is a folder of images: choose another --out" in refused.stderr
    refused = inside("localize", run, "a/cat.png", "--out", "photos", check=False)
    assert (
        refused.returncode == 1
        and "--out photos holds files that do not belong to pictures by verydeep:" in refused.stderr
    )


def test_nothing_of_photographs_is_cached(runs: Path, inside: Cli, tmp_path: Path) -> None:
    localize(inside, leave_net(runs), "photos")
    assert not list(tmp_path.glob("cache/**/*.safetensors"))


def test_files_that_cannot_be_used_are_reported_and_the_others_localized(
    runs: Path, inside: Cli, tmp_path: Path
) -> None:
    run = leave_net(runs)
    (tmp_path / "notes.jpg").write_text("these are notes")
    Image.new("RGB", (2, 3000)).save(tmp_path / "line.png")
    refused = inside("localize", run, "notes.jpg", check=False)
    assert refused.returncode == 1 and refused.stderr.startswith("verydeep: notes.jpg is not an image")
    words = ("localize", run, "notes.jpg", "photos/1.png", "line.png", "--format", "json", "--out", "boxes")
    for extra in ((), ("--bad-images", "skip")):
        done = inside(*words, *extra, check=False)
        assert done.returncode == (0 if extra else 1)
        (line,) = done.stdout.splitlines()
        assert json.loads(line)["image"] == "photos/1.png"
        written, first, second, *problem = done.stderr.splitlines()
        assert written.startswith("Pictures written: 1,") and first.startswith("Skipped: notes.jpg is not an image")
        assert second.startswith("Skipped: line.png has 2x3000 pixels")
        assert [line[:40] for line in problem] == ([] if extra else ["verydeep: 2 of 3 images have no result, "])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("D-256-s0", "photos"),
            "D-256-s0 predicts classes, not boxes: train a localization net from it, with --task localize",
        ),
        (
            ("D-256pcr-s0", "photos", "--classes", "truth"),
            "true classes of these images are unknown: give a protocol as --classes",
        ),
        (("D-256pcr-s0", "photos", "--classes", "E/384/384"), " has no net E/384"),
        (("D-256pcr-s0", "photos", "--classes", "the best"), "--classes 'the best' is wrong at character 1"),
        (("D-256pcr-s0", "nowhere.jpg"), "There is no file or folder nowhere.jpg"),
        (("D-256pcr-s0", "photos", "--top", 6), "--top 6 is out of range"),
        (("D-256pcr-s0", "photos", "--merge-threshold", -1), "--merge-threshold -1 is out of range"),
        (("nowhere", "photos"), "There is no run, model folder or weight file"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(
    runs: Path, inside: Cli, arguments: tuple[object, ...], sentence: str
) -> None:
    leave_net(runs)
    run, *others = arguments
    done = inside("localize", Path("runs", str(run)), *others, check=False)
    assert done.returncode == 1 and sentence in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_predict_sends_boxes_to_localize(runs: Path, inside: Cli) -> None:
    done = inside("predict", leave_net(runs), "photos", check=False)
    assert (
        done.returncode == 1
        and "predicts boxes: use `verydeep localize`" in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_a_net_without_its_source_net_is_refused(runs: Path, inside: Cli) -> None:
    run = leave_net(runs)
    for file in (run / "model" / "classifier").iterdir():
        file.unlink()
    done = inside("localize", run, "photos", check=False)
    assert done.returncode == 1 and "classifier" in done.stderr and done.stderr.count("\n") == 1


def test_a_net_that_overflowed_is_refused(runs: Path, inside: Cli) -> None:
    run = leave_net(runs)
    weights = load_model(run / "model")[0].state_dict()
    save_weights(run / "model", {name: tensor * 1e30 for name, tensor in weights.items()})
    done = inside("localize", run, "photos", check=False)
    assert done.returncode == 1 and "computes values that are not finite" in done.stderr and done.stdout == ""
