"""The batches of training steps: this process's rows of them, decoded."""

from collections.abc import Iterator

from verydeep.data.loading.sampling import BalancedClasses, StepSampler
from verydeep.data.loading.training_images import TrainBatch, TrainSamples, load_train_batches
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.task import TrainingTask


def make_sampler(task: TrainingTask, first: int, last: int, runtime: Runtime) -> StepSampler:
    """Return the (epoch, index) of this process's rows of the steps from ``first`` up to ``last``."""
    balanced = None
    if task.recipe.balance == "sampling":
        assert task.train.labels is not None
        balanced = BalancedClasses(task.train.labels)
    process = (runtime.rank, runtime.world_size)
    return StepSampler(len(task.train), task.recipe.batch_size, task.seed, first, last, *process, balanced)


def load_steps(
    task: TrainingTask, stage: int, crop: int, sampler: StepSampler, num_workers: int, *, pin_memory: bool = False
) -> Iterator[TrainBatch]:
    """Yield this process's rows of the batches of a stage of the recipe, for the steps of a sampler.

    Raises:
        DataError: a file cannot be decoded, and bad images are errors.
    """
    scale = task.recipe.stages[stage].scale.in_pixels(crop)
    boxes = task.regression is not None
    samples = TrainSamples(task.train, scale, crop, task.seed, task.decoding, with_boxes=boxes)
    return load_train_batches(samples, sampler, num_workers, pin_memory=pin_memory)
