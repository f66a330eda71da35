"""Descriptors of images (appendix B): activations of a layer, averaged over positions and the mirror image.

The net is applied densely at each test scale, as in testing. What is computed goes to a shelf at once, one kind for
each layer and scale, so that memory does not grow with the number of images and an interrupted job goes on. There an
image is known by its path, size and modification time, and its region where it is no more than that of a file: lists
that share images share their descriptors, and so do the persons on one image, where all of it is described.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.caching.compute_missing import find_missing
from verydeep.engine.inference import prepare_net, rescale_images
from verydeep.engine.nets.digests import check_unchanged, digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig
from verydeep.ops.arrays import Float32Array, Int64Array

VERSION = 1
"""Changes whenever the same net and images would give other descriptors than before."""


DESCRIPTORS = "descriptors"
"""Of the arrays on the shelf."""


@dataclass(frozen=True)
class LayerAtScale:
    """A layer at a test scale Q."""

    layer: str
    scale: int

    def __str__(self) -> str:
        return f"{self.layer}-{self.scale}"


@dataclass(frozen=True)
class DescribeResult:
    """The end of a job."""

    skipped: dict[str, str]
    """File -> why it could not be decoded."""


def default_layer(config: ModelConfig) -> str:
    """relu7, the paper's 4096-D penultimate layer; of a trunk pool5, its last."""
    return "pool5" if config.is_trunk else "relu7"


@torch.inference_mode()
def layer_descriptors(model: VGG, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> (N, D) float32 of whole images (N, 3, H, W), RGB 0-255: the mean over positions and both mirrorings.

    Raises:
        VerydeepError: the net has no such layer.
    """
    found = model.activations(torch.cat([images, images.flip(3)]), layers)
    return {layer: each.float().mean(dim=(2, 3)).view(2, len(images), -1).mean(dim=0) for layer, each in found.items()}


def about_descriptors(net: Net, split: Split, runtime: Runtime, decoding: Decoding) -> dict[str, Any]:
    """All that changes the descriptor of an image, apart from layer and scale."""
    return {
        "version": VERSION,
        "net": digest_of_net(net),
        "camera_rotation": split.camera_rotation,
        "precision": runtime.precision,
        "decoding": "fast" if decoding.fast else "full",
        "averaging": "activations over positions and mirror images",
    }


def descriptor_cache(net: Net, split: Split, runtime: Runtime, decoding: Decoding) -> ArrayCache:
    """Where the descriptors of one net are kept between commands, of this split's images and of others."""
    about = about_descriptors(net, split, runtime, decoding)
    return ArrayCache.open(DESCRIPTORS, about, {"net_folder": str(net.folder)})


def image_ids(split: Split, folder: str = "") -> Int64Array:
    """(n,) by which images are known: 64 bits of a hash of path, size, modification time and region.

    ``folder`` is put before the paths where images of several folders may meet.
    """
    return np.array([_image_id(split, index, folder) for index in range(len(split))], np.int64)


def cache_ids(split: Split) -> Int64Array:
    """(n,) the same on a shelf of the cache, which has images of all folders."""
    return image_ids(split, f"{split.root.resolve()}/")


def _image_id(split: Split, index: int, folder: str) -> int:
    text = f"{folder}{split.fingerprint(index)}"
    if split.regions is not None:
        text += f"\0{split.regions[index].tolist()}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "little", signed=True)


def describe_missing(
    net: Net,
    split: Split,
    layers_at_scales: Sequence[LayerAtScale],
    cache: ArrayCache,
    runtime: Runtime,
    decoding: Decoding = STRICT,
) -> Iterator[float | DescribeResult]:
    """Compute what the shelf lacks, an image that the split repeats once; the net is loaded only then.

    Yields how many images are done, first those that were already, and last, on all processes, what was skipped.

    Raises:
        VerydeepError: a layer or a file does not exist or cannot be used, or the disk is full.
    """
    by_kind, ids = {str(layer_at_scale): layer_at_scale for layer_at_scale in layers_at_scales}, cache_ids(split)
    groups = runtime.from_main(find_missing(cache, list(by_kind), ids))
    yield len(split) - sum(len(indices) / len(groups) for _, indices in groups)
    model = prepare_net(net.load(), runtime) if groups else None
    if groups:
        check_unchanged(net, str(cache.description["net"]))
    skipped: dict[str, str] = {}
    for kinds, indices in groups:
        assert model is not None
        wanted = [by_kind[kind] for kind in kinds]
        layers, scales = ([*dict.fromkeys(each)] for each in zip(*((w.layer, w.scale) for w in wanted), strict=True))
        with cache:
            for batch in rescale_images(model, split, scales, runtime, decoding, whole=True, indices=indices):
                skipped |= batch.skipped
                with runtime.autocast():
                    each_scale = {
                        scale: layer_descriptors(model, images, layers) for scale, images in batch.images.items()
                    }
                held = {
                    str(layer_at_scale): {
                        DESCRIPTORS: each_scale[layer_at_scale.scale][layer_at_scale.layer].cpu().numpy()
                    }
                    for layer_at_scale in (wanted if batch.images else ())
                }
                if not all(np.isfinite(values).all() for arrays in held.values() for values in arrays.values()):
                    raise VerydeepError(f"The descriptors by {net.path} are not all numbers: train it anew.")
                cache.add(ids[batch.indices], held)
                if cache.write_error:
                    raise VerydeepError(cache.write_error)
                yield (len(batch.indices) + len(batch.skipped)) * runtime.world_size / len(groups)
        if cache.write_error:
            raise VerydeepError(cache.write_error)
    yield DescribeResult({file: why for part in runtime.gather(skipped) for file, why in part.items()})


def cached_descriptors(cache: ArrayCache, ids: Int64Array, layer_at_scale: LayerAtScale) -> Float32Array:
    """(n, D) descriptors of the images with these ``image_ids``, which are all there and may repeat.

    Args:
        cache: of the net.
        ids: of the images.
        layer_at_scale: layer and scale.

    Raises:
        VerydeepError: one is not there any more.
    """
    held = cache.load(str(layer_at_scale), wanted=ids)
    found, arrays = held or (np.empty(0, np.int64), {DESCRIPTORS: np.empty((0, 1), np.float32)})
    places = np.searchsorted(found, ids)
    if not np.isin(ids, found).all():
        raise VerydeepError(f"{cache.folder} changed while it was read: run the command again.")
    return arrays[DESCRIPTORS][places]
