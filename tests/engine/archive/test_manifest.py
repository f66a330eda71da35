"""What an archive refuses to be."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.archive.archives import leave_net
from verydeep.engine.archive.manifest import Manifest
from verydeep.errors import VerydeepError
from verydeep.files import write_json


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "verydeep-classifier"}, "is not of verydeep features: choose another folder"),
        ({"format": 2}, "is of another version of verydeep"),
        ({"version": 0}, "is of another version of verydeep"),
        ({"dimensions": 0}, "is damaged"),
        ({"dimensions": "many"}, "is damaged"),
        ({"scales": []}, "is damaged"),
        ({"scales": None}, "is damaged"),
        ({"aggregation": "median"}, "is damaged"),
        ({"weights": "worst"}, "is damaged"),
        ({"layer": 7}, "is damaged"),
        ({"extra": 1}, "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_is_told(folder: Path, change: dict[str, Any], told: str) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    write_json(path, {**values, **change})
    with pytest.raises(VerydeepError, match=told) as refused:
        Manifest.read(folder)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "{", '{"manifest_version": 3}', "null"])
def test_a_manifest_of_something_else_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VerydeepError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match="holds no descriptors: write some with verydeep features RUN"):
        Manifest.read(tmp_path)


def test_a_manifest_without_a_value_is_told(folder: Path) -> None:
    path = folder / "manifest.json"
    write_json(path, {key: value for key, value in json.loads(path.read_text()).items() if key != "digest"})
    with pytest.raises(VerydeepError, match="is damaged"):
        Manifest.read(folder)


def test_another_net_in_the_same_place_is_told(folder: Path, tmp_path: Path) -> None:
    leave_net(tmp_path / "run", seed=9)
    with pytest.raises(VerydeepError, match=r"run is another net than the one that .*out was made with"):
        Manifest.read(folder).find_net(folder)
