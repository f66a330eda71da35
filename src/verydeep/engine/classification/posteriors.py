"""Posteriors are computed once and kept on the disk.

So tables that share members compute nothing twice, and an interrupted evaluation goes on where it stopped. They lie in
the cache: a folder for each (net, images, precision, decoding), and in it one for each view and test scale.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.array_cache import ArrayCache, Arrays, find_missing
from verydeep.engine.inference import ImageBatch, Predictions, ViewAtScale, assemble, infer, ready
from verydeep.engine.nets.digests import check_unchanged, digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.files import cache_folder
from verydeep.ops.arrays import Int64Array

VERSION = 2
"""Changes whenever the same net and images would give other posteriors than before."""


def posteriors_folder() -> Path:
    """Where all posteriors are kept."""
    return cache_folder() / "posteriors"


def posterior_cache(net: Net, split: Split, precision: str, *, fast_decode: bool) -> ArrayCache:
    """The kept posteriors of one net on one list of images.

    The place is named by a hash of all that changes a posterior: another net or image is another shelf. The device is
    not part of it: at one precision, devices agree but for rounding.
    """
    about = {
        "version": VERSION,
        "net": digest_of_net(net),
        **({} if net.outputs is None else {"outputs": net.outputs}),
        "images": digest_of_images(split),
        "camera_rotation": split.camera_rotation,
        "precision": precision,
        "decoding": "fast" if fast_decode else "full",
        "resampling": "bilinear",
        "averaging": "scores over positions, posteriors over crops and flips",
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    told = {"net_folder": str(net.folder), "images_folder": str(split.root), "count": len(split)}
    return ArrayCache(posteriors_folder() / key, {**about, **told})


def kind_of(view: ViewAtScale) -> str:
    """What a view is called on the shelf."""
    return f"{view.view}-{view.scale}"


def cached_batch(cache: ArrayCache, view: ViewAtScale) -> ImageBatch | None:
    """What is kept of one view."""
    held = cache.load(kind_of(view))
    if held is None:
        return None
    indices, arrays = held
    return ImageBatch(indices, {view: arrays["posteriors"]}, {view.scale: arrays["sizes"]}, {})


def cache_batch(cache: ArrayCache, part: ImageBatch) -> None:
    """Keep a part, soon."""
    held: dict[str, Arrays] = {
        kind_of(view): {"posteriors": posteriors, "sizes": part.sizes[view.scale]}
        for view, posteriors in part.posteriors.items()
    }
    cache.add(part.indices, held)


def predict_cached(
    net: Net,
    split: Split,
    views: Sequence[ViewAtScale],
    runtime: Runtime,
    decoding: Decoding = STRICT,
) -> Iterator[float | Predictions]:
    """As ``predict_split``, but only what is not kept yet is computed, and the net is loaded only then.

    Yields how many images are done, first those that were already (an image that lacks some views counts in part), and
    last, on the main process alone, the predictions of all.

    Raises:
        VerydeepError: as ``infer``, the net cannot be loaded, or not one image could be decoded.
    """
    cache = posterior_cache(net, split, runtime.precision, fast_decode=decoding.fast)
    kept = [part for part in (cached_batch(cache, view) for view in views) if part is not None]
    by_kind, nothing = {kind_of(view): view for view in views}, np.empty(0, np.int64)
    there = dict.fromkeys(by_kind, nothing) | {kind_of(*part.posteriors): part.indices for part in kept}
    # Every process must divide the same images, whatever others have written meanwhile.
    groups: list[tuple[list[str], Int64Array]] = runtime.from_main(find_missing(there, list(by_kind), len(split)))
    yield len(split) - sum(len(indices) / len(groups) for _, indices in groups)
    model = ready(net.load(), runtime) if groups else None
    if groups:
        check_unchanged(net, str(cache.about["net"]))
    computed: list[ImageBatch] = []
    for kinds, indices in groups:
        assert model is not None
        with closing(cache):
            wanted = [by_kind[kind] for kind in kinds]
            for part in infer(model, split, wanted, runtime, decoding, indices=indices):
                computed.append(part)
                cache_batch(cache, part)
                yield (len(part.indices) + len(part.skipped)) * runtime.world_size / len(groups)
    gathered = [part for process in runtime.gather_on_main(computed) for part in process]
    if runtime.is_main:
        predictions = assemble(kept + gathered, split, views)
        predictions.write_error = cache.write_error
        yield predictions


def posterior_cache_message() -> str:
    """How large all kept posteriors are, and where."""
    folder = posteriors_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return f"Posteriors kept: {size / 1e6:,.0f} MB in {folder}."


def digest_of_images(split: Split) -> str:
    """Of the paths, sizes and modification times of the images, in their order."""
    digest = hashlib.sha256()
    for index in range(len(split)):
        digest.update(f"{split.fingerprint(index)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
