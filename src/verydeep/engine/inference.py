"""Test a net on images (section 3.2): images -> views -> posteriors.

A view is what the net sees of an image at one test scale. ``dense``: the whole image; the class score map is averaged
over its positions, then the soft-max taken, then the mean with the mirrored image's. ``crops``: the mean soft-max of
the 5x5 grid of crops and their mirror images. ``center``: the central crop without its mirror image. Every mean has
equal weights.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from verydeep.configs.protocols import View
from verydeep.configs.scales import in_pixels
from verydeep.data.loading.testing_images import TestImages, group_by_shape, load_test_batches
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.memory import BatchLimit
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Runtime
from verydeep.errors import OptionError
from verydeep.models.cpu_engine import CpuNet, TestedNet
from verydeep.models.pieces import average_map, map_pieces
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.images import center_crop, grid_crops

SingleView = Literal["dense", "crops", "center"]

SINGLE_VIEWS: Mapping[View, tuple[SingleView, ...]] = {
    "dense": ("dense",),
    "crops": ("crops",),
    "dense+crops": ("dense", "crops"),
    "center": ("center",),
}
"""View of a protocol -> the views that it is the mean of."""


TRIM_EVERY = 64
"""Batches after which freed memory goes back to the system: between blocks in use, some of it fits no other block."""


@dataclass(frozen=True)
class ViewAtScale:
    """One view at one test scale Q, in the paper's units."""

    view: SingleView
    scale: int

    def __str__(self) -> str:
        return f"{self.view}-{self.scale}"


@torch.inference_mode()
def predict_dense(model: TestedNet, images: Tensor) -> Tensor:
    """Return the posteriors (N, K) of whole images (N, 3, H, W), RGB 0-255, averaged with those of their mirror images.

    The scores are averaged over positions before the soft-max.
    """
    return average_map(model, images).softmax(dim=1).view(2, len(images), -1).mean(dim=0)


@torch.inference_mode()
def predict_center(model: TestedNet, images: Tensor) -> Tensor:
    """Return the posteriors (N, K) of the central crops of images (N, 3, H, W), RGB 0-255."""
    return model.logits(center_crop(images, model.crop)).softmax(dim=1)


@torch.inference_mode()
def predict_crops(model: TestedNet, images: Tensor, *, at_once: int = 50) -> Tensor:
    """Return the posteriors (N, K) of images (N, 3, H, W), RGB 0-255: the mean soft-max of 25 crops and their mirrors.

    Args:
        model: the net.
        images: to predict.
        at_once: number of crops that go through the net together; affects memory, not results.
    """
    crops = grid_crops(images, model.crop)  # (N, 50, 3, crop, crop)
    posteriors = [model.logits(part).softmax(dim=1) for part in torch.split(crops.flatten(0, 1), at_once)]
    return torch.cat(posteriors).view(*crops.shape[:2], -1).mean(dim=1)


def finite_numbers(values: Tensor) -> Float32Array:
    """Return what a net computed as an array on the CPU, float32.

    Raises:
        FloatingPointError: a value is NaN or infinite, because the net's weights are too large.
    """
    numbers: Float32Array = values.float().cpu().numpy()
    if not np.isfinite(numbers).all():
        raise FloatingPointError("The net computes values that are not finite")
    return numbers


def predict_view(model: TestedNet, images: Tensor, at_once: int, view: SingleView) -> Tensor:
    """Return the posteriors (N, K) of one view of images (N, 3, H, W), RGB 0-255; ``at_once`` go through the net."""
    if view == "crops":
        return predict_crops(model, images, at_once=at_once)
    predict = predict_dense if view == "dense" else predict_center
    return torch.cat([predict(model, part) for part in torch.split(images, at_once)])


def round_weights(model: VGG) -> VGG:
    """Return a copy whose weights are bf16, as autocast would round them in every forward pass; the mean is not.

    Autocast caches rounded weights only where gradients are computed, and rounding fc6 of D takes longer than
    multiplying by it. The results are equal bit by bit.
    """
    weights = {id(each): nn.Parameter(each.detach().bfloat16(), requires_grad=False) for each in model.parameters()}
    return copy.deepcopy(model, weights)


