"""A checkpoint: the whole state of a training in one file, complete or not there."""

import json
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from verydeep.engine.training.schedule import Schedule
from verydeep.engine.training.state import TrainingProgress, TrainState
from verydeep.errors import WeightsError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import write_tensors
from verydeep.paths import describe_read_error, utf8_path

_DAMAGE = (SafetensorError, OSError, KeyError, ValueError, RuntimeError, msgspec.ValidationError)


def save_checkpoint(folder: Path, state: TrainState) -> Path:
    """Write the whole state to one file in ``folder``, then delete older checkpoints; returns the path of the file."""
    path = folder / f"step-{state.progress.step:09d}.safetensors"
    values = {name: json.dumps(asdict(getattr(state, name))) for name in ("progress", "schedule")}
    write_tensors(path, _tensors(state), values)
    for older in folder.glob("step-*"):  # a kill during writing leaves a part of one, but never under this name
        if older != path:
            older.unlink(missing_ok=True)  # a run may be removed while it is trained: the next checkpoint says so
    return path


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, if there is one."""
    return max(folder.glob("step-*.safetensors"), default=None)


def read_position(path: Path) -> tuple[TrainingProgress, Schedule]:
    """Read how far a training has come, without its weights.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
            return _position(file.metadata())
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _position(metadata: dict[str, str]) -> tuple[TrainingProgress, Schedule]:
    values = {key: json.loads(text) for key, text in metadata.items()}
    return msgspec.convert(values["progress"], TrainingProgress), msgspec.convert(values["schedule"], Schedule)


@torch.no_grad()
def load_checkpoint(path: Path, state: TrainState) -> None:
    """Fill ``state`` from a checkpoint.

    Raises:
        WeightsError: the file is damaged, or belongs to another net.
    """
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
            names = set(file.keys())
            state.progress, state.schedule = _position(file.metadata())
            for name, parameter in state.model.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
                if f"momentum.{name}" in names:
                    # In the parameter's memory format too, so that a resumed run adds in the same order.
                    momentum = torch.empty_like(parameter).copy_(file.get_tensor(f"momentum.{name}"))
                    state.optimizer.state[parameter]["momentum_buffer"] = momentum
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> WeightsError:
    if isinstance(error, PermissionError):
        return WeightsError(describe_read_error(path, error))
    return WeightsError(f"{path} is damaged, or belongs to another net ({error}): delete the file and resume again.")


def checkpoint_bytes(model: VGG) -> int:
    """Return the size of a checkpoint: four bytes for each weight, and four for the momentum of each that learns."""
    return sum(4 * parameter.numel() * (2 if parameter.requires_grad else 1) for parameter in model.parameters())


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in state.model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        momentum = state.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum.cpu().contiguous()
    return tensors
