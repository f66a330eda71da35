"""Where a training step computes values that are not finite: the layer, and the files of the batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from verydeep.engine.runtime import Runtime
from verydeep.engine.training.gradients import BatchLoss, dropout_masks
from verydeep.engine.training.state import TrainState
from verydeep.engine.training.step_batches import load_steps, make_sampler
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG


def describe_overflow(state: TrainState, task: TrainingTask, step: int, at_once: int, runtime: Runtime) -> str:
    """Repeat a step, counted from 0, from the weights that it began with, on all processes; say where it overflows."""
    found = find_overflow(state, task, step, at_once, runtime)
    return next(filter(None, runtime.gather(found)), "the length of the gradient")


def find_overflow(state: TrainState, task: TrainingTask, step: int, at_once: int, runtime: Runtime) -> str:
    """Return the first value of this process's rows that is not finite, in words; nothing if all are."""
    model, sampler = state.model.train(), make_sampler(task, step, step + 1, runtime)
    (keys,), (batch,) = sampler, load_steps(task, state.progress.stage, model.crop, sampler, 0)
    files = [task.train.files[index] for _, index in keys]
    batch_loss, masks = BatchLoss(model, task, runtime), dropout_masks(model, task, step, runtime)
    model.zero_grad(set_to_none=True)
    for first in range(0, len(files), at_once):
        rows = batch.rows(first, at_once).map(runtime.move)
        row_masks = {name: mask[first : first + at_once] for name, mask in masks.items()}
        with _kept_outputs(model) as outputs:
            losses = batch_loss.of_rows(rows, row_masks)
        values = {f"the output of {name}": output for name, output in outputs.items()} | {"the loss": losses}
        if found := _first_overflow(values, files[first:]):
            return found
        (losses.sum() / task.recipe.batch_size * runtime.world_size).backward()  # type: ignore[no-untyped-call]
        gradients = {f"the gradient at {name}": out.grad for name, out in reversed(outputs.items())}
        if found := _first_overflow(gradients, files[first:]):
            return found
    for name, layer in reversed(model.weight_layers().items()):
        if any(each.grad is not None and not each.grad.isfinite().all() for each in layer.parameters()):
            return f"the gradient of {name}'s weights"
    return ""


@contextmanager
def _kept_outputs(model: VGG) -> Iterator[dict[str, Tensor]]:
    """Keep the output of each layer, which will keep its gradient."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output
            if output.requires_grad:
                output.retain_grad()

        return layer.register_forward_hook(hook)

    handles = [keep(name, layer) for name, layer in model.named_children()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _first_overflow(values: Mapping[str, Tensor | None], files: Sequence[str]) -> str:
    """Return the first values (N, ...) of which some are not finite, with the files of these rows."""
    for name, value in values.items():
        if value is not None and not value.isfinite().all():
            bad = (~value.flatten(1).isfinite().all(dim=1)) if value.ndim > 1 else ~value.isfinite()
            numbers = bad.nonzero()[:, 0].tolist()
            more = f" and {len(numbers) - 1} more of these {len(value)}" if len(numbers) > 1 else ""
            return f"{name}, for {files[numbers[0]]}{more}"
    return ""
