"""Testing (section 3.2): images -> views -> posteriors.

A view is what of an image the net sees at one test scale: ``dense``, the whole image, its class score map averaged
over positions, then the soft-max, averaged with the mirrored image's; ``crops``, the soft-max averaged over the 5x5
grid of crops and their mirror images; or ``center``, the central crop without flip. Every level above is an
equal-weight mean of posteriors.
"""

import copy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from verydeep.configs.protocols import View
from verydeep.configs.scales import in_pixels
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.data.testing_images import TestImages, group_by_shape, load_test_batches
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import AnyArray, Float32Array, Int64Array
from verydeep.ops.images import center_crop, grid_crops

SingleView = Literal["dense", "crops", "center"]

SINGLE_VIEWS: Mapping[View, tuple[SingleView, ...]] = {
    "dense": ("dense",),
    "crops": ("crops",),
    "dense+crops": ("dense", "crops"),
    "center": ("center",),
}
"""What each view of a protocol is the mean of."""

POSTERIORS, SIZES = "posteriors", "sizes"
"""Names of the arrays of a view."""


@dataclass(frozen=True)
class ViewAtScale:
    """One view at one test scale Q, in the paper's units."""

    view: SingleView
    scale: int

    def __str__(self) -> str:
        return f"{self.view}-{self.scale}"


@dataclass
class Predictions:
    """Posteriors of a split, image by image."""

    posteriors: dict[ViewAtScale, Float32Array]
    """Each (n, K) float32, in the order of ``indices``."""
    indices: Int64Array
    """(n,) which image of the split each row is; ascending, without the skipped ones."""
    sizes: dict[int, Int64Array]
    """Test scale of each dense view -> (n, 2) height and width in pixels of each rescaled image."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that could not be decoded -> the reason."""
    write_error: str = ""
    """Why the posteriors could not be written to the cache; empty where nothing failed."""

    def mean(self, view: View, scales: Sequence[int]) -> Float32Array:
        """(n, K): the mean posterior of a view over several scales; of dense+crops the mean of the two."""
        parts = [self.posteriors[ViewAtScale(each, q)] for each in SINGLE_VIEWS[view] for q in scales]
        return mean_posterior(parts)


def mean_posterior(parts: Sequence[Float32Array]) -> Float32Array:
    """(n, K): the equal-weight mean of posteriors of the same images."""
    total = np.zeros(parts[0].shape, dtype=np.float64)
    for part in parts:
        total += part
    return (total / len(parts)).astype(np.float32)


@torch.inference_mode()
def dense_posterior(model: VGG, images: Tensor, *, flip: bool = True) -> Tensor:
    """(N, K) posteriors of whole images (N, 3, H, W), RGB 0-255: scores averaged over positions before the soft-max."""
    if not flip:
        return model.logits(images).softmax(dim=1)
    both = model.logits(torch.cat([images, images.flip(3)])).softmax(dim=1)
    return both.view(2, len(images), -1).mean(dim=0)


@torch.inference_mode()
def center_posterior(model: VGG, images: Tensor) -> Tensor:
    """(N, K) posteriors of the central crops of (N, 3, H, W), RGB 0-255, without flip."""
    return model.logits(center_crop(images, model.crop)).softmax(dim=1)


@torch.inference_mode()
def crops_posterior(model: VGG, images: Tensor, *, at_once: int = 50) -> Tensor:
    """(N, K) posteriors of (N, 3, H, W), RGB 0-255: the soft-max averaged over 25 crops and their mirror images.

    ``at_once`` crops go through the net together: memory, not result.
    """
    crops = grid_crops(images, model.crop)  # (N, 50, 3, crop, crop)
    posteriors = [model.logits(part).softmax(dim=1) for part in torch.split(crops.flatten(0, 1), at_once)]
    return torch.cat(posteriors).view(*crops.shape[:2], -1).mean(dim=1)


