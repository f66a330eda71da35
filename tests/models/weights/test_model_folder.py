"""The model folder: what is saved comes back, and whatever is wrong with it is one sentence."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.plain_twin import PlainTwin, fill
from tests.runs import full_disk
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import RECIPES
from verydeep.errors import ResourceError, WeightsError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import (
    CLASSIFIER,
    FORMAT,
    ModelConfig,
    Provenance,
    SplitRecord,
    keep_classifier,
    load_config,
    load_model,
    load_tensors,
    save_config,
    save_weights,
)

CONFIG = ModelConfig(
    network="A-LRN",
    class_names=("n001", "n002", "n003", "n004"),
    class_words=("Affe", "Bär", "猫", "dog, hound"),
    crop=64,
    width=1 / 16,
    fc_width=20,
    mean_rgb=(120.5, 99.25, 61.0),
    train_scale="256-512",
    fine_tuned="fc",
    seed=17,
    split=SplitRecord("/photos", 17, 0.2, "1a2b", None, plateau=True),
    provenance=Provenance(data="photos"),
)


def filled(config: ModelConfig = CONFIG) -> VGG:
    net = config.build()
    fill(net, seed=6)
    return net.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_config(tmp_path / "model", CONFIG)
    save_weights(tmp_path / "model", filled().state_dict())
    return tmp_path / "model"


def test_what_is_saved_comes_back(saved: Path) -> None:
    net, config = load_model(saved)
    assert config == CONFIG
    assert not net.training
    images = torch.rand(2, 3, 70, 101) * 255
    with torch.no_grad():
        assert torch.equal(net(images), filled()(images))
        crops = images[..., :64, :64]
        twin = PlainTwin("A-LRN", load_file(saved / "model.safetensors"), CONFIG.mean_rgb)
        assert torch.allclose(net.logits(crops), twin.logits(crops), atol=1e-4)


def test_pooling_travels_with_the_net(tmp_path: Path) -> None:
    """One that rounds down sees 95 pixels as two strides: one position; Caffe's as three: two."""
    both: tuple[tuple[Literal["floor", "ceil"], int], ...] = (("floor", 1), ("ceil", 2))
    for pooling, side in both:
        config = replace(CONFIG, pooling=pooling)
        save_config(tmp_path / pooling, config)
        save_weights(tmp_path / pooling, filled(config).state_dict())
        net, _ = load_model(tmp_path / pooling)
        with torch.no_grad():
            assert net(torch.zeros(1, 3, 95, 95)).shape[2:] == (side, side)


def test_files_are_what_the_hub_expects(saved: Path) -> None:
    values = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert values["model_type"] == "verydeep"
    assert values["class_words"] == ["Affe", "Bär", "猫", "dog, hound"]
    tensors = load_file(saved / "model.safetensors")
    assert list(tensors) == sorted(filled().state_dict())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("change", [lambda net: net.half(), lambda net: net.to(memory_format=torch.channels_last)])
def test_weights_are_written_as_plain_float32(tmp_path: Path, change: Callable[[VGG], VGG]) -> None:
    net = filled()
    expected = {name: change(net).state_dict()[name].float() for name in net.state_dict()}
    save_weights(tmp_path, net.state_dict())
    for name, tensor in load_tensors(tmp_path).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize(("scale", "scales"), [("256-512", (256, 384, 512)), ("384", (384,)), (None, (256,))])
def test_test_scales_follow_the_train_scale(scale: str | None, scales: tuple[int, ...]) -> None:
    assert replace(CONFIG, train_scale=scale).test_scales == scales


@pytest.mark.parametrize(("regression", "outputs"), [("per-class", 16), ("single-class", 4), (None, 4)])
def test_a_localization_net_comes_back_as_one(tmp_path: Path, regression: Regression | None, outputs: int) -> None:
    """Four classes: one box for all has as many outputs as classes have, and is told apart by what config.json says."""
    config = replace(
        CONFIG, regression=regression, constant_box=None if regression is None else (0.5, 0.375, 0.25, 0.125)
    )
    save_config(tmp_path, config)
    save_weights(tmp_path, filled(config).state_dict())
    net, found = load_model(tmp_path)
    assert found == config
    assert net.fc8.out_channels == found.num_outputs == outputs
    task = "classify" if regression is None else "localize"
    assert found.task == json.loads((tmp_path / "config.json").read_text())["task"] == task


