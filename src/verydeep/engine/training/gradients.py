"""The gradient of a training step (section 3.1): from a batch of crops to the gradient of its mean loss."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from verydeep.data.loading.sampling import class_weights, process_rows
from verydeep.data.loading.training_images import TrainBatch
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.objective import row_losses
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG
from verydeep.ops.images import color_basis, flip_where
from verydeep.ops.seeds import torch_seed


def color_matrix(task: TrainingTask, device: torch.device) -> Tensor | None:
    """Return the (3, 3) matrix that turns three standard normals into a color shift in RGB, or None for no shift."""
    if task.recipe.color_shift == "none":
        return None
    return torch.from_numpy(color_basis(task.covariance, task.recipe.color_shift)).float().to(device)


def loss_weights(task: TrainingTask, device: torch.device) -> Tensor | None:
    """Return the factors (K,) on the loss of each class if these are balanced by weights, or None."""
    if task.recipe.balance != "weights":
        return None
    assert task.train.labels is not None
    return torch.from_numpy(class_weights(task.train.labels, len(task.train.class_names))).float().to(device)


def net_input(batch: TrainBatch, colors: Tensor | None) -> Tensor:
    """Flip and color-shift the crops of a batch: (N, 3, H, W) float, RGB, around 0-255."""
    images = flip_where(batch.images.permute(0, 3, 1, 2), batch.flip).float()
    return images if colors is None else images + (batch.color @ colors.T)[:, :, None, None]


def dropout_masks(model: VGG, task: TrainingTask, step: int, runtime: Runtime) -> dict[str, Tensor]:
    """Draw the dropout masks of a step from (seed, step) alone, and return this process's rows of them."""
    p, batch_size = model.drop6.p, task.recipe.batch_size
    if p == 0:
        return {}
    generator = torch.Generator(runtime.device).manual_seed(torch_seed(task.seed, step))
    masks = torch.empty(2, batch_size, model.fc_width, dtype=torch.bool, device=runtime.device)
    masks.bernoulli_(1 - p, generator=generator)
    rows = process_rows(runtime.rank, runtime.world_size, batch_size)
    return {"drop6": masks[0, rows], "drop7": masks[1, rows]}


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The loss of a net's batches in one stage of a training, and its gradient."""

    net: nn.Module
    """As ``runtime.parallel`` returns it, or the net itself."""
    task: TrainingTask
    runtime: Runtime

    @cached_property
    def _colors(self) -> Tensor | None:
        return color_matrix(self.task, self.runtime.device)

    @cached_property
    def _weights(self) -> Tensor | None:
        return loss_weights(self.task, self.runtime.device)

    def backward(
        self, batch: TrainBatch, masks: dict[str, Tensor], micro_batch: int, *, overlap: bool = True
    ) -> Tensor:
        """Add the gradient of the mean loss over the whole batch; returns this process's part of that loss.

        ``micro_batch`` rows go through the net at once. With ``overlap``, the processes sum the gradients of a layer
        while they compute those of the next; else they do so at the end, and a process that fails may begin again.

        The loss is a sum over rows divided by the size of the whole batch, so neither micro-batches nor processes
        change it.
        """
        runtime = self.runtime
        total = torch.zeros((), device=runtime.device)
        for first in range(0, len(batch.targets), micro_batch):
            rows = batch.rows(first, micro_batch).map(runtime.move)
            row_masks = {name: mask[first : first + micro_batch] for name, mask in masks.items()}
            runtime.sync_gradients(self.net, overlap and first + micro_batch >= len(batch.targets))
            loss = self.of_rows(rows, row_masks).sum() / self.task.recipe.batch_size
            # DistributedDataParallel takes the mean over processes; the factor makes it the sum.
            (loss * runtime.world_size).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if not overlap:
            runtime.average_gradients(self.net)
        return total

    def of_rows(self, rows: TrainBatch, masks: dict[str, Tensor]) -> Tensor:
        """Return the losses (N,) of rows that are on the device; 0 for an image that cannot be decoded."""
        with self.runtime.autocast():
            outputs = cast(Tensor, self.net(net_input(rows, self._colors), masks)).float().flatten(1)
        losses = row_losses(outputs, rows, self.task.regression)
        if self._weights is not None:
            losses = losses * self._weights[rows.targets]
        return losses * rows.valid


def unscale_gradient(model: VGG, input_scale: tuple[float, float, float] | None) -> None:
    """Divide the gradient of conv1_1 so that it learns as in the system that the net was imported from.

    There its weights are k times ours and their gradient 1/k of ours. Its step, in our units, is ours divided by k
    squared. Weight decay, which the optimizer adds later, is the same in both units.
    """
    gradient = model.get_submodule("conv1_1").get_parameter("weight").grad
    if input_scale is not None and gradient is not None:
        gradient /= gradient.new_tensor(input_scale).square()[:, None, None]


def gradient_norm(model: VGG) -> Tensor:
    """Return the Euclidean norm () of the gradient of all parameters that learn."""
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
