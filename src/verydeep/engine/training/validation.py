"""How a net does on held-out images while it is trained: its error on the central crop, and units that are dead."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from verydeep.data.decoding import Decoding
from verydeep.data.split import nothing_decoded
from verydeep.engine.inference import rescaled_images, rounded
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.objective import wrong_answers
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG


@dataclass(frozen=True)
class Validation:
    """What a pass over held-out images shows."""

    error: float
    """Top-1 or ground-truth-class error in percent, center crop."""
    dead_fc6: float
    dead_fc7: float
    skipped: dict[str, str]
    """Of this process's share."""


def validate(model: VGG, task: TrainingTask, scale: int, runtime: Runtime) -> Validation:
    """The error of the central crop, and the shares of units of fc6 and fc7 that no image activates."""
    split = task.watched
    alive = torch.zeros(2, model.fc_width, device=runtime.device)

    def note(row: int) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            alive[row] += (output > 0).sum(dim=(0, 2, 3))

        return model.get_submodule(f"relu{row + 6}").register_forward_hook(hook)

    handles = [note(0), note(1)]
    skipped: dict[str, str] = {}
    counts = torch.zeros(2, dtype=torch.float64, device=runtime.device)  # wrong, all
    try:
        # Without dropout; the copy that bf16 takes has the same hooks.
        tested = (rounded(model) if runtime.bf16 else model).eval()
        decoding = Decoding(task.decoding.bad_images)
        for batch in rescaled_images(tested, split, [scale], runtime, whole=False, decoding=decoding):
            skipped |= batch.skipped
            wrong = wrong_answers(tested, batch, scale, split, task.regression, runtime)
            counts += torch.tensor([wrong.sum(), len(wrong)], device=runtime.device)
    finally:
        for handle in handles:
            handle.remove()
    wrong, total = runtime.sum(counts).tolist()
    if not total:
        raise nothing_decoded(split)
    dead = (runtime.sum(alive) == 0).float().mean(dim=1).tolist()
    return Validation(100 * wrong / total, dead[0], dead[1], skipped)
