"""Predict a split: batches of posteriors, and the posteriors of all of its images."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from verydeep.configs.protocols import View
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale, predict_view, rescale_images
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import AnyArray, Float32Array, Int64Array

POSTERIORS, SIZES = "posteriors", "sizes"
"""Names of the arrays of a view."""


@dataclass(frozen=True)
class ArrayBatch:
    """Arrays that a net computed of the images of one batch: what processes exchange, and caches hold."""

    indices: Int64Array
    """(n,) positions of the images in the split."""
    arrays: Mapping[str, Mapping[str, AnyArray]]
    """Kind, a view or layer at a test scale -> name -> (n, ...) array."""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""


@dataclass(frozen=True, eq=False)
class NetPredictions:
    """Posteriors of one net for the images of a split."""

    posteriors: dict[ViewAtScale, Float32Array]
    """(n, K) posteriors of each view, in the order of ``indices``."""
    indices: Int64Array
    """(n,) positions of the images in the split, ascending, without those that were skipped."""
    sizes: dict[int, Int64Array]
    """Test scale of each dense view -> (n, 2) height and width in pixels of each rescaled image."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that could not be decoded -> the reason."""
    write_error: str = ""
    """Why the posteriors could not be written to the cache; empty where nothing failed."""

    def mean(self, view: View, scales: Sequence[int]) -> Float32Array:
        """Return the mean posteriors (n, K) of a view over test scales; "dense+crops" is the mean of the two views."""
        parts = [self.posteriors[ViewAtScale(each, scale)] for each in SINGLE_VIEWS[view] for scale in scales]
        return average_posteriors(parts)


def average_posteriors(parts: Sequence[Float32Array]) -> Float32Array:
    """Return the equal-weight mean (n, K) of posteriors (n, K) of the same images."""
    total = np.zeros(parts[0].shape, dtype=np.float64)
    for part in parts:
        total += part
    return (total / len(parts)).astype(np.float32)


def predict_batches(
    model: TestedNet,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    decoding: Decoding = STRICT,
    *,
    indices: Iterable[int] | None = None,
) -> Iterator[ArrayBatch]:
    """Yield this process's share of the posteriors of a split, batch by batch.

    The arrays of a view are its posteriors (n, K) and, of a dense view, the sizes (n, 2) of the rescaled images.

    ``indices`` are positions in the split; None: all images.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded.
        FloatingPointError: a posterior is not finite.
    """
    scales = sorted({view.scale for view in views})
    whole = any(view.view != "center" for view in views)
    for batch in rescale_images(model, split, scales, runtime, decoding, whole=whole, indices=indices):
        arrays: dict[str, dict[str, AnyArray]] = {}
        with runtime.autocast():
            for view in views if batch.images else ():
                images = batch.images[view.scale]
                planned = max(1, runtime.batch_pixels // model.crop**2) if view.view == "crops" else len(images)
                predict = partial(predict_view, model, view=view.view)
                posteriors = batch.compute(model, view.scale, predict, planned)
                arrays[str(view)] = {POSTERIORS: posteriors}
                if view.view == "dense":
                    arrays[str(view)][SIZES] = np.tile(np.array(images.shape[2:], np.int64), (len(images), 1))
        yield ArrayBatch(batch.indices, arrays, batch.skipped)


def predict_split(
    model: TestedNet, split: Split, views: Sequence[ViewAtScale], runtime: Runtime, decoding: Decoding = STRICT
) -> Generator[float, None, NetPredictions | None]:
    """Predict a split without a cache; the net is prepared by ``Net.prepare``.

    Yields:
        Numbers of images that are done, first none.

    Returns:
        The predictions; None on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded, or none can.
        FloatingPointError: a posterior is not finite.
    """
    yield 0
    batches: list[ArrayBatch] = []
    for batch in predict_batches(model, split, views, runtime, decoding):
        batches.append(batch)
        yield (len(batch.indices) + len(batch.skipped)) * runtime.world_size
    gathered = [batch for part in runtime.gather_on_main(batches) for batch in part]
    if not runtime.is_main:
        return None
    skipped = {file: reason for batch in gathered for file, reason in batch.skipped.items()}
    return combine_batches(gathered, split, views, skipped)


def combine_batches(
    batches: Sequence[ArrayBatch], split: Split, views: Sequence[ViewAtScale], skipped: dict[str, str]
) -> NetPredictions:
    """Combine the posteriors of batches into those of a split.

    Args:
        batches: may each lack some of the views; no image has a view twice.
        split: of the images.
        views: to combine.
        skipped: files that could not be decoded -> the reason.

    Raises:
        DataError: not one image can be used.
    """
    posteriors: dict[ViewAtScale, Float32Array] = {}
    sizes: dict[int, Int64Array] = {}
    indices = np.empty(0, np.int64)
    for view in views:
        parts = [(batch.indices, batch.arrays[str(view)]) for batch in batches if str(view) in batch.arrays]
        if not parts:
            raise all_skipped_error(split, skipped)
        indices = np.concatenate([part for part, _ in parts])
        order = np.argsort(indices)
        indices = indices[order]
        posteriors[view] = np.concatenate([arrays[POSTERIORS] for _, arrays in parts])[order]
        if view.view == "dense":
            sizes[view.scale] = np.concatenate([arrays[SIZES] for _, arrays in parts])[order]
    return NetPredictions(posteriors, indices, sizes, skipped)


def fuse_posteriors(parts: Sequence[tuple[Int64Array, Float32Array]]) -> tuple[Int64Array, Float32Array]:
    """Average the posteriors of several nets (section 4.4).

    Args:
        parts: positions (n,) of the images that each net decoded, ascending, and their posteriors (n, K).

    Returns:
        Positions of the images that all nets decoded, and their mean posteriors.
    """
    indices = parts[0][0]
    for others, _ in parts[1:]:
        indices = np.intersect1d(indices, others, assume_unique=True)
    return indices, average_posteriors([posteriors[np.searchsorted(known, indices)] for known, posteriors in parts])
