"""run.json: what is written comes back, older files are read, damage is told."""

import json
from pathlib import Path

import pytest

from verydeep.configs.recipes import RECIPES
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import VerydeepError

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
    bad_images="skip",
    micro_batch=8,
    mean_rgb=(120.5, 99.25, 61.0),
    covariance=((3.0, 2.0, 1.0), (2.0, 5.0, 0.5), (1.0, 0.5, 4.0)),
    pooling="floor",
    input_scale=(58.0, 57.0, 57.5),
    license="BSD-3-Clause",
    foreign_source="torchvision-vgg16",
)


def edited(folder: Path, **changes: object) -> RunFolder:
    """A run.json with these entries changed, None leaving one out."""
    run = RunFolder(folder)
    SETTINGS.save(run)
    values = json.loads(run.settings.read_text()) | changes
    run.settings.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return run


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert RunSettings.load(edited(tmp_path)) == SETTINGS


def test_all_layers_learn_where_an_older_file_does_not_say(tmp_path: Path) -> None:
    assert RunSettings.load(edited(tmp_path, fine_tuned=None)).fine_tuned == "all"


@pytest.mark.parametrize("changes", [{"fine_tuned": "conv"}, {"network": "Z"}, {"recipe": None}, {"mean_rgb": 5}])
def test_damage_is_told_in_one_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(VerydeepError, match=r"run\.json is not the settings of a run"):
        RunSettings.load(edited(tmp_path, **changes))