def posterior(model: VGG, images: Tensor, view: SingleView, runtime: Runtime) -> Tensor:
    """(N, K) posteriors of one view of (N, 3, H, W), RGB 0-255."""
    if view == "dense":
        return dense_posterior(model, images)
    if view == "center":
        return center_posterior(model, images)
    return crops_posterior(model, images, at_once=max(1, runtime.batch_pixels // model.crop**2))


def rounded(model: VGG) -> VGG:
    """A copy whose weights are bf16, as autocast would round them in every forward pass; the mean stays as it is.

    Autocast keeps what it rounded only where gradients are asked for, and fc6 of D alone takes longer to round than to
    multiply. The results are the same to the bit.
    """
    weights = {id(each): nn.Parameter(each.detach().bfloat16(), requires_grad=False) for each in model.parameters()}
    return copy.deepcopy(model, weights)


def ready(model: VGG, runtime: Runtime) -> VGG:
    """The net as testing takes it: on the device, in eval mode, rounded once where computing is bf16."""
    model = runtime.place(model)
    return (rounded(model) if runtime.bf16 else model).eval()


@dataclass(frozen=True)
class ArrayBatch:
    """Arrays that a net computed of the images of one batch."""

    indices: Int64Array
    """(n,) positions of the images in the split."""
    arrays: Mapping[str, Mapping[str, AnyArray]]
    """Kind, a view or layer at a test scale -> name -> (n, ...) array."""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""


@dataclass(frozen=True)
class RescaledBatch:
    """One batch of images of one shape at several test scales, on the device."""

    indices: Int64Array
    """(n,) in the split"""
    images: dict[int, Tensor]
    """Per test scale (n, 3, H, W) float, RGB 0-255, whole or the central crop."""
    skipped: dict[str, str]


def rescaled_images(
    model: VGG,
    split: Split,
    scales: Sequence[int],
    runtime: Runtime,
    decoding: Decoding = STRICT,
    *,
    whole: bool,
    indices: Iterable[int] | None = None,
) -> Iterator[RescaledBatch]:
    """This process's share of a split, or of those ``indices`` of it, batch after batch, as the net takes them.

    Every image is decoded once for all scales; images are grouped by shape so that batches stay full. ``whole`` or the
    central crop alone, which is faster.

    Raises:
        VerydeepError: a scale is smaller than the crop, or a file cannot be decoded.
    """
    scales = sorted(scales)
    shorts = [in_pixels(scale, model.crop) for scale in scales]
    if min(shorts) < model.crop:
        raise VerydeepError(
            f"Q={scales[0]} ({shorts[0]} px) is smaller than the net's crop of {model.crop} px: give --scales from 224."
        )
    images = TestImages(split, tuple(shorts), None if whole else model.crop, decoding)
    batches = group_by_shape(images, range(len(split)) if indices is None else indices, runtime.batch_pixels)
    batches = batches[runtime.rank :: runtime.world_size]
    workers = runtime.num_workers if len(batches) > 1 else 0
    if workers:
        release_freed_memory()
    for batch in load_test_batches(images, batches, workers, pin_memory=runtime.pin_memory):
        moved = {
            scale: runtime.move(pixels).permute(0, 3, 1, 2).float()
            for scale, pixels in zip(scales, batch.images, strict=False)
        }
        yield RescaledBatch(batch.indices, moved, batch.skipped)


def infer(
    model: VGG,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    decoding: Decoding = STRICT,
    *,
    indices: Iterable[int] | None = None,
) -> Iterator[ArrayBatch]:
    """Compute this process's share of posteriors, batch by batch.

    The arrays of a view are its posteriors (n, K) and, of a dense view, the sizes (n, 2) of the rescaled images.

    Args:
        model: a net that is ``ready``.
        split: its images are decoded.
        views: to compute.
        runtime: of this process.
        decoding: of the files.
        indices: positions of images in the split; None means all.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded.
    """
    scales = sorted({view.scale for view in views})
    whole = any(view.view != "center" for view in views)
    for batch in rescaled_images(model, split, scales, runtime, decoding, whole=whole, indices=indices):
        arrays: dict[str, dict[str, AnyArray]] = {}
        with runtime.autocast():
            for view in views if batch.images else ():
                images = batch.images[view.scale]
                arrays[str(view)] = {POSTERIORS: posterior(model, images, view.view, runtime).float().cpu().numpy()}
                if view.view == "dense":
                    arrays[str(view)][SIZES] = np.tile(np.array(images.shape[2:], np.int64), (len(images), 1))
        yield ArrayBatch(batch.indices, arrays, batch.skipped)


def predict_split(
    model: VGG,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    decoding: Decoding = STRICT,
) -> Generator[float, None, Predictions | None]:
    """Predict a split without a cache.

    Yields:
        Numbers of images that are done, first none.

    Returns:
        The predictions; None on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded, or none can.
    """
    yield 0
    batches: list[ArrayBatch] = []
    for batch in infer(ready(model, runtime), split, views, runtime, decoding):
        batches.append(batch)
        yield (len(batch.indices) + len(batch.skipped)) * runtime.world_size
    gathered = [batch for part in runtime.gather_on_main(batches) for batch in part]
    if not runtime.is_main:
        return None
    skipped = {file: reason for batch in gathered for file, reason in batch.skipped.items()}
    return combine_batches(gathered, split, views, skipped)


def combine_batches(
    batches: Sequence[ArrayBatch], split: Split, views: Sequence[ViewAtScale], skipped: dict[str, str]
) -> Predictions:
    """Combine the posteriors of batches into those of a split.

    Args:
        batches: may each lack some of the views; of a view no image is twice.
        split: of the images.
        views: to combine.
        skipped: files that could not be decoded -> the reason.

    Raises:
        DataError: not one image could be decoded.
    """
    posteriors: dict[ViewAtScale, Float32Array] = {}
    sizes: dict[int, Int64Array] = {}
    indices = np.empty(0, np.int64)
    for view in views:
        parts = [(batch.indices, batch.arrays[str(view)]) for batch in batches if str(view) in batch.arrays]
        if not parts:
            raise all_skipped_error(split)
        indices = np.concatenate([part for part, _ in parts])
        order = np.argsort(indices)
        indices = indices[order]
        posteriors[view] = np.concatenate([arrays[POSTERIORS] for _, arrays in parts])[order]
        if view.view == "dense":
            sizes[view.scale] = np.concatenate([arrays[SIZES] for _, arrays in parts])[order]
    return Predictions(posteriors, indices, sizes, skipped)
