"""One step of training (section 3.1): from a batch of crops to the gradient of its mean loss."""

from typing import cast

import torch
from torch import Tensor, nn

from verydeep.data.sampling import process_rows
from verydeep.data.training_images import TrainBatch
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.objective import row_losses
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG
from verydeep.ops.images import color_basis, flip_where
from verydeep.ops.seeds import torch_seed


def color_matrix(task: TrainingTask, device: torch.device) -> Tensor | None:
    """The (3, 3) matrix that turns three normals into the color shift, or None."""
    if task.recipe.color_shift == "none":
        return None
    return torch.from_numpy(color_basis(task.covariance, task.recipe.color_shift)).float().to(device)


def net_input(batch: TrainBatch, basis: Tensor | None) -> Tensor:
    """(N, 3, H, W) float: the crops flipped and color-shifted, RGB around 0-255; the net subtracts the mean."""
    images = flip_where(batch.images.permute(0, 3, 1, 2), batch.flip).float()
    return images if basis is None else images + (batch.color @ basis.T)[:, :, None, None]


def dropout_masks(model: VGG, task: TrainingTask, step: int, runtime: Runtime) -> dict[str, Tensor]:
    """This process's rows of the whole batch's masks, drawn from (seed, step) alone."""
    p, batch = model.drop6.p, task.recipe.batch_size
    if p == 0:
        return {}
    generator = torch.Generator(runtime.device).manual_seed(torch_seed(task.seed, step))
    rows = process_rows(runtime.rank, runtime.world_size, batch)
    masks = torch.empty(2, batch, model.fc_width, dtype=torch.bool, device=runtime.device)
    masks.bernoulli_(1 - p, generator=generator)
    return {"drop6": masks[0, rows], "drop7": masks[1, rows]}


def backward(
    parallel: nn.Module,
    model: VGG,
    batch: TrainBatch,
    basis: Tensor | None,
    task: TrainingTask,
    step: int,
    runtime: Runtime,
) -> Tensor:
    """Add the gradient of the mean loss over the global batch; returns this process's part of that loss.

    The loss is a sum over rows divided by the global batch, so neither micro-batches nor processes change it.
    """
    masks = dropout_masks(model, task, step, runtime)
    total = torch.zeros((), device=runtime.device)
    count = len(batch.targets)
    for first in range(0, count, task.micro_batch):
        part = batch.rows(first, task.micro_batch).map(runtime.move)
        keep = {name: mask[first : first + task.micro_batch] for name, mask in masks.items()}
        runtime.sync_gradients(parallel, first + task.micro_batch >= count)
        with runtime.autocast():
            scores = cast(Tensor, parallel(net_input(part, basis), keep)).float().flatten(1)
        losses = row_losses(scores, part, task.regression)
        loss = (losses * part.valid).sum() / task.recipe.batch_size
        (loss * runtime.world_size).backward()  # type: ignore[no-untyped-call]  # DDP takes the mean over processes, we want the sum
        total += loss.detach()
    return total


def unscale_input_gradient(model: VGG, input_scale: tuple[float, float, float] | None) -> None:
    """Let conv1_1 learn as it would in the system that the net was imported from.

    There its weights are k times ours, and their gradient 1/k of ours: a step of theirs, in our units, is ours divided
    by k squared. Weight decay, which the optimizer adds later, is the same in both units (DESIGN 2).
    """
    gradient = model.get_submodule("conv1_1").get_parameter("weight").grad
    if input_scale is not None and gradient is not None:
        gradient /= gradient.new_tensor(input_scale).square()[:, None, None]


def gradient_norm(model: VGG) -> float:
    """The Euclidean norm of the gradient of all that learns."""
    return float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
