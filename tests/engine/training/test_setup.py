"""The first weights, the layers that learn, the constant box."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

from tests.engine.training.test_fit import CPU
from tests.engine.training.test_settings import SETTINGS
from tests.models.plain_twin import fill
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import Initialization
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.log import Log
from verydeep.engine.training.plan import plan_training
from verydeep.engine.training.request import TrainRequest
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import (
    initialize_weights,
    make_config,
    measure_colors,
    measure_constant_box,
    set_learning_layers,
)
from verydeep.errors import VerydeepError
from verydeep.models.weights.model_folder import ModelConfig, load_tensors, save_config, save_weights

CLASSES = ("ant", "bee", "crab")


def config_of(network: str, width: float = 1 / 16) -> ModelConfig:
    return ModelConfig(network, CLASSES, CLASSES, crop=32, width=width, fc_width=12)


def start(folder: Path, source: ModelConfig, network: str, settings: RunSettings = SETTINGS) -> str:
    """Begin a net of this name from a saved one; returns the messages."""
    net = source.build()
    fill(net, seed=2)
    save_config(folder / "source", source)
    save_weights(folder / "source", net.state_dict())
    settings = replace(settings, init_from=str(folder / "source"), network=network)
    initialize_weights(config_of(network).build(), settings, source, CLASSES, Log(folder / "log"))
    return (folder / "log").read_text()


@pytest.mark.parametrize(("source", "layer"), [(config_of("A"), "conv1_2"), (config_of("D", 1 / 8), "conv1_1")])
def test_frozen_convolutions_have_to_fit(tmp_path: Path, source: ModelConfig, layer: str) -> None:
    with pytest.raises(VerydeepError, match=f"`fine_tune=fc` keeps .*{layer} does not fit .*net D") as caught:
        start(tmp_path, source, "D")
    assert "\n" not in str(caught.value)


def test_fc_layers_that_do_not_fit_are_drawn(tmp_path: Path) -> None:
    """Another crop means another fc6, which is drawn; all thirteen convolutions of D are taken."""
    messages = start(tmp_path, replace(config_of("D"), crop=64), "D")
    assert "initialized at random (another shape" in messages and messages.count("conv") == 13


def test_convolutions_that_do_not_fit_are_drawn_if_all_layers_learn(tmp_path: Path) -> None:
    messages = start(tmp_path, config_of("A"), "D", replace(SETTINGS, fine_tuned="all"))
    assert "initialized at random (the paper takes only" in messages


def test_the_config_of_the_source_net_is_read_once(photographs: Path, trained: Path, tmp_path: Path) -> None:
    """Its config.json may be damaged after the plan; its mean stays, and the covariance is that of the data."""
    source = tmp_path / "source"
    shutil.copytree(trained / "model", source)
    request = TrainRequest(str(photographs), network="B", crop=32, width=1 / 16, fc_width=16, init_from=source)
    training = plan_training(request)
    (source / "config.json").write_text("damaged")
    settings = measure_colors(training.settings, training.train, CPU)
    config = make_config(settings, training.train, training.val, len(training.train))
    assert config.provenance.class_images == (20, 20, 20)
    model = config.build()
    initialize_weights(model, settings, training.source, config.class_names, Log())
    assert torch.equal(model.conv1_1.weight, load_tensors(source)["conv1_1.weight"])
    fresh = measure_colors(plan_training(replace(request, init_from=None)).settings, training.train, CPU)
    assert fresh.covariance == settings.covariance


def test_a_given_mean_is_kept(photographs: Path) -> None:
    training = plan_training(TrainRequest(str(photographs), crop=32))
    given = measure_colors(replace(training.settings, mean_rgb=(1.0, 2.0, 3.0)), training.train, CPU)
    measured = measure_colors(training.settings, training.train, CPU)
    assert given.mean_rgb == (1.0, 2.0, 3.0) != measured.mean_rgb
    assert given.covariance == measured.covariance


def test_which_layers_learn() -> None:
    model = config_of("A").build()
    set_learning_layers(model, "fc")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning == ["fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"]
    set_learning_layers(model, "all")
    assert all(parameter.requires_grad for parameter in model.parameters())


FOUR = (*CLASSES, "dill")


@pytest.mark.parametrize(
    ("regression", "source_regression"), [("single-class", None), ("per-class", None), (None, "single-class")]
)
def test_the_last_layer_is_never_copied_from_a_net_of_another_task(
    regression: Regression | None, source_regression: Regression | None, tmp_path: Path
) -> None:
    """Even where the shapes agree: four classes, and four numbers of a box. Boxes begin at N(0, 0.01)."""
    source = replace(config_of("A"), class_names=FOUR, class_words=FOUR, fc_width=400, regression=source_regression)
    net = source.build()
    fill(net, seed=2)
    save_config(tmp_path, source)
    save_weights(tmp_path, net.state_dict())
    model = replace(source, regression=regression).build()
    scheme: Initialization = "glorot" if regression is None else "normal"
    recipe = replace(SETTINGS.recipe, initialization=scheme)
    settings = replace(SETTINGS, init_from=str(tmp_path), network="A", regression=regression, recipe=recipe)
    initialize_weights(model, settings, source, FOUR, Log(tmp_path / "log"))
    before, after = net.state_dict(), model.state_dict()
    assert [name for name in after if not torch.equal(before[name], after[name])] == ["fc8.weight", "fc8.bias"]
    assert (after["fc8.bias"] == 0).all()
    weight = after["fc8.weight"].flatten().double()
    if regression is not None:
        assert kstest(weight / 0.01, "norm").pvalue > 1e-3
    else:
        assert weight.abs().max() <= (6 / 404) ** 0.5 < 1.02 * weight.abs().max()
    what = "classes" if regression is None else "boxes"
    assert f"initialized at random ({what} are learned from random weights): fc8" in (tmp_path / "log").read_text()


def test_the_constant_box_weighs_images_not_instances(tmp_path: Path) -> None:
    """Three files of different shapes, the second with two boxes, worked out by hand in sixteenths."""
    boxes = {(16, 8): [[0, 0, 7, 3]], (4, 16): [[0, 0, 3, 3], [2, 8, 3, 15]], (32, 16): [[16, 4, 31, 15]]}
    for number, size in enumerate(boxes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    split = replace(
        Split.of_photographs([Path(f"{number}.png") for number in range(3)]),
        root=tmp_path,
        boxes=tuple(np.array(rows, np.float32) for rows in boxes.values()),
    )
    # Over 16: (4, 4, 8, 8); (8, 2, 16, 4) and (12, 12, 8, 8), in the mean (10, 7, 12, 6); (12, 10, 8, 12).
    expected = tuple(np.mean([[4, 4, 8, 8], [10, 7, 12, 6], [12, 10, 8, 12]], axis=0) / 16)
    assert measure_constant_box(split, SETTINGS, CPU) == pytest.approx(expected)


def test_files_without_a_header_are_no_part_of_the_constant_box(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (10, 20)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no picture at all")
    boxes = np.array([[0, 0, 4, 9]], np.float32)
    split = replace(Split.of_photographs([Path("a.png"), Path("b.png")]), root=tmp_path, boxes=(boxes, boxes))
    lenient, strict = (replace(SETTINGS, decoding=Decoding(bad_images)) for bad_images in ("skip", "error"))
    assert measure_constant_box(split, lenient, CPU) == pytest.approx((0.25, 0.25, 0.5, 0.5))
    with pytest.raises(VerydeepError, match=r"b\.png"):
        measure_constant_box(split, strict, CPU)


def test_the_camera_rotates_the_constant_box(tmp_path: Path) -> None:
    """The boxes of people's own photographs are those of the turned image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    split = replace(Split.of_photographs([Path("a.jpg")]), root=tmp_path, boxes=(np.array([[0, 0, 9, 4]], np.float32),))
    assert measure_constant_box(split, SETTINGS, CPU) == pytest.approx((0.5, 0.125, 1.0, 0.25))
