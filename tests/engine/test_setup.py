"""Where the first weights come from, and which of them may move."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.test_settings import SETTINGS
from tests.engine.test_training import CPU
from tests.models.plain_twin import fill
from verydeep.engine.report import Journal
from verydeep.engine.request import Request, resolve
from verydeep.engine.settings import Settings
from verydeep.engine.setup import choose_learning, measure, model_config, warm_start
from verydeep.errors import VerydeepError
from verydeep.files import read_json
from verydeep.models.weights import native
from verydeep.models.weights.native import ModelConfig, save_config, save_weights

CLASSES = ("ant", "bee", "crab")


def config_of(network: str, width: float = 1 / 16) -> ModelConfig:
    return ModelConfig(network, CLASSES, CLASSES, crop=32, width=width, fc_width=12)


def start(folder: Path, source: ModelConfig, network: str, settings: Settings = SETTINGS) -> None:
    """Begin a net of this name from a saved one."""
    net = source.build()
    fill(net, seed=2)
    save_config(folder / "source", source)
    save_weights(folder / "source", net.state_dict())
    settings = replace(settings, init_from=str(folder / "source"), network=network)
    warm_start(config_of(network).build(), settings, source, CLASSES, Journal())


@pytest.mark.parametrize(("source", "layer"), [(config_of("A"), "conv1_2"), (config_of("D", 1 / 8), "conv1_1")])
def test_convolutions_that_cannot_be_taken_would_never_learn(tmp_path: Path, source: ModelConfig, layer: str) -> None:
    with pytest.raises(VerydeepError, match=f"--fine-tune fc keeps .*{layer} cannot be taken .*net D") as caught:
        start(tmp_path, source, "D")
    assert "\n" not in str(caught.value)


def test_fc_layers_that_cannot_be_taken_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another crop means another fc6, which is drawn; all thirteen convolutions of D are taken."""
    start(tmp_path, replace(config_of("D"), crop=64), "D")
    told = capsys.readouterr().out
    assert "drawn: another shape" in told and told.count("conv") == 13


def test_other_nets_are_taken_as_before_where_all_layers_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, config_of("A"), "D", replace(SETTINGS, fine_tuned="all"))
    assert "drawn: the paper takes only" in capsys.readouterr().out


def test_the_net_that_another_starts_from_is_described_once(
    photographs: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config.json is read by ``resolve`` and handed on, its mean with it; the covariance is that of the data."""
    read: list[Path] = []

    def noted(path: Path) -> object:
        read.append(path)
        return read_json(path)

    monkeypatch.setattr(native, "read_json", noted)
    asked = Request(str(photographs), network="B", crop=32, width=1 / 16, fc_width=16, init_from=trained)
    training = resolve(asked)
    settings = measure(training.settings, training.train, CPU)
    config = model_config(settings, training.train, training.val)
    warm_start(config.build(), settings, training.source, config.class_names, Journal())
    assert read == [trained / "model" / "config.json"]
    fresh = measure(resolve(replace(asked, init_from=None)).settings, training.train, CPU)
    assert fresh.covariance == settings.covariance


def test_a_mean_that_is_given_is_kept(photographs: Path) -> None:
    training = resolve(Request(str(photographs), crop=32))
    given = measure(replace(training.settings, mean_rgb=(1.0, 2.0, 3.0)), training.train, CPU)
    measured = measure(training.settings, training.train, CPU)
    assert given.mean_rgb == (1.0, 2.0, 3.0) != measured.mean_rgb
    assert given.covariance == measured.covariance


def test_which_layers_learn() -> None:
    model = config_of("A").build()
    choose_learning(model, "fc")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning == ["fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"]
    choose_learning(model, "all")
    assert all(parameter.requires_grad for parameter in model.parameters())
