"""Validation during a training: the error on central crops, and dead units."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import all_skipped_error
from verydeep.engine.inference import rescale_images, round_weights
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.objective import find_errors
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG


@dataclass(frozen=True)
class Validation:
    """Measurements on the validation images."""

    error: float
    """Top-1 error or ground-truth-class error in percent, on central crops."""
    dead_fc6: float
    """Share of units that no image activates."""
    dead_fc7: float
    skipped: dict[str, str]
    """Files of this process's share that cannot be decoded, with reasons."""


def validate(model: VGG, task: TrainingTask, scale: int, runtime: Runtime) -> Validation:
    """Measure the error on central crops at test scale Q = ``scale``, and the shares of dead units of fc6 and fc7."""
    split, decoding = task.validation_split, Decoding(task.decoding.bad_images)
    num_active = torch.zeros(2, model.fc_width, device=runtime.device)  # images that activate a unit of fc6 and fc7

    def count_active(row: int) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            num_active[row] += (output > 0).sum(dim=(0, 2, 3))

        return model.get_submodule(f"relu{row + 6}").register_forward_hook(hook)

    handles = [count_active(0), count_active(1)]
    skipped: dict[str, str] = {}
    counts = torch.zeros(2, dtype=torch.float64, device=runtime.device)  # errors, images
    try:
        # In eval mode, without dropout; the copy that bf16 needs has the same hooks.
        net = (round_weights(model) if runtime.bf16 else model).eval()
        for batch in rescale_images(net, split, [scale], runtime, whole=False, decoding=decoding):
            skipped |= batch.skipped
            errors = find_errors(net, batch, scale, split, task.regression, runtime)
            counts += torch.tensor([errors.sum(), len(errors)], device=runtime.device)
    finally:
        for handle in handles:
            handle.remove()
    num_errors, num_images = runtime.sum(counts).tolist()
    if not num_images:
        raise all_skipped_error(split)
    dead_fc6, dead_fc7 = (runtime.sum(num_active) == 0).float().mean(dim=1).tolist()
    return Validation(100 * num_errors / num_images, dead_fc6, dead_fc7, skipped)
