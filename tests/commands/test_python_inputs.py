"""Nets, classifiers and images in memory, and results, as a Python program uses them."""

import csv
import inspect
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep as vd
from tests.runs import Cli, read_predictions
from tests.thin_nets import make_pictures, save_box_run
from verydeep.cli import COMMANDS
from verydeep.configs.protocols import PaperNet
from verydeep.ops.arrays import UInt8Array

FP32 = {"precision": "fp32", "workers": 0, "progress": False}


def test_values_of_another_convention_are_warned_about_once(trained: Path) -> None:
    net = vd.load(trained)
    assert isinstance(net, vd.Net)
    side = net.config.crop
    whole = torch.randint(256, (1, 3, side, side)).float()
    with torch.no_grad():
        for fine in (whole, whole.byte(), torch.zeros(1, 3, side, side)):  # a black photograph lies within 0-1, too
            net.model.logits(fine)
        with pytest.warns(UserWarning, match=r"0-255, and those of these images lie within 0-1: convert them"):
            net.model.logits(whole / 255)
        net.model(whole / 255)  # warnings are errors in tests
        for shift in (-30, 30):
            with pytest.warns(UserWarning, match="these images reach from"):
                vd.load(trained).model.logits(whole.clamp(1, 254) * 1.01 + shift)


@pytest.fixture
def files(photographs: Path) -> list[Path]:
    return sorted((photographs / "test" / "bee").iterdir())


@pytest.fixture
def arrays(files: list[Path]) -> list[UInt8Array]:
    """The photographs as arrays (H, W, 3)."""
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@pytest.fixture
def box_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "data", 4)
    return save_box_run(tmp_path / "runs", PaperNet.parse("D/256pcr"), tmp_path / "data")


def test_commands_are_functions_of_the_package() -> None:
    for name in COMMANDS:
        function = getattr(vd, name)
        assert function is COMMANDS[name]
        returns = inspect.signature(function).return_annotation
        assert returns not in (inspect.Signature.empty, None, "None"), f"{name} returns nothing"
        assert "Args:" in inspect.getdoc(function), name


def test_images_are_files_arrays_tensors_and_pil_images(
    trained: Path, files: list[Path], arrays: list[UInt8Array]
) -> None:
    """One or many; the scores are those of the files."""
    net = vd.load(trained)
    expected = vd.predict(net, files, **FP32)
    assert expected.scores.shape == (3, 3) and expected.scores.dtype == np.float32
    assert expected.images == tuple(str(file) for file in files)
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]
    opened = [Image.open(file) for file in files]
    for images in (arrays, tensors, opened, tuple(arrays)):
        predictions = vd.predict(net, images, **FP32)
        assert predictions.images == ("image 1", "image 2", "image 3")
        np.testing.assert_allclose(predictions.scores, expected.scores, atol=1e-6)
    for one in (files[1], str(files[1]), arrays[1], tensors[1], opened[1]):
        np.testing.assert_allclose(vd.predict(net, one, **FP32).scores, expected.scores[1:2], atol=1e-6)
    stack = np.stack([arrays[0], arrays[0][:, ::-1]])  # (N, H, W, 3)
    np.testing.assert_allclose(vd.predict(net, stack, **FP32).scores, expected.scores[[0, 0]], atol=1e-6)
    whole = vd.predict(net, files[0].parent, **FP32)
    assert whole.images == expected.images


def test_predictions_are_those_of_the_command_line(trained: Path, files: list[Path], inside: Cli) -> None:
    options = ("--precision", "fp32", "--workers", 0, "--views", "crops", "--scales", "256,384", "--top", 2)
    printed = read_predictions(inside("predict", trained, *files, *options, "--format", "json").stdout)
    predictions = vd.predict(trained, files, views="crops", scales=(256, 384), top=2, **FP32)
    records = predictions.records()
    assert [list(record) for record in records] == [["image", "rank", "class", "words", "probability"]] * 6
    for record in records:
        share = printed[str(record["image"])][str(record["class"])]
        assert type(record["probability"]) is float and record["probability"] == pytest.approx(share, abs=1e-6)
    assert [[each.name for each in row] for row in predictions.top(2)] == [list(row) for row in printed.values()]
    assert predictions.scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert predictions.class_names == ("apple", "bee", "cloud")


def test_results_explain_themselves(trained: Path, files: list[Path]) -> None:
    predictions = vd.predict(trained, files[0], **FP32)
    assert "float32 (1, 3)" in repr(predictions) and len(repr(predictions)) < 300
    assert "<table>" in predictions._repr_html_() and "000.jpg" in predictions._repr_html_()
    assert "probability" in str(predictions).splitlines()[0] and len(str(predictions).splitlines()) == 4
    assert predictions.as_dict()["scores"] == predictions.scores.tolist()
    with pytest.raises(AttributeError):
        predictions.scores = None


