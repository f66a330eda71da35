"""Nets with numbers that are not finite, in their weights or in what they compute, are refused by every command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import verydeep as vd
from tests.runs import Cli
from tests.thin_nets import make_boxes, make_pictures, narrow_config, save_box_run, save_model, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.errors import WeightsError
from verydeep.models.weights.model_folder import load_model, load_tensors, save_weights

COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "predict": lambda net, data: vd.predict(net, data / "val" / "ant"),
    "predict crops": lambda net, data: vd.predict(net, data / "val" / "ant", views="crops"),
    "evaluate": lambda net, data: vd.evaluate(data, net),
    "features": lambda net, data: vd.features(net, data / "val", out="archive"),
    "transfer": lambda net, data: vd.transfer(data, net, scales="256", out="classifier"),
    "describe": lambda net, data: vd.describe(net, data / "val" / "ant"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("pictures")
    for number, part in enumerate(("train", "val", "test")):
        make_pictures(data / part, 2, first=100 * number)
    return data


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save_run(Path("runs"), narrow_config(PaperNet.parse("A/256"), data))


@pytest.mark.parametrize("command", COMMANDS)
def test_nets_that_overflow_are_named(command: str, data: Path, run: Path) -> None:
    weights = load_tensors(run / "model")
    save_weights(run / "model", {name: tensor * 1e30 for name, tensor in weights.items()})
    with pytest.raises(WeightsError, match=f"^{run} computes .* that are not finite.*: train the net again") as refusal:
        COMMANDS[command](run, data)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("layer", "value", "word"), [("conv1_1", "nan", "NaN"), ("fc7", "-inf", "infinite numbers")])
def test_weights_that_are_not_finite_are_named(
    command: str, layer: str, value: str, word: str, data: Path, run: Path
) -> None:
    weights = load_tensors(run / "model")
    weights[f"{layer}.weight"].view(-1)[5] = float(value)
    save_weights(run / "model", weights)
    with pytest.raises(WeightsError, match=rf"{run}/model/model\.safetensors has {word} in {layer}\.weight"):
        COMMANDS[command](run, data)


def test_localization_nets_that_overflow_are_named(data: Path, run: Path) -> None:
    make_boxes(data)
    net = save_box_run(run.parent, PaperNet.parse("A/256pcr"), data)
    model, config = load_model(net / "model")
    with torch.no_grad():
        model.conv1_1.weight *= 1e38
        model.fc8.weight *= 1e38
    save_model(model, config, net)
    for call in (lambda: vd.localize(net, data / "val" / "ant"), lambda: vd.evaluate(data, net, task="localize")):
        with pytest.raises(WeightsError, match=f"^{net} computes values that are not finite"):
            call()


def test_the_command_line_prints_one_sentence_and_no_number(data: Path, run: Path, inside: Cli) -> None:
    weights = load_tensors(run / "model")
    save_weights(run / "model", {name: torch.full_like(tensor, 1e30) for name, tensor in weights.items()})
    for command in (("predict", run, data / "val", "--format", "json"), ("evaluate", data, run)):
        done = inside(*command, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(run) in done.stderr
        assert "nan" not in done.stdout.casefold() and "100" not in done.stdout
    assert not list(Path().rglob("result.json"))


def test_one_class_is_no_soft_max(run: Path, data: Path) -> None:
    path = run / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"class_names": ["ant"], "class_words": ["ant"]}))
    with pytest.raises(WeightsError, match=f"{run}/model has one output, which is not a soft-max over classes"):
        vd.predict(run, data / "val" / "ant")
