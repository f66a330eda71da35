"""``verydeep evaluate``: tables, files, protocols in words, the test server's file, and refusals."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.conftest import SHAPES, picture
from tests.kills import Forker
from tests.runs import SMALL_NET, Cli, make_photographs, read_csv, read_predictions, read_report
from tests.thin_nets import SIZES, WIDTH_OPTIONS, narrow_config, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.models.weights.model_folder import ModelConfig, load_config, save_config

CLASSES = ("apple", "bee", "cloud")


def posteriors_of(folder: Path) -> dict[str, list[float]]:
    """Image -> the posteriors of the three classes, from predictions.csv."""
    found = {}
    for line in read_csv(folder / "predictions.csv"):
        posteriors = {line[f"class{i}"]: float(line[f"p{i}"]) for i in (1, 2, 3)}
        found[line["path"]] = [posteriors[name] for name in CLASSES]
    return found


def files_below(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_errors_and_predictions_agree(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    options = ("--scales", "256,384", "--views", "dense+crops", "--precision", "fp32", "--out", "report")
    done = inside("evaluate", photographs, trained, *options)
    assert "256 (37)" in done.stdout and "384 (55)" in done.stdout and "fp32" in done.stdout
    report, lines = read_report(tmp_path / "report"), read_csv(tmp_path / "report" / "predictions.csv")
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]] == [
        ("center", [256], [37]), ("center", [384], [55]), ("dense", [256], [37]), ("dense", [384], [55]),
        ("crops", [256], [37]), ("crops", [384], [55]), ("dense", [256, 384], [37, 55]),
        ("crops", [256, 384], [37, 55]), ("dense+crops", [256, 384], [37, 55]),
    ]  # fmt: skip
    assert report["rows"][2]["geometry"][0]["map_height"] == 2
    assert 0.2 < report["rows"][2]["geometry"][0]["inside"] < 0.5  # about a third at crop 32
    assert len(lines) == report["num_images"] == 15
    for line in lines:
        assert line["path"].startswith(line["label"])
        shares = [float(line[f"p{i}"]) for i in (1, 2, 3)]
        assert abs(sum(shares) - 1) < 1e-4 and shares == sorted(shares, reverse=True)
        assert line[f"class{line['rank']}"] == line["label"]
    agree(report, lines, tmp_path / "report")
    left = {path.name for path in (tmp_path / "report").iterdir()}
    names = {"errors.json", "predictions.csv", "classes.csv", "confusion.csv", "confusion.png", "examples.png"}
    assert left == names | {"environment.json", "report.html"}
    for name in ("confusion.png", "examples.png"):
        with Image.open(tmp_path / "report" / name) as image:
            assert min(image.size) > 200


def agree(report: dict[str, Any], lines: list[dict[str, str]], folder: Path) -> None:
    """The last row's errors, the classes and the confusions are what predictions.csv says."""
    errors, wrong = report["rows"][-1]["errors"], [line["class1"] != line["label"] for line in lines]
    assert errors["top1"]["percent"] == pytest.approx(100 * np.mean(wrong))
    assert errors["topk"]["percent"] == pytest.approx(100 * np.mean([line["rank"] == "3" for line in lines]))
    assert (errors["k"], errors["num_images"]) == (2, len(lines))
    cells = Counter((line["label"], line["class1"]) for line in lines)
    confusion = read_csv(folder / "confusion.csv")
    assert [line["true"] for line in confusion] == list(CLASSES)
    assert {(line["true"], name): int(line[name]) for line in confusion for name in CLASSES} == {
        (true, name): cells[true, name] for true in CLASSES for name in CLASSES
    }
    recalls = []
    for line, name in zip(read_csv(folder / "classes.csv"), CLASSES, strict=True):
        count = sum(each["label"] == name for each in lines)
        recalls.append(cells[name, name] / count)
        assert (line["class"], line["words"], int(line["images"])) == (name, name, count)
        assert float(line["error"]) == pytest.approx(100 * (1 - recalls[-1]), abs=0.005)
        assert 0 <= float(line["low"]) <= float(line["error"]) <= float(line["high"]) <= 100
    assert errors["class_recall"]["percent"] == pytest.approx(100 * np.mean(recalls))
    gaps: Counter[int] = Counter()
    for line, missed in zip(lines, wrong, strict=True):  # fifteen bins of the most probable class's posterior
        gaps[int(np.ceil(15 * float(line["p1"])))] += (not missed) - float(line["p1"])  # type: ignore[assignment]
    expected = 100 * sum(map(abs, gaps.values())) / len(lines)
    assert report["expected_calibration_error"] == pytest.approx(expected, abs=0.01)


