"""The cost of the ladder: seconds and bytes of each training, measured before any of them starts."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import PaperNet
from verydeep.configs.recipes import RECIPES, Recipe
from verydeep.data.loading.sampling import steps_after
from verydeep.engine.nets.net import NetShape
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.advice import estimate_test_cost
from verydeep.engine.training.checkpoint import checkpoint_bytes
from verydeep.engine.training.state import make_optimizer
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG

TIMED_IMAGES = 8
"""Images of the step that is timed."""


@dataclass(frozen=True)
class StepCost:
    """The cost of one network on this machine, apart from decoding."""

    seconds_per_image: float
    """Time of an image's forward and backward pass."""
    seconds_per_update: float
    """Time of an update of the weights."""
    disk_bytes: int
    """Size of a run: the checkpoint, the last and the best net."""


def measure_costs(networks: Collection[str], shape: NetShape, runtime: Runtime) -> dict[str, StepCost]:
    """Time each network on a gray image; trainings of the FC layers alone count as whole ones."""
    costs = ((network, measure_cost(network, shape, runtime)) for network in sorted(networks))
    return dict(track(costs, "Timing the nets", len(networks)) if runtime.is_main else costs)


def measure_cost(network: str, shape: NetShape, runtime: Runtime) -> StepCost:
    """Time one small step, after one that warms up."""
    num_classes = len(shape.class_names)
    model = VGG(NETWORKS[network], num_classes, crop=shape.crop, width=shape.width, fc_width=shape.fc_width)
    initialize(model, "glorot", 0)
    model = runtime.place(model).train()
    optimizer = make_optimizer(model, RECIPES["256"])
    images = runtime.move(torch.full((TIMED_IMAGES, 3, shape.crop, shape.crop), 128.0))
    targets = runtime.move(torch.arange(TIMED_IMAGES) % num_classes)

    def backward() -> None:
        with runtime.autocast():
            scores = model(images).float().flatten(1)
        F.cross_entropy(scores, targets).backward()  # type: ignore[no-untyped-call]

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    def seconds(action: Callable[[], None]) -> float:
        runtime.wait()
        begin = time.perf_counter()
        action()
        runtime.wait()
        return time.perf_counter() - begin

    disk_bytes = checkpoint_bytes(model) + 2 * 4 * sum(parameter.numel() for parameter in model.parameters())
    with runtime.tuned():
        backward()
        update()
        return StepCost(seconds(backward) / TIMED_IMAGES, seconds(update), disk_bytes)


def estimate_seconds(
    cost: StepCost, recipe: Recipe, net: PaperNet, num_images: int, num_test_images: int, num_processes: int
) -> float:
    """Estimate the seconds of a training and of the test at its end."""
    steps = steps_after(recipe.epochs, num_images, recipe.batch_size)
    boxes = net.regression is not None
    test_cost = estimate_test_cost(num_test_images, net.scale.test_scales, fc_alone=False, boxes=boxes)
    per_image = cost.seconds_per_image / num_processes
    return (recipe.epochs * num_images + test_cost) * per_image + steps * cost.seconds_per_update