def test_the_net_that_boxes_started_from_is_copied_byte_for_byte(saved: Path, tmp_path: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    keep_classifier(tmp_path / "boxes", saved)
    copy = tmp_path / "boxes" / CLASSIFIER
    assert sorted(path.name for path in copy.iterdir()) == ["config.json", "model.safetensors"]
    for path in copy.iterdir():
        assert path.read_bytes() == (saved / path.name).read_bytes()
    assert load_model(copy)[1] == CONFIG


def edit(*removed: str, **changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
        kept = {key: value for key, value in values.items() if key not in removed}
        (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")

    return damage


def test_the_recipe_comes_back(tmp_path: Path) -> None:
    config = replace(CONFIG, provenance=replace(CONFIG.provenance, recipe=RECIPES["generated"], converged=False))
    save_config(tmp_path, config)
    assert load_config(tmp_path) == config


def cut(name: str, share: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def drop_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["conv3_2.weight"]
    save_file(tensors, folder / "model.safetensors")


def one_tensor_more(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors") | {"conv9_9.weight": torch.zeros(3)}
    save_file(tensors, folder / "model.safetensors")


def replace_text(folder: Path, old: str, new: str) -> None:
    text = (folder / "config.json").read_text(encoding="utf-8")
    assert old in text
    (folder / "config.json").write_text(text.replace(old, new), encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "config missing": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "config cut": (cut("config.json", 0.5), "config.json"),
    "config empty": (cut("config.json", 0), "config.json"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[1, 2]"), "config.json"),
    "other model type": (edit(model_type="resnet"), "model_type"),
    "no model type": (edit("model_type"), "model_type"),
    "later format": (edit(format=FORMAT.number + 1), "upgrade"),
    "earlier format": (edit(format=1), r"earlier version of verydeep: run `verydeep train`"),
    "no format": (edit("format"), "earlier version"),
    "unknown network": (edit(network="F"), "config.json"),
    "no classes": (edit(class_names=[]), "config.json"),
    "no mean": (edit("mean_rgb"), "lacks mean_rgb"),
    "crop of another net": (edit(crop=32), "fc6.weight"),
    "crop missing": (edit("crop"), "lacks crop"),
    "crop no multiple of 32": (edit(crop=100), "at crop .*multiple of 32"),
    "crop a word": (edit(crop="large"), "at crop .expected int, got str"),
    "other layers learned": (edit(fine_tuned="conv"), "fine_tuned"),
    "mean of words": (edit(mean_rgb=["r", "g", "b"]), "mean_rgb"),
    "mean of two": (edit(mean_rgb=[120.0, 110.0]), "mean_rgb"),
    "infinite width": (lambda folder: replace_text(folder, '"width": 0.0625', '"width": 1e999'), "1e999"),
    "width of 0": (edit(width=0), "width"),
    "input scale of 0": (edit(input_scale=[1, 0, 1]), "input_scale"),
    "no such train scale": (edit(train_scale="100"), "train_scale"),
    "a class name that is a number": (edit(class_names=["n001", "n002", "n003", 4]), "class_names"),
    "a recipe without stages": (edit(provenance={"recipe": {}}), "provenance.recipe"),
    "other number of classes": (edit(class_names=["a", "b"]), "class_names"),
    "other network": (edit(network="D"), "conv1_2"),
    "boxes of classes": (edit(regression="per-class"), "fc8"),
    "no such regression": (edit(regression="both"), "regression"),
    "a mean box of three": (edit(constant_box=[0.5, 0.5, 0.25]), "constant_box"),
    "a mean box of words": (edit(constant_box=["x", 0.5, 0.25, 0.25]), "constant_box"),
    "a mean box that is none": (edit(constant_box="middle"), "constant_box"),
    "a mean box without width": (edit(constant_box=[0.5, 0.5, 0, 0.25]), "constant_box"),
    "a mean box without number": (edit(constant_box=[0.5, float("nan"), 0.25, 0.25]), "NaN"),
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "weights cut": (cut("model.safetensors", 0.7), "model.safetensors"),
    "weights cut in the header": (cut("model.safetensors", 0.001), "model.safetensors"),
    "weights empty": (cut("model.safetensors", 0), "model.safetensors"),
    "a tensor missing": (drop_a_tensor, "conv3_2.weight"),
    "a tensor more": (one_tensor_more, "conv9_9.weight"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_reported_in_one_sentence(saved: Path, what: str) -> None:
    damage, named = DAMAGES[what]
    damage(saved)
    with pytest.raises(WeightsError, match=named) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_a_full_disk_leaves_the_old_files(saved: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    names = tuple(f"class {number}" for number in range(1000))
    with full_disk():
        with pytest.raises(ResourceError, match="cannot be written"):
            save_weights(saved, VGG(NETWORKS["A"], 2, crop=32, width=1 / 16, fc_width=8).state_dict())
        with pytest.raises(ResourceError, match="cannot be written"):
            save_config(saved, replace(CONFIG, class_names=names, class_words=names))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert load_config(saved) == CONFIG