def test_images_that_the_net_has_seen_are_named(inside: Cli, tmp_path: Path) -> None:
    data = make_photographs(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    inside("train", data, *SMALL_NET, "--batch-size", 3, "--epochs", 74, "--out", "run")
    done = inside("evaluate", data, "run")
    assert "decided when the learning rate of" in done.stdout
    assert "The weights of run were chosen" in inside("evaluate", data, "run", "--weights", "best").stdout
    unseen = inside("evaluate", data, "run", "--split", "test").stdout
    assert "learning rate of run dropped" not in unseen and "training images" not in unseen
    assert "These are the training images of run" in inside("evaluate", data, "run", "--split", "train").stdout
    left = {path.name for path in (tmp_path / "run" / "evaluations").iterdir()}
    assert {"val-dense-256", "val-dense-256-best", "test-dense-256", "train-dense-256"} <= left


@pytest.fixture
def runs(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A/256 and D/256-512 of seeds 0 and 1, E/256 of seed 1 alone: thin, but called the paper's."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    for text, seeds in (("A/256", (0, 1)), ("D/256-512", (0, 1)), ("E/256", (1,))):
        for seed in seeds:
            save_run(tmp_path / "runs", narrow_config(PaperNet.parse(text), photographs, seed=seed))
    return tmp_path / "runs"


FP32 = ("--precision", "fp32", "--workers", 0)


def test_several_runs_are_an_ensemble(runs: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    nets = (runs / "A-256-s0", runs / "D-256-512-s0")
    for name, chosen in (("first", nets[:1]), ("second", nets[1:]), ("both", nets)):
        inside("evaluate", photographs, *chosen, "--scales", "256,512", *FP32, "--out", name)
    first, second, both = (posteriors_of(tmp_path / name) for name in ("first", "second", "both"))
    assert first.keys() == both.keys() and len(both) == 15
    for path, posteriors in both.items():
        assert posteriors == pytest.approx(np.mean([first[path], second[path]], axis=0), abs=2e-6)
    assert max(abs(a - b) for path in first for a, b in zip(first[path], second[path], strict=True)) > 0.01
    inside("evaluate", photographs, *nets, "--scales", "512,256", *FP32)
    (beside,) = (runs / "evaluations").iterdir()  # of several runs, the folder that holds them
    assert beside.name == f"val-A-256-s0+D-256-512-s0-{photographs.name}-dense-256,512"
    assert (beside / "predictions.csv").read_text() == (tmp_path / "both" / "predictions.csv").read_text()
    report = read_report(tmp_path / "both")
    assert [(row["net"], row["view"], row["scales"], row["pixels"]) for row in report["rows"]] == [
        ("A-256-s0", "dense", [256, 512], [37, 73]), ("D-256-512-s0", "dense", [256, 512], [37, 73]),
        ("2 nets", "center", [], []), ("2 nets", "dense", [], []),
    ]  # fmt: skip
    assert report["nets"] == list(map(str, nets))
    agree(report, read_csv(tmp_path / "both" / "predictions.csv"), tmp_path / "both")


@pytest.mark.parametrize("view", ["dense", "crops"])
def test_a_protocol_is_the_same_runs_named(
    runs: Path, photographs: Path, inside: Cli, tmp_path: Path, view: str
) -> None:
    """One report for each seed that has both nets; the nets at scales of their own."""
    text = "A/256/256 + D/256-512/512,256,384" + (" : crops" if view == "crops" else "")
    inside("evaluate", photographs, "--protocol", text, "--crop", 32, *WIDTH_OPTIONS, *FP32)
    name = f"val-{photographs.name}-{SIZES}-A_256_256+D_256-512_256,384,512" + ("-crops" if view == "crops" else "")
    assert [path.name for path in (runs / "evaluations").iterdir()] == [name]
    written = sorted((runs / "evaluations" / name).iterdir())
    assert [path.name for path in written] == ["s0", "s1"]
    for seed, folder in enumerate(written):
        nets = (f"runs/A-256-s{seed}", f"runs/D-256-512-s{seed}")
        inside("evaluate", photographs, *nets, "--views", view, *FP32, "--out", f"named{seed}")
        for file in ("predictions.csv", "classes.csv", "confusion.csv", "errors.json"):
            assert (folder / file).read_text() == (tmp_path / f"named{seed}" / file).read_text()
    assert (written[0] / "predictions.csv").read_text() != (written[1] / "predictions.csv").read_text()


def test_only_seeds_that_have_all_nets_are_reported(runs: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    inside("evaluate", photographs, "--protocol", "E/256/256", "--crop", 32, *WIDTH_OPTIONS, *FP32, "--out", "one")
    assert read_report(tmp_path / "one")["nets"] == ["runs/E-256-s1"]
    inside("evaluate", photographs, "--protocol", "A/256/256", "--crop", 32, *WIDTH_OPTIONS, *FP32, "--out", "several")
    assert sorted(path.parent.name for path in (tmp_path / "several").rglob("errors.json")) == ["s0", "s1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--protocol", "A/256/256 + D/300x/256"), ["'300x'", "train scale"]),
        (("--protocol", "A/256/256 : denser"), ["'denser'", "no such view"]),
        (("--protocol", "A/256/200"), ["'200'", "224"]),
        (("--protocol", "A/256/256 + C/256/256"), ["C/256", "crop 32", "runs"]),
        (("--protocol", "A/256/256 + E/256/256", "--crop", 64), ["A/256", "crop 64"]),
        (("--protocol", "A/256/256", "--runs", "nowhere"), ["nowhere", "A/256"]),
        (("runs/A-256-s0", "--scales", "200,256"), ["--scales", "224"]),
        (("runs/A-256-s0", "--scales", "256,x"), ["--scales"]),
        ((), ["RUN is missing: give the nets to test, or --protocol."]),
        (
            ("runs/A-256-s0", "--protocol", "A/256/256"),
            ["--protocol names the nets to test, and so does RUN: omit one"],
        ),
        (("--protocol", "A/256/256", "--scales", "256"), ["--protocol already contains", "leave --scales out"]),
        (("--protocol", "A/256/256", "--views", "crops"), ["--protocol already contains", "leave --views out"]),
        (("--protocol", "A/256/256", "--weights", "best"), ["A/256", "runs"]),
        (("runs/nothing",), ["runs/nothing"]),
        (("runs/A-256-s0", "runs/E-256-s1", "runs/A-256-s0/"), ["twice"]),
        (("runs",), ["runs"]),
        (("runs/A-256-s0", "--split", "part"), ["'part'", "train, val, test"]),
        (("runs/A-256-s0", "--submission", "guesses.txt"), ["'apple'", "WNIDs"]),
        (
            ("--protocol", "D/256-512/384", "--submission", "guesses.txt"),
            ["--submission takes one seed", "there are 2 seeds"],
        ),
        (("runs/A-256-s0", "--devices", 0), ["--devices"]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_bad_input_is_refused_in_one_sentence(
    runs: Path, photographs: Path, inside: Cli, tmp_path: Path, arguments: tuple[object, ...], words: list[str]
) -> None:
    before = files_below(tmp_path)
    crop = () if "--crop" in arguments or "--protocol" not in arguments else ("--crop", 32, *WIDTH_OPTIONS)
    refused = inside("evaluate", photographs, *arguments, *crop, check=False)
    assert refused.returncode == 1 and refused.stdout == ""
    sentence = refused.stderr.splitlines()[0]
    assert sentence.startswith("verydeep: ") and sentence.endswith(".") and "Traceback" not in refused.stderr
    for word in words:
        assert word in sentence
    assert files_below(tmp_path) == before


def test_a_protocol_of_the_best_weights(runs: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """Which only one seed has."""
    config = load_config(runs / "A-256-s1" / "model")
    best = save_run(tmp_path / "aside", replace(config, seed=8), "best") / "model"
    shutil.copytree(best, runs / "A-256-s1" / "best")
    save_config(runs / "A-256-s1" / "best", config)
    common = ("evaluate", photographs, "--weights", "best", *FP32)
    inside(*common, "--protocol", "A/256/256", "--crop", 32, *WIDTH_OPTIONS, "--out", "protocol")
    inside(*common, "runs/A-256-s1", "--out", "named")
    inside("evaluate", photographs, "runs/A-256-s1", *FP32, "--out", "last")
    of_protocol, named, last = (posteriors_of(tmp_path / name) for name in ("protocol", "named", "last"))
    assert of_protocol == named != last


def test_nets_of_different_crops_are_fused(runs: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """Q is relative to each net's own crop."""
    larger = replace(narrow_config(PaperNet.parse("A/256"), photographs), crop=64)
    save_run(runs, larger, "larger")
    inside("evaluate", photographs, "runs/A-256-s0", "runs/larger", "--views", "center", *FP32, "--out", "both")
    assert [row["pixels"] for row in read_report(tmp_path / "both")["rows"]] == [[37], [73], []]


def test_pictures_are_not_written_among_the_photographs(trained: Path, photographs: Path, inside: Cli) -> None:
    for folder, message in (
        (photographs, "is the folder of the data set: choose another one"),
        (photographs / "val" / "results", f"is inside of the data set {photographs / 'val'}"),
    ):
        refused = inside("evaluate", photographs, trained, "--out", folder, check=False)
        assert refused.returncode == 1 and message in refused.stderr
    assert sorted(path.name for path in photographs.iterdir()) == ["test", "train", "val"]


def test_files_of_others_are_not_replaced(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """A folder of evaluations takes further ones; another errors.json does not make it one."""
    common = ("evaluate", photographs, trained, "--views", "center", *FP32)
    for name in ("classes.csv", "errors.json"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text('{"rows": 3}')
        refused = inside(*common, "--out", "mine", check=False)
        assert refused.returncode == 1
        assert (
            refused.stderr
            == "verydeep: --out mine holds files that do not belong to evaluations: choose a new folder.\n"
        )
    assert {path.read_text() for path in (tmp_path / "mine").iterdir()} == {'{"rows": 3}'}
    (tmp_path / "own").mkdir()
    for out in ("own/a", "own", "own"):
        inside(*common, "--out", out)


def test_a_message_points_at_the_mistake(photographs: Path, inside: Cli) -> None:
    refused = inside("evaluate", photographs, "--protocol", "A/256/256 + D/300x/256 : crops", check=False)
    _, shown, caret = refused.stderr.splitlines()
    assert shown[caret.index("^") :] == "300x/256 : crops"


def test_two_runs_of_one_seed_are_refused(runs: Path, photographs: Path, inside: Cli) -> None:
    save_run(runs, narrow_config(PaperNet.parse("E/256"), photographs, seed=1), "again")
    refused = inside("evaluate", photographs, "--protocol", "E/256/256", "--crop", 32, *WIDTH_OPTIONS, check=False)
    assert refused.returncode == 1 and "E-256-s1" in refused.stderr and "again" in refused.stderr


def test_other_classes_are_refused(trained: Path, tmp_path: Path, inside: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 2, "val": 2})
    (data / "train" / "bee").rename(data / "train" / "beetle")
    (data / "val" / "bee").rename(data / "val" / "beetle")
    before = files_below(tmp_path, trained)
    refused = inside("evaluate", data, trained, check=False)
    assert (
        refused.returncode == 1
        and "does not know: beetle. Rename or remove that class in the data set; the net knows apple, bee, cloud"
        in refused.stderr
    )
    assert files_below(trained).items() <= before.items()
    assert not (tmp_path / "cache").exists()


def test_the_second_nets_classes_count_too(trained: Path, photographs: Path, tmp_path: Path, inside: Cli) -> None:
    other = tmp_path / "other"
    save_config(other, ModelConfig("A", ("apple", "bee", "moon"), ("apple", "bee", "moon"), crop=32))
    refused = inside("evaluate", photographs, trained, other, check=False)
    assert refused.returncode == 1 and f"a class that {other} does not know: cloud" in refused.stderr


def test_images_without_labels_have_no_error(trained: Path, tmp_path: Path, inside: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 2, "val": 2})
    (data / "test").mkdir()
    (data / "val" / "bee" / "000.jpg").rename(data / "test" / "000.jpg")
    before = files_below(tmp_path, trained)
    refused = inside("evaluate", data, trained, "--split", "test", check=False)
    assert refused.returncode == 1 and "no labels" in refused.stderr and "--submission" in refused.stderr
    assert files_below(tmp_path, trained) == before


def test_an_unconverged_net_is_named(runs: Path, photographs: Path, inside: Cli) -> None:
    for converged in (True, False):
        net = save_run(runs, narrow_config(PaperNet.parse("B/256"), photographs, converged=converged), f"b-{converged}")
        output = inside("evaluate", photographs, net, *FP32).stdout
        assert ("Not converged" in output) is not converged


def test_a_folder_that_was_split_differently_is_named(inside: Cli, tmp_path: Path) -> None:
    """A flat folder is divided as the net's seed says; the second net's division is another."""
    data = make_photographs(tmp_path / "parts", {"train": 6}) / "train"
    config = narrow_config(PaperNet.parse("A/256"), data, split_seed=0)
    other = narrow_config(PaperNet.parse("A/256"), data, split_seed=5)
    assert config.split != other.split
    first, second = (save_run(tmp_path / "runs", each, name) for each, name in ((config, "a"), (other, "b")))
    assert "was split differently" not in inside("evaluate", data, first, *FP32).stdout
    output = inside("evaluate", data, first, second, *FP32).stdout
    assert f"The data set has changed since the training of {second}, or was split differently" in output


def test_posteriors_that_cannot_be_cached_are_reported(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside("evaluate", photographs, trained, *FP32, "--out", "kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "posteriors").write_text("no folder")
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "full"))
    done = inside("evaluate", photographs, trained, *FP32, "--out", "not-kept")
    assert "could not be cached" in done.stdout and str(tmp_path / "full") in done.stdout.replace("\n", "")
    assert any("could not be cached" in note for note in read_report(tmp_path / "not-kept")["remarks"])
    cached, uncached = posteriors_of(tmp_path / "kept"), posteriors_of(tmp_path / "not-kept")
    for path, posteriors in cached.items():
        assert uncached[path] == pytest.approx(posteriors, abs=1e-5)


def test_two_processes_share_the_images(
    forker: Forker, trained: Path, photographs: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caches its own share, no image twice; then one process needs to compute nothing."""
    common = ("evaluate", photographs, trained, "--scales", "256", "--views", "dense+crops", *FP32)
    forker.run_in_two_processes(tmp_path, *common, "--out", "two-processes", cache="two")
    for view in ("center", "dense", "crops"):
        kept = list((tmp_path / "two" / "posteriors").glob(f"*/{view}-256/*.safetensors"))
        assert len({path.stem.split("-")[1] for path in kept}) == 2
        assert sorted(index for path in kept for index in load_file(path)["keys"].tolist()) == list(range(15))
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "one"))
    inside(*common, "--out", "one-process")
    alone, together = (posteriors_of(tmp_path / name) for name in ("one-process", "two-processes"))
    assert alone.keys() == together.keys() and len(together) == 15
    for path, posteriors in together.items():
        assert posteriors == pytest.approx(alone[path], abs=1e-5)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "two"))
    kept = files_below(tmp_path / "two")
    inside(*common, "--out", "again")
    assert files_below(tmp_path / "two") == kept
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("two-processes", "again")]
    assert texts[0] == texts[1]


WNIDS = ("n01440764", "n02007558", "n02100735", "n02110185", "n02119789", "n03126707", "n03255030")
TEST_IMAGES = [f"ILSVRC2012_test_0000000{number}.JPEG" for number in (3, 1, 5, 2, 4, 6)]


def save_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*SHAPES[seed % len(SHAPES)], seed=seed)).save(path, "JPEG", quality=95)


def prepared(root: Path) -> Path:
    """As `verydeep prepare ilsvrc` leaves it."""
    for seed, wnid in enumerate(WNIDS):
        save_picture(root / "train" / wnid / f"{wnid}_1.JPEG", seed)
        save_picture(root / "val" / wnid / f"ILSVRC2012_val_0000000{seed + 1}.JPEG", 20 + seed)
    for seed, name in enumerate(TEST_IMAGES):
        save_picture(root / "test" / name, 40 + seed)
    return root


def kaggle(root: Path) -> Path:
    """Kaggle's tree, its test images in folders that sort otherwise than the images' names."""
    images, lines = root / "ILSVRC" / "Data" / "CLS-LOC", ["ImageId,PredictionString"]
    for seed, wnid in enumerate(WNIDS):
        save_picture(images / "train" / wnid / f"{wnid}_1.JPEG", seed)
        save_picture(images / "val" / f"ILSVRC2012_val_0000000{seed + 1}.JPEG", 20 + seed)
        lines.append(f"ILSVRC2012_val_0000000{seed + 1},{wnid} 1 1 20 20 ")
    for seed, name in enumerate(TEST_IMAGES):
        save_picture(images / "test" / str(9 - seed) / name, 40 + seed)
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} some words\n" for wnid in WNIDS))
    (root / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("make", [prepared, kaggle])
def test_the_test_servers_file(make: Any, tmp_path: Path, inside: Cli) -> None:
    """Line for line what predict says of the images, in the order of their names, in the devkit's numbers."""
    data = make(tmp_path / "data")
    net = save_run(
        tmp_path,
        ModelConfig("A", WNIDS, WNIDS, crop=32, width=1 / 16, fc_width=12, mean_rgb=(131.0, 96.0, 57.0)),
        "net",
    )
    common = ("--views", "dense+crops", "--scales", "256,384", *FP32)
    done = inside("evaluate", data, net, "--split", "test", *common, "--submission", "new/guesses.txt")
    assert "6 lines" in done.stdout
    numbers = {wnid: known.devkit_id for wnid, known in ilsvrc_classes().items()}
    assert [numbers[wnid] for wnid in ("n02119789", "n02100735", "n02110185", "n01440764")] == [1, 2, 3, 449]
    where = {path.name: path for path in data.rglob("ILSVRC2012_test_*.JPEG")}
    ordered = [where[name] for name in sorted(TEST_IMAGES)]
    predictions = read_predictions(inside("predict", net, *ordered, *common, "--format", "json", "--top", 5).stdout)
    expected = [" ".join(str(numbers[name]) for name in classes) for classes in predictions.values()]
    assert len(set(expected)) >= 4
    assert (tmp_path / "new" / "guesses.txt").read_bytes().decode("ascii") == "\n".join(expected) + "\n"
    assert not (net / "evaluations").exists()
    done = inside("evaluate", data, net, "--split", "val", *FP32, "--submission", "val.txt", "--out", "report")
    assert len((tmp_path / "val.txt").read_text().splitlines()) == len(WNIDS)
    assert read_report(tmp_path / "report")["num_images"] == len(WNIDS)
    refused = inside("evaluate", data, net, "--split", "val", *FP32, "--submission", "val.txt", check=False)
    assert refused.stderr == "verydeep: val.txt exists: choose another --submission, or remove it.\n"


def test_the_file_is_not_written_where_an_image_is_broken(tmp_path: Path, inside: Cli) -> None:
    data = prepared(tmp_path / "data")
    (data / "test" / TEST_IMAGES[2]).write_bytes(b"\xff\xd8\xff")
    config = ModelConfig("A", WNIDS, WNIDS, crop=32, width=1 / 16, fc_width=12)
    net = save_run(tmp_path, config, "net")
    for extra in ((), ("--bad-images", "skip")):
        command = ("evaluate", data, net, "--split", "test", *FP32, "--submission", "guesses.txt", *extra)
        refused = inside(*command, check=False)
        assert refused.returncode == 1 and refused.stderr.splitlines()[-1].startswith("verydeep: ")
        assert "Written" not in refused.stdout
    assert not (tmp_path / "guesses.txt").exists()


def test_posteriors_are_computed_once(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next reports, of fewer scales and views, compute nothing; another precision does."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "own"))

    def cached() -> dict[str, list[int]]:
        """Kind -> the images in each of its files, those of all nets and precisions together."""
        files = sorted((tmp_path / "own" / "posteriors").glob("*/*/*.safetensors"))
        return {path.parent.name: sorted(load_file(path)["keys"].tolist()) for path in files}

    inside("evaluate", photographs, trained, "--scales", "256,384", "--views", "dense+crops", *FP32, "--out", "a")
    kinds = [f"{view}-{scale}" for view in ("center", "dense", "crops") for scale in (256, 384)]
    assert cached() == {kind: list(range(15)) for kind in kinds}
    files = files_below(tmp_path / "own")
    assert len(files) == 6 + 1  # and about.json
    for views in ("dense", "crops", "center", "dense+crops"):
        inside("evaluate", photographs, trained, "--scales", "384", "--views", views, *FP32, "--out", f"b-{views}")
    assert files_below(tmp_path / "own") == files
    inside("evaluate", photographs, trained, "--scales", "384", "--views", "crops", *FP32[2:], "--precision", "bf16")
    assert len(files_below(tmp_path / "own")) == 6 + 1 + 1 + 1
