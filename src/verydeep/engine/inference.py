"""Testing (section 3.2): images -> views -> posteriors.

A view is what of an image the net sees at one test scale: ``dense``, the whole image, its class score map averaged
over positions, then the soft-max, averaged with the mirrored image's; or ``center``, the central crop without flip.
Every level above is an equal-weight mean of posteriors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from verydeep.configs.scales import in_pixels
from verydeep.data.loading import BadImages, TestImages, shape_batches, test_loader
from verydeep.data.split import Split
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.ops.images import center_crop

View = Literal["dense", "center"]

Posteriors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ViewAtScale:
    """One view at one test scale Q, in the paper's units."""

    view: View
    scale: int


@dataclass
class Predictions:
    """Posteriors of a split, image by image."""

    posteriors: dict[ViewAtScale, Posteriors]
    """Each (n, K) float32, in the order of ``indices``."""
    indices: npt.NDArray[np.int64]
    """(n,) which image of the split each row is; ascending, without the skipped ones."""
    sizes: dict[int, npt.NDArray[np.int64]]
    """Per test scale (n, 2): height and width in pixels of each image there."""
    skipped: dict[str, str] = field(default_factory=dict)
    """File -> why it could not be decoded."""

    def mean(self, view: View, scales: Sequence[int]) -> Posteriors:
        """(n, K): the mean posterior of one view over several scales."""
        stacked: Posteriors = np.stack([self.posteriors[ViewAtScale(view, scale)] for scale in scales])
        return np.asarray(stacked.mean(axis=0), dtype=np.float32)


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


@dataclass(frozen=True)
class Part:
    """What one batch gave."""

    indices: npt.NDArray[np.int64]
    posteriors: dict[ViewAtScale, Posteriors]
    sizes: dict[int, tuple[int, int]]
    skipped: dict[str, str]


def infer(
    model: VGG,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    *,
    bad_images: BadImages = "error",
    fast_decode: bool = False,
) -> Iterator[Part]:
    """This process's share of a split, batch after batch.

    Every image is decoded once for all views; images are grouped by shape so that batches stay full.

    Raises:
        VerydeepError: a scale is smaller than the crop, or a file cannot be decoded.
    """
    scales = sorted({view.scale for view in views})
    shorts = [in_pixels(scale, model.crop) for scale in scales]
    if min(shorts) < model.crop:
        raise VerydeepError(
            f"Q={scales[0]} ({shorts[0]} px) is smaller than the net's crop of {model.crop} px: give --scales from 224."
        )
    crop = model.crop if all(view.view == "center" for view in views) else None
    images = TestImages(split, tuple(shorts), crop, fast_decode)
    batches = shape_batches(images, range(len(split)), runtime.batch_pixels)[runtime.rank :: runtime.world_size]
    workers = runtime.num_workers if len(batches) > 1 else 0
    model.eval()
    for batch in test_loader(images, batches, workers, bad_images=bad_images, pin_memory=runtime.pin_memory):
        posteriors: dict[ViewAtScale, Posteriors] = {}
        for scale, pixels_of in zip(scales, batch.images, strict=False):
            x = runtime.move(pixels_of).permute(0, 3, 1, 2).float()
            with runtime.autocast():
                for view in (view for view in views if view.scale == scale):
                    compute = dense_posterior if view.view == "dense" else center_posterior
                    posteriors[view] = compute(model, x).float().cpu().numpy()
        sizes = {scale: (x.shape[1], x.shape[2]) for scale, x in zip(scales, batch.images, strict=False)}
        yield Part(batch.indices, posteriors, sizes, batch.skipped)


def predict_split(
    model: VGG,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    *,
    bad_images: BadImages = "error",
    fast_decode: bool = False,
) -> Iterator[int | Predictions]:
    """Yield the number of images done with each batch, and last the predictions of all processes, none twice.

    Raises:
        VerydeepError: as ``infer``, or not one image could be decoded.
    """
    mine: list[Part] = []
    for part in infer(model, split, views, runtime, bad_images=bad_images, fast_decode=fast_decode):
        mine.append(part)
        yield len(part.indices) + len(part.skipped)
    parts = [part for process in runtime.gather(mine) for part in process]
    filled = [part for part in parts if len(part.indices)]
    if not filled:
        raise VerydeepError(f"Not one of the {len(split)} images of {split.root} could be decoded.")
    indices = np.concatenate([part.indices for part in filled])
    order = np.argsort(indices)
    yield Predictions(
        posteriors={view: np.concatenate([part.posteriors[view] for part in filled])[order] for view in views},
        indices=indices[order],
        sizes={
            scale: np.concatenate([np.tile(part.sizes[scale], (len(part.indices), 1)) for part in filled])[order]
            for scale in {view.scale for view in views}
        },
        skipped={file: reason for part in parts for file, reason in part.skipped.items()},
    )