def prepare_net(model: VGG, runtime: Runtime) -> TestedNet:
    """Return the net ready for testing: packed for the CPU engine, or on the device, weights rounded once for bf16."""
    if runtime.kernels == "native":
        return CpuNet(model, bf16=runtime.bf16)
    model = runtime.place(model)
    return (round_weights(model) if runtime.bf16 else model).eval()


@dataclass(frozen=True)
class RescaledBatch:
    """Images of one shape on the device, at several test scales."""

    indices: Int64Array
    """(n,) positions in the split."""
    images: dict[int, Tensor]
    """Test scale Q -> (n, 3, H, W) uint8, RGB: whole images or their central crops."""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""
    files: tuple[str, ...]
    """(n,) names of the images."""
    limit: BatchLimit
    """How many of them go through the net at once, for all batches of the split."""

    def compute(
        self, model: TestedNet, scale: int, function: Callable[[Tensor, int], Tensor], planned: int | None = None
    ) -> Float32Array:
        """Return what a net computes of the images at a test scale, (n, ...).

        Args:
            model: the net.
            scale: test scale Q.
            function: takes images and how many of them, or of their crops, go through the net at once.
            planned: this number while there is memory; None: all images.

        Raises:
            FloatingPointError: a value is not finite; the layer and the file are named.
        """
        images = self.images[scale]
        values = self.limit.run(lambda at_once: function(images, at_once).float().cpu(), planned or len(images))
        try:
            return finite_numbers(values)
        except FloatingPointError as error:
            row = int((~values.flatten(1).isfinite().all(dim=1)).nonzero()[0])
            layer = first_overflow(model, images[row : row + 1])
            raise FloatingPointError(f"{error}, first in {layer}, for {self.files[row]}") from None


@torch.inference_mode()
def first_overflow(model: TestedNet, images: Tensor) -> str:
    """Return the first layer whose output for images (N, 3, H, W) is not finite, or words for none."""
    for name in model.layer_names:
        if not all(
            bool(part.isfinite().all()) for view in (images, images.flip(3)) for part in map_pieces(model, view, name)
        ):
            return name
    return "no layer alone"


def rescale_images(
    model: TestedNet,
    split: Split,
    scales: Sequence[int],
    runtime: Runtime,
    decoding: Decoding = STRICT,
    *,
    whole: bool,
    indices: Iterable[int] | None = None,
) -> Iterator[RescaledBatch]:
    """Yield this process's share of the images of a split, batch by batch.

    Every image is decoded once for all scales. Images are grouped by shape, so that batches are full.

    Args:
        model: the net that the images are for.
        split: its images are decoded.
        scales: test scales Q, in the paper's units.
        runtime: of this process.
        decoding: of the files.
        whole: whether to yield whole images; the central crops alone are faster.
        indices: positions of images in the split; None means all.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded.
    """
    scales = sorted(scales)
    shorts = [in_pixels(scale, model.crop) for scale in scales]
    if min(shorts) < model.crop:
        raise OptionError(
            f"`scales` has Q={scales[0]} ({shorts[0]} px), which is smaller than the net's crop of {model.crop} px: "
            "give test scales of 224 or more.",
            "scales",
        )
    images = TestImages(split, tuple(shorts), None if whole else model.crop, decoding)
    batches = group_by_shape(images, range(len(split)) if indices is None else indices, runtime.batch_pixels)
    batches = batches[runtime.rank :: runtime.world_size]
    workers, limit = runtime.num_workers if len(batches) > 1 else 0, BatchLimit(str(runtime.device))
    if workers:
        release_freed_memory()
    loaded = load_test_batches(images, batches, workers, pin_memory=runtime.pin_memory)
    for number, batch in enumerate(loaded, start=1):
        if number % TRIM_EVERY == 0:
            release_freed_memory()
        moved = {
            scale: runtime.move(pixels).permute(0, 3, 1, 2) for scale, pixels in zip(scales, batch.images, strict=False)
        }
        files = tuple(split.files[index] for index in batch.indices)
        yield RescaledBatch(batch.indices, moved, batch.skipped, files, limit)
