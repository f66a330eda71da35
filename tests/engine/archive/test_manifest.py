"""What an archive refuses to be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.archive.archives import make_net
from verydeep.engine.archive.manifest import ArchiveOptions, Manifest, resolve_manifest
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, OptionError, VerydeepError
from verydeep.json_files import write_json


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "verydeep-classifier"}, "is another kind of file"),
        ({"format": 1}, "was written by an earlier version of verydeep: run `verydeep features` again"),
        ({"format": 99}, "was written by a later version of verydeep"),
        ({"dimensions": 0}, "is damaged"),
        ({"dimensions": "many"}, "is damaged"),
        ({"scales": []}, "is damaged"),
        ({"scales": None}, "is damaged"),
        ({"aggregation": "median"}, "is damaged"),
        ({"weights": "worst"}, "is damaged"),
        ({"precision": "fp16"}, "is damaged"),
        ({"layer": 7}, "is damaged"),
    ],
)
def test_impossible_manifest_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    write_json(path, {**values, **change})
    with pytest.raises(DataError, match=message) as refusal:
        Manifest.read(folder)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["[]", "{", '{"manifest_version": 3}', "null"])
def test_manifest_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not an archive of descriptors: make one with `verydeep features`"):
        Manifest.read(tmp_path)


def test_manifest_without_a_value_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    write_json(path, {key: value for key, value in json.loads(path.read_text()).items() if key != "digest"})
    with pytest.raises(DataError, match="is damaged"):
        Manifest.read(folder)


def test_another_net_in_the_same_place_is_refused(folder: Path, tmp_path: Path) -> None:
    make_net(tmp_path / "run", seed=9)
    with pytest.raises(VerydeepError, match=r"run is not the net that .*out was made with"):
        Manifest.read(folder).open_net(folder)


@pytest.mark.parametrize(
    ("options", "parameter", "message"),
    [
        ({"layer": "pool5"}, "layer", "`layer=relu7`: use that"),
        ({"scales": (256, 384)}, "scales", "`scales=256`"),
        ({"aggregation": "max"}, "aggregate", "`aggregate=average`"),
        ({"precision": "bf16"}, "precision", "`precision=fp32`"),
        ({"fast_decode": True}, "fast_decode", "without `fast_decode=True`"),
    ],
)
def test_other_options_are_refused(
    folder: Path, tmp_path: Path, options: dict[str, Any], parameter: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as refusal:
        resolve_manifest(folder, Net.open(tmp_path / "run"), ArchiveOptions(**options))
    assert refusal.value.parameter == parameter


def test_another_net_is_refused_and_the_same_may_move(folder: Path, tmp_path: Path) -> None:
    other = make_net(tmp_path / "other", seed=3)
    with pytest.raises(OptionError, match="other is another net: choose another `out`"):
        resolve_manifest(folder, other, ArchiveOptions())
    moved = Net.open(shutil.move(tmp_path / "run", tmp_path / "moved"))
    assert resolve_manifest(folder, moved, ArchiveOptions()).open_net(folder).path == moved.path
