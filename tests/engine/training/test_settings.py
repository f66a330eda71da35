"""run.json: what is written comes back; other formats and damage are refused."""

import json
from pathlib import Path

import pytest

from verydeep.configs.recipes import RECIPES
from verydeep.data.pixels.decoding import Decoding
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import DataError

SETTINGS = RunSettings(
    data="/photos",
    network="D",
    crop=64,
    width=0.25,
    fc_width=20,
    recipe=RECIPES["generated"],
    seed=5,
    bf16=True,
    init_from="runs/first",
    fine_tuned="fc",
    decoding=Decoding("skip", fast=True),
    micro_batch=8,
    mean_rgb=(120.5, 99.25, 61.0),
    covariance=((3.0, 2.0, 1.0), (2.0, 5.0, 0.5), (1.0, 0.5, 4.0)),
    pooling="floor",
    input_scale=(58.0, 57.0, 57.5),
    license="BSD-3-Clause",
    imported_source="torchvision-vgg16",
)


def edited(folder: Path, **changes: object) -> RunFolder:
    """A run.json with these entries changed, None leaving one out."""
    run = RunFolder(folder)
    SETTINGS.save(run)
    values = json.loads(run.settings.read_text()) | changes
    for name in [name for name, value in changes.items() if value is None]:
        del values[name]
    run.settings.write_text(json.dumps(values))
    return run


def test_saved_settings_are_read_unchanged(tmp_path: Path) -> None:
    assert RunSettings.load(edited(tmp_path)) == SETTINGS


def test_an_earlier_format_is_refused(tmp_path: Path) -> None:
    message = r"run\.json was written by an earlier version of verydeep: run `verydeep train` again\."
    with pytest.raises(DataError, match=message):
        RunSettings.load(edited(tmp_path, format=1))


@pytest.mark.parametrize(
    "changes",
    [{"fine_tuned": "conv"}, {"network": "Z"}, {"recipe": None}, {"mean_rgb": 5}, {"decoding": {"fast": "no"}}],
)
def test_damage_is_reported_in_one_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"run\.json (is damaged|lacks recipe)"):
        RunSettings.load(edited(tmp_path, **changes))
