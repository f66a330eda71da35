"""What training draws on the device: the color shift's covariance, flips, dropout masks."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.test_images import EIGENVALUES, EIGENVECTORS, IMAGENET_COVARIANCE
from verydeep.configs.networks import NETWORKS
from verydeep.configs.recipes import RECIPES, ColorShift
from verydeep.data.loading.training_images import TrainBatch
from verydeep.data.split import Split
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.gradients import color_matrix, dropout_masks, net_input
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG

CPU = torch.device("cpu")
NUM_SHIFTS = 200_000


def task_with(color_shift: ColorShift, seed: int = 0, batch_size: int = 64) -> TrainingTask:
    split = Split("train", Path(), (), np.zeros(0, np.int64), (), (), "", False)
    recipe = replace(RECIPES["256"], color_shift=color_shift, batch_size=batch_size)
    return TrainingTask(split, None, recipe, IMAGENET_COVARIANCE, seed, batch_size)


def batch_of(images: Tensor, color: Tensor, flip: Tensor | None = None) -> TrainBatch:
    n = len(images)
    flip = torch.zeros(n, dtype=torch.bool) if flip is None else flip
    return TrainBatch(images, torch.zeros(n, dtype=torch.int64), flip, color, torch.ones(n), {})


def shifts(color_shift: ColorShift) -> np.ndarray:
    """(n, 3) shifts in RGB of as many black images of one pixel."""
    color = torch.randn(NUM_SHIFTS, 3, generator=torch.Generator().manual_seed(1))
    batch = batch_of(torch.zeros(NUM_SHIFTS, 1, 1, 3, dtype=torch.uint8), color)
    return net_input(batch, color_matrix(task_with(color_shift), CPU))[:, :, 0, 0].double().numpy()


def test_the_std_shift_has_a_hundredth_of_the_pixels_covariance() -> None:
    drawn = shifts("std")
    expected = 0.01 * IMAGENET_COVARIANCE
    assert np.abs(np.cov(drawn.T) - expected).max() < 0.02 * expected.max()
    assert np.abs(drawn.mean(axis=0)).max() < 5 * np.sqrt(expected.max() / NUM_SHIFTS)


def test_the_eigenvalue_shift_is_krizhevskys() -> None:
    """P (alpha * lambda), alpha ~ N(0, 0.1^2): deviations of 5.55, 0.48 and 0.11 grey levels along PC1..3."""
    along = shifts("eigenvalue") @ EIGENVECTORS
    assert along.std(axis=0) == pytest.approx([5.55, 0.48, 0.11], abs=0.03)
    assert along.std(axis=0) == pytest.approx(0.1 * 255 * EIGENVALUES, rel=0.01)


def test_without_color_shift_nothing_is_added() -> None:
    assert color_matrix(task_with("none"), CPU) is None
    images = torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8)
    out = net_input(batch_of(images, torch.randn(2, 3)), None)
    assert torch.equal(out, images.permute(0, 3, 1, 2).float())


def test_a_shift_is_one_color_for_all_pixels_of_an_image() -> None:
    images = torch.randint(0, 256, (3, 4, 6, 3), dtype=torch.uint8)
    flip = torch.tensor([False, True, False])
    color = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [-1.0, 0.2, 3.0]])
    basis = color_matrix(task_with("std"), CPU)
    assert basis is not None
    out = net_input(batch_of(images, color, flip), basis)
    for n in range(3):
        pixels = images[n].float()
        pixels = pixels.flip(1) if flip[n] else pixels  # (H, W, 3): columns
        shift = [sum(float(basis[channel, k] * color[n, k]) for k in range(3)) for channel in range(3)]
        for channel in range(3):
            assert torch.allclose(out[n, channel], pixels[..., channel] + shift[channel], atol=1e-4)


def small_net() -> VGG:
    return VGG(NETWORKS["A"], 3, crop=32, width=1 / 64, fc_width=500)


def test_dropout_masks_are_a_function_of_seed_and_step() -> None:
    net, runtime = small_net(), Runtime(CPU, bf16=False)
    drawn = {
        (seed, step): dropout_masks(net, task_with("none", seed=seed), step, runtime)["drop6"]
        for seed in (0, 1, 2)
        for step in (0, 1, 1000)
    }
    again = dropout_masks(net, task_with("none", seed=1), 1000, runtime)["drop6"]
    assert torch.equal(again, drawn[1, 1000])
    alike = [(a, b) for a, b in combinations(drawn, 2) if torch.equal(drawn[a], drawn[b])]
    assert not alike, f"(seed, step) with the same masks: {alike}"


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_dropout_masks_keep_their_share_and_differ_by_layer_and_row(p: float) -> None:
    net = small_net()
    net.set_dropout(p)
    masks = dropout_masks(net, task_with("none"), 3, Runtime(CPU, bf16=False))
    assert sorted(masks) == ["drop6", "drop7"]
    for mask in masks.values():
        assert mask.shape == (64, 500)
        assert abs(float(mask.float().mean()) - (1 - p)) < 5 * (p * (1 - p) / mask.numel()) ** 0.5
        assert len({tuple(row) for row in mask.tolist()}) == 64
    assert not torch.equal(masks["drop6"], masks["drop7"])
    net.set_dropout(0)
    assert dropout_masks(net, task_with("none"), 3, Runtime(CPU, bf16=False)) == {}


def test_processes_take_their_rows_of_the_same_masks() -> None:
    net, task = small_net(), task_with("none")
    whole = dropout_masks(net, task, 8, Runtime(CPU, bf16=False))
    parts = [dropout_masks(net, task, 8, Runtime(CPU, False, rank, 3)) for rank in range(3)]
    for name, mask in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), mask)
