"""A checkpoint: the whole state of a training in one file, saved so that no kill leaves a broken one."""

import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from verydeep.engine.training.fit import TrainState, new_schedule
from verydeep.engine.training.task import TrainingTask
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import write_tensors


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
def load_checkpoint(path: Path, state: TrainState, task: TrainingTask) -> int:
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
        task.recipe, min(state.stage, len(task.recipe.stages) - 1), schedule["first_step"], len(task.train)
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
