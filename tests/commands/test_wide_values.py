"""Photographs of 12 bits in 16 give what the same photographs give in 8 bits, from training to search."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep as vd
from tests.runs import metrics_of
from tests.wide_files import write_tiff

SMALL = {"crop": 32, "width": 0.0625, "fc_width": 16, "batch_size": 6, "precision": "fp32", "workers": 0}
RULE = "12-bit values in 16 bits: 0 to 4095 become 0 to 255"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Class folders in splits, as PNGs of 8 bits and as TIFFs of 12; two photographs of a class are much darker."""
    root, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(2)
    for part, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("cell", "leaf")):
            for number in range(count):
                gray = (rng.integers(0, 90, (45, 61)) + 100 * label + 20).astype(np.uint8) >> 3 * (number == 2)
                places = [root / kind / part / name for kind in ("bytes", "wide")]
                for place in places:
                    place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(gray).save(places[0] / f"{number}.png")
                write_tiff(places[1] / f"{number}.tif", gray.astype(np.uint16) << 4 | 9)
    return root / "bytes", root / "wide"


@pytest.fixture(scope="module")
def runs(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("runs")
    for folder in folders:
        vd.train(folder, epochs=1, out=out / folder.name, **SMALL)
    return [out / folder.name for folder in folders]


def test_training_is_the_same(runs: list[Path]) -> None:
    first, second = map(metrics_of, runs)
    assert first == second and first
    ranges = [json.loads((run / "model" / "config.json").read_text())["value_ranges"] for run in runs]
    assert ranges == [{}, {"uint16": [0, 4095]}]
    assert f"18 files have {RULE}" in (runs[1] / "train.log").read_text()


def test_a_single_photograph_has_the_range_of_the_net(
    runs: list[Path], folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A dark one alone would be scaled by its own values."""
    with caplog.at_level(logging.INFO, "verydeep"):
        first, second = (
            vd.predict(run, folder / "val" / "leaf" / f"2{suffix}", precision="fp32").scores
            for run, folder, suffix in zip(runs, folders, (".png", ".tif"), strict=True)
        )
    assert (first == second).all()
    assert f"1 file has {RULE}, as recorded with the net (the largest value here is " in caplog.text


def test_a_caller_in_python_is_warned_of_clipped_values_and_of_ranges_by_one_call(
    runs: list[Path], folders: tuple[Path, Path], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """The warning points at the caller's line; an archive names itself."""
    bright = write_tiff(tmp_path / "scan 16bit.TIF", np.full((45, 61), 50_000, np.uint16))
    options = {"precision": "fp32", "workers": 0}
    exceeds = "1 of 1 file with 16-bit values exceeds 0 to 4095, the range recorded with the"
    warnings.simplefilter("always")
    vd.predict(runs[1], bright, **options)
    vd.describe(vd.load(runs[1]), [bright], **options)
    archive = vd.features(runs[0], folders[1] / "train", out=tmp_path / "archive", **options)
    vd.search(archive, bright)
    vd.predict(runs[0], folders[1] / "val" / "cell" / "1.tif", **options)  # trained on bytes
    texts = [str(each.message) for each in recwarn.list]
    assert [
        text.startswith(f"{exceeds} {keeper}: its largest value is 50000, and 100% of its pixels become white")
        for text, keeper in zip(texts, ("net", "net", "archive"), strict=False)
    ] == [True] * 3
    assert texts[3].startswith(f"1 file has {RULE} (the largest value over the data set is ") and len(texts) == 4
    assert {each.filename for each in recwarn.list} == {__file__}


def test_evaluation_archive_and_classifier_are_the_same(
    runs: list[Path], folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (
        vd.evaluate(folder, run, precision="fp32", workers=0) for run, folder in zip(runs, folders, strict=True)
    )
    assert [{**row, "net": ""} for row in first.records()] == [{**row, "net": ""} for row in second.records()]
    results = []
    for folder, suffix in zip(folders, (".png", ".tif"), strict=True):
        dark = folder / "val" / "leaf" / f"2{suffix}"
        archive = vd.features(runs[0], folder / "train", out=tmp_path / f"archive-{folder.name}", precision="fp32")
        neighbors = vd.search(archive, dark)
        classifier = vd.transfer(folder, runs[0], scales=256, c=1, out=tmp_path / folder.name, precision="fp32")
        results.append((neighbors.similarities, vd.predict(classifier, dark, precision="fp32").scores))
    assert all((one == other).all() for one, other in zip(*results, strict=True))
    manifest = json.loads((tmp_path / "archive-wide" / "manifest.json").read_text())
    fields = json.loads((tmp_path / "wide" / "classifier.json").read_text())
    assert manifest["value_ranges"] == fields["value_ranges"] == {"uint16": [0, 4095]}


def test_other_ranges_have_other_entries_in_the_cache(
    runs: list[Path], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "narrow"
    (path / "model").mkdir(parents=True)
    for file in (runs[1] / "model").iterdir():
        (path / "model" / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "model" / "config.json").read_text())
    options = {"precision": "fp32", "workers": 0, "scales": 256}
    before = vd.transfer(folders[1], path, out=tmp_path / "first", **options)
    (path / "model" / "config.json").write_text(json.dumps({**config, "value_ranges": {"uint16": [0, 1023]}}))
    with pytest.warns(UserWarning, match="exceed 0 to 1023, the range recorded with the net"):
        after = vd.transfer(folders[1], path, out=tmp_path / "second", **options)
    ranges = [json.loads((Path(each) / "classifier.json").read_text())["value_ranges"] for each in (before, after)]
    assert ranges == [{"uint16": [0, 4095]}, {"uint16": [0, 1023]}]


def test_verify_names_the_rule(folders: tuple[Path, Path]) -> None:
    verified = vd.verify(folders[1], workers=1)
    assert verified.notes == (f"18 files have {RULE} (the largest value over the data set is 3353).",)
    assert vd.verify(folders[0], workers=1).notes == ()
