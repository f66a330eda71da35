"""``verydeep search``: for people and for machines; what it draws, and what it refuses."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.archive.archives import content
from tests.runs import Cli
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.archive import streaming
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array

FP32 = ("--precision", "fp32", "--workers", 0)


@pytest.fixture
def archive(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> Path:
    """Of fifteen photographs, in the working folder, by a net that is there, too."""
    shutil.copytree(photographs / "val", tmp_path / "photos")
    shutil.copytree(trained / "model", tmp_path / "net")
    inside("features", "net", "photos", "--out", "there", *FP32)
    return tmp_path / "there"


def test_json_csv_and_table_tell_the_same(archive: Path, inside: Cli, tmp_path: Path) -> None:
    common = ("search", "there", "photos/bee/001.jpg", "photos/apple", "--top", 4, "--no-pictures")
    results = [json.loads(line) for line in inside(*common, "--format", "json").stdout.splitlines()]
    assert [result["path"] for result in results] == [
        "photos/bee/001.jpg",
        *(f"photos/apple/{number:03d}.jpg" for number in range(5)),
    ]
    held = content(archive)
    for result in results:
        assert result["neighbors"][0]["path"] == result["path"]  # it is in the archive itself
        query = held[result["path"].removeprefix("photos/")].astype(np.float64)
        expected = sorted(-float(query @ row.astype(np.float64)) for row in held.values())[:4]
        assert [-each["similarity"] for each in result["neighbors"]] == pytest.approx(expected, abs=1e-3)
    rows = list(csv.DictReader(io.StringIO(inside(*common, "--format", "csv").stdout)))
    told = [(result["path"], each["path"]) for result in results for each in result["neighbors"]]
    assert [(row["path"], row["neighbor"]) for row in rows] == told
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4] * 6
    assert {row["missing"] for row in rows} == {"0"}
    similarities = [each["similarity"] for result in results for each in result["neighbors"]]
    assert [float(row["similarity"]) for row in rows] == pytest.approx(similarities, abs=1e-6)
    blocks = inside(*common).stdout.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [result["path"] for result in results]
    (tmp_path / "photos" / "bee" / "001.jpg").rename(tmp_path / "moved.jpg")
    assert "  1.000  photos/bee/001.jpg (missing)\n" in inside("search", "there", "moved.jpg", "--no-pictures").stdout
    assert blocks[0].splitlines()[1] == "  1.000  photos/bee/001.jpg"
    assert not list(tmp_path.glob("*.png"))


def test_photographs_are_described_as_the_archive_was(
    archive: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside("features", "net", "photos", "--out", "other", "--precision", "bf16", "--fast-decode", "--layer", "pool5")
    describe_images, seen = streaming.describe_images, []

    def noted(asked: Representation, split: Split, runtime: Runtime, decoding: Decoding) -> Float32Array:
        seen.append((asked.layers, runtime.precision, decoding))
        return describe_images(asked, split, runtime, decoding)

    monkeypatch.setattr(streaming, "describe_images", noted)
    for folder in ("there", "other"):
        inside("search", folder, "photos/bee/001.jpg", "--no-pictures")
    assert seen == [(("relu7",), "fp32", Decoding()), (("pool5",), "bf16", Decoding(fast=True))]


def test_a_photograph_from_elsewhere_and_a_picture(archive: Path, photographs: Path, cli: Cli, tmp_path: Path) -> None:
    """As a process, whose net is loaded anew; from another folder neighbors have their whole paths."""
    query = photographs / "test" / "cloud" / "000.jpg"
    shutil.rmtree(tmp_path / "photos" / "cloud")  # they are drawn as missing
    (tmp_path / "elsewhere").mkdir()
    command = ("search", archive, query, "--top", 15, "--format", "json", "--out", "made/it.png")
    done = cli(*command, cwd=tmp_path / "elsewhere")
    (result,) = map(json.loads, done.stdout.splitlines())
    names = [each["path"] for each in result["neighbors"]]
    assert len(names) == 15 and {Path(name).parent for name in names} == {
        tmp_path / "photos" / kind for kind in ("apple", "bee", "cloud")
    }
    gone = [Path(each["path"]).parent.name == "cloud" for each in result["neighbors"]]
    assert [each["missing"] for each in result["neighbors"]] == gone and any(gone) and not all(gone)
    assert "Picture written: made/it.png" in done.stderr
    with Image.open(tmp_path / "elsewhere" / "made" / "it.png") as image:
        assert image.width > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_names_that_are_no_utf8(archive: Path, inside: Cli, cli: Cli, tmp_path: Path) -> None:
    """Do not fail to be printed, and JSON holds them as Python reads them."""
    odd = tmp_path / "photos" / os.fsdecode(b"caf\xe9 \xc3\xa9.jpg")
    (tmp_path / "photos" / "bee" / "001.jpg").rename(odd)
    inside("features", "net", "photos", "--out", "there")
    done = cli("search", "there", "photos/caf*.jpg", "--top", 2, "--format", "json")
    copies = {each["path"] for each in json.loads(done.stdout)["neighbors"]}
    assert copies == {odd.relative_to(tmp_path).as_posix(), "photos/bee/001.jpg"}  # where it was before


def test_a_picture_never_replaces_a_photograph(archive: Path, inside: Cli, tmp_path: Path) -> None:
    query, other = tmp_path / "photos" / "bee" / "001.jpg", tmp_path / "photos" / "bee" / "003.jpg"
    before = query.read_bytes(), other.read_bytes()
    for out in (query, other):
        done = inside("search", "there", "photos/bee/001.jpg", "--top", 15, "--out", out, check=False)
        assert done.returncode == 1 and "is one of the photographs" in done.stderr and not done.stdout
    assert (query.read_bytes(), other.read_bytes()) == before


def another_net(folder: Path) -> None:
    config = folder / "net" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))


def no_net(folder: Path) -> None:
    shutil.rmtree(folder / "net")


def no_picture(folder: Path) -> None:
    (folder / "photos" / "bee" / "001.jpg").write_text("no picture")


def no_archive(folder: Path) -> None:
    shutil.rmtree(folder / "there")


def no_shards(folder: Path) -> None:
    shutil.rmtree(folder / "there" / "shards")


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        (another_net, (), "net is another net than the one that there was made with"),
        (no_net, (), "there/manifest.json names the net"),
        (no_picture, (), "photos/bee/001.jpg is not an image"),
        (no_archive, (), "there holds no descriptors: write some with verydeep features"),
        (no_shards, (), "there holds no descriptors yet"),
        (None, ("--top", 0), "--top 0"),
        (None, ("--out", "picture.tga"), "--out picture.tga: a picture ends in one of .png"),
        (None, ("nowhere.jpg",), "nowhere.jpg"),
    ],
)
def test_what_cannot_be_is_told(
    archive: Path, inside: Cli, tmp_path: Path, change: object, arguments: tuple[object, ...], told: str
) -> None:
    if callable(change):
        change(tmp_path)
    done = inside("search", "there", "photos/bee/001.jpg", *arguments, check=False)
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    assert not list(tmp_path.glob("*.png"))