def test_a_loaded_net_is_not_read_again_and_serves_threads(trained: Path, files: list[Path], tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "net")
    net = vd.load(tmp_path / "net")
    assert isinstance(net, vd.Net) and net.class_names == ("apple", "bee", "cloud") and net.config.crop == 32
    torch_kernels = FP32 | {"kernels": "torch"}
    expected = {
        precision: vd.predict(trained, files, **torch_kernels | {"precision": precision})
        for precision in ("fp32", "bf16")
    }
    shutil.rmtree(tmp_path / "net")

    def predict(number: int) -> bool:
        precision = ("fp32", "bf16")[number % 2]
        predictions = vd.predict(net, files, **torch_kernels | {"precision": precision})
        return np.array_equal(predictions.scores, expected[precision].scores)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(predict, range(12)))
    assert not np.array_equal(expected["fp32"].scores, expected["bf16"].scores)
    assert next(net.model.parameters()).dtype == torch.float32


def test_boxes_of_arrays_are_those_of_files(box_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((tmp_path / "data" / "ant").iterdir())[:3]
    arrays = [np.asarray(Image.open(file)) for file in files]
    expected = vd.localize(box_run, files, top=2, **FP32)
    assert expected.boxes.shape == (3, 2, 4) and expected.boxes.dtype == np.int64
    assert expected.labels.shape == expected.probabilities.shape == expected.ratings.shape == (3, 2)
    net = vd.load(box_run)
    objects = vd.localize(net, arrays, top=2, out=tmp_path / "boxes", **FP32)
    assert np.array_equal(objects.boxes, expected.boxes) and np.array_equal(objects.labels, expected.labels)
    np.testing.assert_allclose(objects.ratings, expected.ratings, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "boxes").iterdir()) == [f"image {i}-boxes.jpg" for i in (1, 2, 3)]
    assert [record["picture"] for record in objects.records()][::2] == list(objects.pictures)
    assert not expected.pictures and not list(tmp_path.glob("*.jpg"))


