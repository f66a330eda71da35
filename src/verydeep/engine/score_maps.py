"""Class score maps of photographs, and maps laid over their photographs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import finite_numbers, rescale_images
from verydeep.engine.nets.checks import refuse_overflow
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import average_posteriors
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.pieces import longer_axis, map_pieces, stride_and_window
from verydeep.ops.arrays import Float32Array
from verydeep.ops.map_geometry import soft_max
from verydeep.results.predictions import ScoreKind
from verydeep.results.score_map import ScoreMap

COLORS: dict[ScoreKind, str] = {"probability": "viridis", "margin": "coolwarm"}
"""Matplotlib's colors of a map: from dark to light, or on both sides of 0."""

OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Maps of some images of a split, and what the net predicts of them."""

    indices: tuple[int, ...] = ()
    """Positions of the images in the split."""
    maps: tuple[tuple[ScoreMap, ...], ...] = ()
    """Maps of each image, one for each test scale, rising."""
    scores: tuple[Float32Array, ...] = ()
    """(K,) posteriors of each image by the dense view, or margins: those of `verydeep predict`."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that could not be decoded -> the reason."""


def compute_score_maps(
    net: Net,
    split: Split,
    scales: Sequence[int],
    runtime: Runtime,
    decoding: Decoding = STRICT,
    indices: Iterable[int] | None = None,
) -> Iterator[MappedImages]:
    """Yield the class score maps of images at test scales, in batches of images of one shape.

    The maps are of the image itself; its mirror image counts in the posteriors alone.

    ``indices`` are positions in the split; None: all images.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded, and bad images are errors.
        WeightsError: the net computes values that are not finite, or its weights are missing.
    """
    chosen = range(len(split)) if indices is None else list(indices)
    runtime = choose_kernels(runtime, [net], len(chosen))
    model = net.prepare(runtime)
    for batch in rescale_images(model, split, scales, runtime, decoding, whole=True, indices=chosen):
        if not batch.images:
            yield MappedImages(skipped=batch.skipped)
            continue
        with runtime.autocast(), refuse_overflow(net):
            arrays = {scale: map_layer(model, images) for scale, images in batch.images.items()}
            mirrored = [map_layer(model, images.flip(3)) for images in batch.images.values()]
        indices_of_batch = tuple(batch.indices.tolist())
        maps = tuple(
            tuple(
                make_score_map(net, model, scale, scores[row], batch.images[scale], split.image_size(index))
                for scale, scores in arrays.items()
            )
            for row, index in enumerate(indices_of_batch)
        )
        posteriors = average_posteriors(
            [soft_max(view.mean(axis=(2, 3)), axis=1) for view in (*arrays.values(), *mirrored)]
        )
        yield MappedImages(indices_of_batch, maps, tuple(posteriors), batch.skipped)


@torch.inference_mode()
def map_layer(model: TestedNet, images: Tensor, layer: str | None = None) -> Float32Array:
    """Return the output (N, C, h, w) of a layer, or of the last one, for images (N, 3, H, W), RGB 0-255.

    Raises:
        FloatingPointError: a value is not finite.
    """
    return finite_numbers(torch.cat(list(map_pieces(model, images, layer)), dim=longer_axis(images)))


def make_score_map(
    net: Net,
    model: TestedNet,
    scale: int,
    scores: Float32Array,
    images: Tensor,
    photograph_size: tuple[int, int],
    layer: str | None = None,
) -> ScoreMap:
    """Return the map of an image with its geometry.

    Args:
        net: of the map.
        model: the net in memory.
        scale: test scale Q.
        scores: (K, h, w)
        images: (N, 3, H, W) rescaled, of the same shape as the image.
        photograph_size: width and height of the photograph.
        layer: of a classifier, from whose activations margins are computed; None: the map is the net's own.
    """
    stride, cells = stride_and_window(model, layer)
    kind: ScoreKind = "probability" if layer is None else "margin"
    size = (images.shape[2], images.shape[3])
    return ScoreMap(net.path.name, scale, scores, kind, size, photograph_size[::-1], stride, stride * cells)


def overlay_map(photograph: Image.Image, score_map: ScoreMap, label: int, limit: float = 1.0) -> Image.Image:
    """Return a photograph in gray, with the map of a class in color over it.

    Args:
        photograph: upright, of any size; it may be a smaller copy.
        score_map: of the photograph.
        label: the class.
        limit: the value of the last color. Probabilities begin at 0, margins at its negative.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - takes half a second

    values = score_map.spread(label, (photograph.height, photograph.width))
    shares = values / limit if score_map.kind == "probability" else (values / limit + 1) / 2
    colors = colormaps[COLORS[score_map.kind]](shares.clip(0, 1))[..., :3]  # (H, W, 3), 0-1
    gray = np.asarray(photograph.convert("L"), np.float32)[..., None] / 255
    mixed = OPACITY * colors + (1 - OPACITY) * gray
    return Image.fromarray((255 * mixed).round().astype(np.uint8))
