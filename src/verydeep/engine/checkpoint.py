"""A run is a folder. This is what lies in it, and how it is saved so that no kill leaves a broken file.

runs/<name>/
  run.json            the resolved command: data, network, recipe, seeds
  metrics.jsonl       one line a report
  checkpoints/        step-<n>.safetensors: weights, momentum, and the state of the schedule
  model/, best/       model folders: the last weights, and those of the best validation error
  model/classifier/   of a localization net the model folder of the net that it started from
  skipped.json        files that could not be decoded
  bad-boxes-*.json    boxes that were mended or left out
  train.log           what was printed
  .lock               empty; locked while a process trains it
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from verydeep.configs.published import PUBLISHED
from verydeep.engine.importing.imported import imported_folder, is_name
from verydeep.engine.training import Job, TrainState, new_schedule
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import CONFIG, ModelConfig, load_model, write_tensors

Weights = Literal["last", "best"]

WEIGHT_SUFFIXES = (".caffemodel", ".mat", ".h5", ".pth", ".pt", ".safetensors")
"""Of other systems' files."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def settings(self) -> Path:
        """The resolved command."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains it."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model folder of the last weights."""
        return self.path / "model"

    @property
    def best(self) -> Path:
        """The model folder of the best weights by validation error."""
        return self.path / "best"

    def bad_boxes(self, part: str) -> Path:
        """The list of boxes of train or val that were mended or left out."""
        return self.path / f"bad-boxes-{part}.json"


def model_folder(run: Path, weights: Weights = "last") -> Path:
    """The model folder of a run, the folder itself where it is one, or that of a weight file or a published net.

    Raises:
        VerydeepError: there is none, or ``best`` is asked of what is a single net; or as ``imported_folder``.
    """
    if not run.exists() and not is_name(run.as_posix()):
        return imported_folder(run)  # which says so
    is_run = run.is_dir() and not (run / CONFIG).exists()
    if not is_run:
        if weights == "best":
            raise VerydeepError(f"{run} is a single net: --weights best needs the folder of a run.")
        return run if run.is_dir() else imported_folder(run)
    folder = RunFolder(run).model if weights == "last" else RunFolder(run).best
    if not (folder / CONFIG).exists():
        raise VerydeepError(f"{run} holds no net in {folder.name}/: train it, or give another folder.")
    return folder


def is_net(path: Path) -> bool:
    """Whether this stands for one net, and not for a folder of runs."""
    if not path.is_dir():
        return path.is_file() or is_name(path.as_posix())
    return (path / CONFIG).exists() or (RunFolder(path).model / CONFIG).exists()


def looks_like_a_net(path: Path) -> bool:
    """Whether a path that is not there was meant for a weight file or a published net."""
    return path.suffix in WEIGHT_SUFFIXES or path.name.split("-")[0] in {name.split("-")[0] for name in PUBLISHED}


def load(source: str | Path, weights: Weights = "last") -> tuple[VGG, ModelConfig]:
    """A net in eval mode, and what travels with it, from whatever stands for one.

    Args:
        source: a run, a model folder, a weight file of Caffe, MatConvNet, Keras, torchvision or timm, the name of a
            published net ("oxford-vgg16"; `verydeep convert --help`), or "hf-hub:owner/name".
        weights: of a run, the last ones or those of the best validation error.

    Raises:
        VerydeepError: there is none, or it is damaged.
    """
    return load_model(model_folder(Path(source), weights))


def save_checkpoint(folder: Path, state: TrainState, metrics_bytes: int) -> Path:
    """Write the whole state in one file, complete or not at all; older checkpoints are deleted only after it.

    Args:
        folder: of the checkpoints.
        state: of the training.
        metrics_bytes: how long metrics.jsonl is; what is written to it later is cut on resume.
    """
    path = folder / f"step-{state.step:09d}.safetensors"
    values = {
        "step": state.step,
        "stage": state.stage,
        "epoch_loss": state.epoch_loss,
        "epoch_steps": state.epoch_steps,
        "best_error": _finite(state.best_error),
        "skipped": state.skipped,
        "off_target": state.off_target,
        "metrics_bytes": metrics_bytes,
        "schedule": {
            "first_step": state.schedule.first_step,
            "num_steps": state.schedule.num_steps,
            "drops": state.schedule.drops,
            "best_error": _finite(state.schedule.best_error),
            "best_step": state.schedule.best_step,
            "learning": state.schedule.learning,
        },
    }
    write_tensors(path, _tensors(state), {"state": json.dumps(values)})
    for older in folder.glob("step-*"):  # a kill while writing leaves half of one, never under a checkpoint's name
        if older != path:
            older.unlink()
    return path


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, if there is one."""
    return max(folder.glob("step-*.safetensors"), default=None)


@torch.no_grad()
def load_checkpoint(path: Path, state: TrainState, job: Job) -> int:
    """Fill ``state`` from a checkpoint; returns the length that metrics.jsonl had.

    Raises:
        VerydeepError: it is damaged or of another net.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()["state"])
            for name, parameter in state.model.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
                if f"momentum.{name}" in file.keys():  # noqa: SIM118 - not a dictionary
                    # Like the parameter in memory format too, so that a resumed run adds in the same order.
                    momentum = torch.empty_like(parameter).copy_(file.get_tensor(f"momentum.{name}"))
                    state.optimizer.state[parameter]["momentum_buffer"] = momentum
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise VerydeepError(f"{path} is damaged or of another net ({error}): delete it and resume again.") from None
    state.step, state.stage = values["step"], values["stage"]
    state.epoch_loss, state.epoch_steps = values["epoch_loss"], values["epoch_steps"]
    state.best_error, state.skipped = _infinite(values["best_error"]), values["skipped"]
    state.off_target = values.get("off_target", 0)
    schedule = values["schedule"]
    state.schedule = new_schedule(
        job.recipe, min(state.stage, len(job.recipe.stages) - 1), schedule["first_step"], len(job.train)
    )
    state.schedule.num_steps = schedule["num_steps"]
    state.schedule.drops, state.schedule.best_step = schedule["drops"], schedule["best_step"]
    state.schedule.best_error, state.schedule.learning = (
        _infinite(schedule["best_error"]),
        schedule["learning"],
    )
    return int(values["metrics_bytes"])


def checkpoint_bytes(model: VGG) -> int:
    """Size of one checkpoint: all weights, and the momentum of those that learn, four bytes each."""
    return sum(4 * parameter.numel() * (2 if parameter.requires_grad else 1) for parameter in model.parameters())


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in state.model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        momentum = state.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum.cpu().contiguous()
    return tensors


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _infinite(value: float | None) -> float:
    return math.inf if value is None else value