def test_descriptors_of_arrays_are_those_of_files(trained: Path, files: list[Path], arrays: list[UInt8Array]) -> None:
    net = vd.load(trained)
    expected = vd.describe(trained, files, **FP32)
    assert expected.values.shape == (3, 16) and expected.values.dtype == np.float32
    assert np.linalg.norm(expected.values, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(vd.describe(net, arrays, **FP32).values, expected.values, atol=1e-6)
    stacked = vd.describe(net, arrays[0], layer="pool5", scales="256,384", aggregate="stack", **FP32)
    assert stacked.values.shape == (1, 64) and stacked.images == ("image 1",)
    (record,) = stacked.records()
    assert list(record) == ["image", *(f"d{number}" for number in range(1, 65))]
    assert record["d64"] == pytest.approx(float(stacked.values[0, 63]))
    assert str(stacked).splitlines()[0].split() == ["image", "d1", "d2", "d3", "d4"]


def test_descriptors_of_the_command_line(trained: Path, files: list[Path], inside: Cli) -> None:
    rows = list(
        csv.reader(inside("describe", trained, *files, "--format", "csv", "--precision", "fp32").stdout.splitlines())
    )
    values = np.array([row[1:] for row in rows[1:]], np.float64)
    assert [row[0] for row in rows[1:]] == [str(file) for file in files]
    np.testing.assert_allclose(values, vd.describe(trained, files, **FP32).values, atol=1e-5)


def test_an_archive_is_made_and_searched(
    trained: Path, photographs: Path, files: list[Path], arrays: list[UInt8Array], tmp_path: Path
) -> None:
    """Descriptors of the archive are those in memory; images in memory find themselves."""
    archive = vd.features(vd.load(trained), photographs / "test", out=tmp_path / "archive", **FP32)
    assert (archive.num_images, archive.num_new, archive.dimensions) == (9, 9, 16)
    assert vd.features(trained, str(files[0]), out=archive, **FP32).num_new == 0
    neighbors = vd.search(archive, arrays, top=2, workers=0, progress=False)
    assert neighbors.similarities.shape == neighbors.missing.shape == (3, 2) and not neighbors.missing.any()
    assert [row[0] for row in neighbors.paths] == [str(file) for file in files]
    assert neighbors.similarities[:, 0] == pytest.approx(1, abs=1e-3)
    described = vd.describe(trained, photographs / "test", **FP32)
    values = dict(zip(described.images, described.values, strict=True))
    expected = [float(values[first] @ values[second]) for first, second in neighbors.paths]
    assert neighbors.similarities[:, 1] == pytest.approx(expected, abs=1e-3)
    records = neighbors.records()
    assert [list(record) for record in records] == [["image", "rank", "neighbor", "similarity", "missing"]] * 6
    assert {record["image"] for record in records} == {"image 1", "image 2", "image 3"}
    descriptors = vd.describe(vd.load(trained), arrays, **FP32)
    by_descriptors = vd.search(archive, descriptors, top=2, progress=False)
    assert by_descriptors.paths == neighbors.paths and by_descriptors.images == neighbors.images
    np.testing.assert_allclose(by_descriptors.similarities, neighbors.similarities, atol=1e-5)
    for layer, scales in (("pool5", None), ("relu6", None), (None, 384)):  # relu6 has 16 numbers, too
        with pytest.raises(
            vd.OptionError,
            match=r"not made in the same way as those of the archive: describe the images with .* `layer=relu7`",
        ):
            vd.search(archive, vd.describe(trained, arrays, layer=layer, scales=scales, **FP32))
    with pytest.raises(vd.OptionError, match="files"):
        vd.features(trained, arrays, out=tmp_path / "other")


def test_a_classifier_in_memory_predicts_and_describes(class_folders: Path, trained: Path, tmp_path: Path) -> None:
    """As its folder does, without reading the net again; it is no net for functions that need one."""
    result = vd.transfer(class_folders, trained, scales=256, c=1, out=tmp_path / "few", **FP32)
    assert result.path == tmp_path / "few" and 0 <= result.score <= 100
    (record,) = result.records()
    assert record["score"] == result.score and record["low"] <= result.score <= record["high"]
    images = class_folders / "val" / "bell"
    expected = vd.predict(result, images, **FP32)
    assert expected.kind == "margin" and expected.scores.shape == (4, 3)
    classifier = vd.load(result)
    assert isinstance(classifier, vd.Classifier) and classifier.class_names == ("ant", "bell", "crab")
    assert all(net.in_memory for net in classifier.representation.nets)
    with ThreadPoolExecutor(3) as pool:
        for scores in pool.map(lambda _: vd.predict(classifier, images, **FP32).scores, range(3)):
            np.testing.assert_allclose(scores, expected.scores, atol=1e-5)  # its kernels may be others
    descriptors = vd.describe(classifier, images, **FP32).values
    np.testing.assert_allclose(descriptors, vd.describe(trained, images, **FP32).values, atol=1e-6)
    for options in ({"layer": "pool5"}, {"scales": 384}):
        with pytest.raises(vd.OptionError, match="its own representation"):
            vd.describe(classifier, images, **options)
    for call in (
        lambda: vd.localize(classifier, images),
        lambda: vd.train(class_folders, init_from=classifier, crop=32),
        lambda: vd.export(classifier, format="onnx"),
        lambda: vd.features(classifier, images, out=tmp_path / "archive"),
    ):
        with pytest.raises(vd.OptionError, match="A Classifier is not a net"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "parameter", "words"),
    [
        (lambda run, files: vd.predict(run, files, top=0), vd.OptionError, "top", "`top=0` is out of range"),
        (lambda run, files: vd.predict(run, files, views="all"), vd.OptionError, "views", "`views=all` is unknown"),
        (lambda run, files: vd.predict(run, files, device="tpu"), vd.OptionError, "device", "`device=tpu` is unknown"),
        (lambda run, files: vd.predict(run, files, scales=100), vd.OptionError, "scales", "100"),
        (
            lambda run, files: vd.predict(run, "nowhere.jpg"),
            vd.DataError,
            None,
            "no file or folder nowhere.jpg",
        ),
        (lambda run, files: vd.predict("nowhere", files), vd.WeightsError, None, "nowhere"),
        (lambda run, files: vd.predict(run, np.zeros((4, 5, 3))), vd.DataError, None, "float64"),
        (lambda run, files: vd.predict(run, []), vd.DataError, None, "No photographs were given"),
        (vd.localize, vd.WeightsError, None, "predicts classes, not boxes"),
    ],
)
def test_errors_are_distinguished_and_name_the_parameter(
    trained: Path,
    files: list[Path],
    call: Callable[[Path, list[Path]], object],
    error: type[vd.VerydeepError],
    parameter: str | None,
    words: str,
) -> None:
    with pytest.raises(error) as caught:
        call(trained, files)
    assert words in str(caught.value)
    if parameter is not None:
        assert caught.value.parameter == parameter
