"""``verydeep search``: its formats, its picture, and what it refuses."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.engine.archive.archives import read_archive
from tests.kills import Forker
from tests.runs import Cli

FP32 = ("--precision", "fp32", "--workers", 0)


@pytest.fixture
def archive(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> Path:
    """An archive of fifteen photographs; they and its net are in the working folder."""
    shutil.copytree(photographs / "val", tmp_path / "photos")
    shutil.copytree(trained / "model", tmp_path / "net")
    inside("features", "net", "photos", "--out", "archive", *FP32)
    return tmp_path / "archive"


def search(inside: Cli, *arguments: object) -> dict[str, list[dict[str, Any]]]:
    """Return image -> its neighbors."""
    return read_neighbors(inside("search", *arguments, "--format", "json").stdout)


def read_neighbors(lines: str) -> dict[str, list[dict[str, Any]]]:
    neighbors: dict[str, list[dict[str, Any]]] = {}
    for record in map(json.loads, lines.splitlines()):
        neighbors.setdefault(record["image"], []).append(record)
    return neighbors


def test_json_csv_and_table_agree(archive: Path, inside: Cli, tmp_path: Path) -> None:
    common = ("archive", "photos/bee/001.jpg", "photos/apple", "--top", 4)
    neighbors = search(inside, *common)
    assert list(neighbors) == ["photos/bee/001.jpg", *(f"photos/apple/{number:03d}.jpg" for number in range(5))]
    descriptors = read_archive(archive)
    for image, nearest in neighbors.items():
        assert nearest[0]["neighbor"] == image  # it is in the archive itself
        query = descriptors[image.removeprefix("photos/")].astype(np.float64)
        expected = sorted(-float(query @ row.astype(np.float64)) for row in descriptors.values())[:4]
        assert [-each["similarity"] for each in nearest] == pytest.approx(expected, abs=1e-3)
        assert [each["rank"] for each in nearest] == [1, 2, 3, 4]
    records = [each for nearest in neighbors.values() for each in nearest]
    rows = list(csv.DictReader(io.StringIO(inside("search", *common, "--format", "csv").stdout)))
    assert [(row["image"], row["neighbor"]) for row in rows] == [(each["image"], each["neighbor"]) for each in records]
    assert {row["missing"] for row in rows} == {"0"}
    similarities = [each["similarity"] for each in records]
    assert [float(row["similarity"]) for row in rows] == pytest.approx(similarities, rel=1e-5)
    heading, first, second, *_ = inside("search", *common).stdout.splitlines()
    assert heading.split() == ["image", "neighbor", "similarity"]
    assert first.split() == ["photos/bee/001.jpg", "photos/bee/001.jpg", "1.000"]
    assert second.split() == [records[1]["neighbor"], f"{records[1]['similarity']:.3f}"]
    (tmp_path / "photos" / "bee" / "001.jpg").rename(tmp_path / "moved.jpg")
    heading, line, *_ = inside("search", "archive", "moved.jpg").stdout.splitlines()
    assert heading.split() == ["image", "neighbor", "similarity", "missing"]
    assert line.split() == ["moved.jpg", "photos/bee/001.jpg", "1.000", "yes"]
    assert not list(tmp_path.glob("*.png"))


def test_queries_that_cannot_be_used_are_reported_and_the_others_found(archive: Path, inside: Cli) -> None:
    (archive.parent / "notes.jpg").write_text("these are notes")
    words = ("search", "archive", "photos/apple/001.jpg", "notes.jpg", "photos/bee/001.jpg", "--top", 1)
    done = inside(*words, "--out", "found.png", "--format", "json", check=False)
    assert done.returncode == 1
    neighbors = read_neighbors(done.stdout)
    assert {image: nearest[0]["neighbor"] for image, nearest in neighbors.items()} == {
        "photos/apple/001.jpg": "photos/apple/001.jpg",
        "photos/bee/001.jpg": "photos/bee/001.jpg",
    }
    assert done.stderr.splitlines()[-1].startswith("verydeep: 1 of 3 images has no result: notes.jpg is not an image")
    assert "Picture written: found.png" in done.stderr
    skipped = inside(*words, "--bad-images", "skip")
    assert "Skipped: notes.jpg is not an image" in skipped.stdout and "no result" not in skipped.stderr


def test_queries_are_described_like_the_archive(archive: Path, inside: Cli, tmp_path: Path) -> None:
    """At the same layer and precision, with the same decoding: a photograph and its descriptor have the angle 0."""
    noise = np.random.default_rng(0).integers(0, 256, (640, 480, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=95)
    descriptors = []
    for folder, *options in (
        ("relu7", "--precision", "fp32"),
        ("full", "--precision", "fp32", "--layer", "pool5"),
        ("fast", "--precision", "bf16", "--layer", "pool5", "--fast-decode"),
    ):
        inside("features", "net", "large.jpg", "--out", folder, *options)
        done = inside("search", folder, "large.jpg", "--top", 1, "--format", "csv")
        (row,) = csv.DictReader(io.StringIO(done.stdout))
        assert row["neighbor"] == "large.jpg"
        descriptors.append(read_archive(tmp_path / folder)["large.jpg"])
        assert float(row["similarity"]) == pytest.approx(1, abs=1e-4)
    full, fast = (values.astype(np.float64) / np.linalg.norm(values.astype(np.float64)) for values in descriptors[1:])
    assert full @ fast < 1 - 1e-4


def test_a_photograph_from_elsewhere_and_a_picture(
    forker: Forker, archive: Path, photographs: Path, tmp_path: Path
) -> None:
    """As a process, whose net is loaded anew; from another folder neighbors have their whole paths."""
    query = photographs / "test" / "cloud" / "000.jpg"
    shutil.rmtree(tmp_path / "photos" / "cloud")  # they are drawn as missing
    (tmp_path / "elsewhere").mkdir()
    command = ("search", archive, query, "--top", 15, "--format", "json", "--out", "made/it.png")
    done = forker.run(tmp_path / "elsewhere", *command)
    (nearest,) = read_neighbors(done.stdout).values()
    names = [each["neighbor"] for each in nearest]
    assert len(names) == 15 and {Path(name).parent for name in names} == {
        tmp_path / "photos" / kind for kind in ("apple", "bee", "cloud")
    }
    assert [each["missing"] for each in nearest] == [Path(name).parent.name == "cloud" for name in names]
    assert "Picture written: made/it.png" in done.stderr
    with Image.open(tmp_path / "elsewhere" / "made" / "it.png") as image:
        assert image.width > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_names_that_are_not_utf8_are_printed(forker: Forker, archive: Path, inside: Cli, tmp_path: Path) -> None:
    """JSON holds them as Python reads them."""
    odd = tmp_path / "photos" / os.fsdecode(b"caf\xe9 \xc3\xa9.jpg")
    (tmp_path / "photos" / "bee" / "001.jpg").rename(odd)
    inside("features", "net", "photos", "--out", "archive")
    done = forker.run(tmp_path, "search", "archive", "photos/caf*.jpg", "--top", 2, "--format", "json")
    copies = {json.loads(line)["neighbor"] for line in done.stdout.splitlines()}
    assert copies == {odd.relative_to(tmp_path).as_posix(), "photos/bee/001.jpg"}  # where it was before


def test_a_picture_never_replaces_a_file(archive: Path, inside: Cli, tmp_path: Path) -> None:
    query, other = tmp_path / "photos" / "bee" / "001.jpg", tmp_path / "mine.jpg"
    other.write_bytes(b"a photograph that is not in the archive")
    before = query.read_bytes(), other.read_bytes()
    for out in (query, other):
        done = inside("search", "archive", "photos/bee/001.jpg", "--top", 15, "--out", out, check=False)
        message = f"verydeep: {out} exists: choose another --out, or remove it."
        assert done.returncode == 1 and done.stderr.strip() == message and not done.stdout
    assert (query.read_bytes(), other.read_bytes()) == before


def another_net(folder: Path) -> None:
    config = folder / "net" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))


def no_net(folder: Path) -> None:
    shutil.rmtree(folder / "net")


def no_picture(folder: Path) -> None:
    (folder / "photos" / "bee" / "001.jpg").write_text("no picture")


def no_archive(folder: Path) -> None:
    shutil.rmtree(folder / "archive")


def no_shards(folder: Path) -> None:
    shutil.rmtree(folder / "archive" / "shards")


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (another_net, (), "net is not the net that archive was made with"),
        (no_net, (), "archive/manifest.json names the net"),
        (no_picture, (), "photos/bee/001.jpg is not an image"),
        (no_archive, (), "archive is not an archive of descriptors: make one with `verydeep features`"),
        (no_shards, (), "archive holds no descriptors yet"),
        (None, ("--top", 0), "--top 0"),
        (None, ("--out", "picture.tga"), "--out picture.tga must end in .png"),
    ],
)
def test_impossible_search_is_refused(
    archive: Path, inside: Cli, tmp_path: Path, change: object, arguments: tuple[object, ...], message: str
) -> None:
    if callable(change):
        change(tmp_path)
    done = inside("search", "archive", "photos/bee/001.jpg", *arguments, check=False)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    assert not list(tmp_path.glob("*.png"))
