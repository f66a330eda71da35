"""What commands tell about a net before they use it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.runs import Cli
from verydeep.engine.nets.checks import open_net


@pytest.fixture
def stopped(trained: Path, tmp_path: Path) -> Path:
    """A run that was killed at step 4."""
    run = tmp_path / "stopped"
    shutil.copytree(trained, run)
    (last,) = (run / "checkpoints").iterdir()
    last.rename(last.with_name("step-000000004.safetensors"))
    config = run / "model" / "config.json"
    values = json.loads(config.read_text())
    values["provenance"]["converged"] = None
    config.write_text(json.dumps(values))
    return run


@pytest.mark.parametrize(
    "command",
    [
        "predict {run} gone.jpg",
        "describe {run} gone.jpg",
        "explain {run} gone.jpg",
        "localize {run} gone.jpg",
        "features {run} gone --out described",
        "evaluate gone {run}",
        "transfer {data} {run} --layer relu99",
        "verify gone --net {run}",
        "train gone --init-from {run}",
        "export {run} --format torchvision --out {run}/run.json",
        "push {run} owner/name",
        "demo {run} --archive gone --port 0",
    ],
)
def test_a_training_that_has_not_ended_is_reported(command: str, stopped: Path, photographs: Path, inside: Cli) -> None:
    """One line, before anything else is wrong."""
    done = inside(*command.format(run=stopped, data=photographs).split(), check=False)
    told = " ".join((done.stdout + done.stderr).split())
    note = f"The training of {stopped} has not ended; its net at step 4 is used. If it has stopped, continue it with"
    assert told.count(note) == 1, told


def test_a_training_that_has_ended_is_not(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_net(trained)
    assert capsys.readouterr() == ("", "")
