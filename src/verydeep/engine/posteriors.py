"""Posteriors are computed once and kept on the disk.

So tables that share members compute nothing twice, and an interrupted evaluation goes on where it stopped. They lie in
the cache: a folder for each (net, images, precision, decoding), and in it one for each view and test scale.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import Part, Predictions, ViewAtScale, assemble, infer, ready
from verydeep.engine.members import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder, write_json, writing
from verydeep.models.weights.native import CONFIG, WEIGHTS

VERSION = 2
"""Changes whenever the same net and images would give other posteriors than before."""

FLUSH_SECONDS = 30
"""What a kill may cost."""


def posteriors_folder() -> Path:
    """Where all posteriors are kept."""
    return cache_folder() / "posteriors"


class Shelf:
    """The kept posteriors of one net on one list of images."""

    def __init__(self, net: Net, split: Split, precision: str, *, fast_decode: bool) -> None:
        """The place is named by a hash of all that changes a posterior: another net or image is another shelf.

        The device is not part of it: at one precision, devices agree but for rounding.
        """
        about = {
            "version": VERSION,
            "net": digest_of_net(net),
            "images": _digest_of_images(split),
            "camera_rotation": split.camera_rotation,
            "precision": precision,
            "decoding": "fast" if fast_decode else "full",
            "resampling": "bilinear",
            "averaging": "scores over positions, posteriors over crops and flips",
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = posteriors_folder() / key
        self.about = {**about, "net_folder": str(net.folder), "images_folder": str(split.root), "count": len(split)}
        self.not_kept = ""
        """Why keeping failed, if it did; computing goes on without it."""
        self.waiting: list[Part] = []
        self.flushed = time.monotonic()

    def load(self, view: ViewAtScale) -> Part | None:
        """What is kept of one view, no image twice; a damaged file is as if it had never been written."""
        kept = []
        for path in sorted(self._place(view).glob("*.safetensors")):
            try:
                held = load_file(path)
                kept.append((held["indices"], held["posteriors"], held["sizes"]))
            except (SafetensorError, OSError, KeyError):
                continue
        if not kept:
            return None
        indices, posteriors, sizes = (np.concatenate(arrays) for arrays in zip(*kept, strict=True))
        indices, first = np.unique(indices, return_index=True)
        return Part(indices, {view: posteriors[first]}, {view.scale: sizes[first]}, {})

    def add(self, part: Part) -> None:
        """Keep a part, soon."""
        if len(part.indices):
            self.waiting.append(part)
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.close()

    def close(self) -> None:
        """Write what waits, one file a view."""
        parts, self.waiting, self.flushed = self.waiting, [], time.monotonic()
        if not parts or self.not_kept:
            return
        indices = np.concatenate([part.indices for part in parts])
        try:
            if not (self.folder / "about.json").exists():
                with suppress(VerydeepError):  # another process may be writing the same; it is only told to people
                    write_json(self.folder / "about.json", self.about)
            for view in parts[0].posteriors:
                held = {
                    "indices": indices,
                    "posteriors": np.concatenate([part.posteriors[view] for part in parts]),
                    "sizes": np.concatenate([part.sizes[view.scale] for part in parts]),
                }
                with writing(self._place(view) / f"{indices[0]:08d}-{os.getpid()}.safetensors") as beside:
                    save_file(held, beside)
        except (VerydeepError, SafetensorError) as error:
            self.not_kept = str(error)

    def _place(self, view: ViewAtScale) -> Path:
        return self.folder / f"{view.view}-{view.scale}"


def predict_and_keep(
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
    shelf = Shelf(net, split, runtime.precision, fast_decode=decoding.fast)
    kept = [part for part in map(shelf.load, views) if part is not None]
    # Every process must divide the same images, whatever others have written meanwhile.
    groups: list[tuple[list[ViewAtScale], npt.NDArray[np.int64]]] = runtime.gather(_missing(kept, split, views))[0]
    yield len(split) - sum(len(indices) / len(groups) for _, indices in groups)
    model = ready(net.load(), runtime) if groups else None
    if groups and digest_of_net(net) != shelf.about["net"]:
        raise VerydeepError(f"{net.path} changed while it was read: wait for the end of its training.")
    computed: list[Part] = []
    for lacking, indices in groups:
        assert model is not None
        with closing(shelf):
            parts = infer(model, split, lacking, runtime, decoding, indices=indices)
            for part in parts:
                computed.append(part)
                shelf.add(part)
                yield (len(part.indices) + len(part.skipped)) * runtime.world_size / len(groups)
    gathered = [part for process in runtime.gather_on_main(computed) for part in process]
    if runtime.is_main:
        predictions = assemble(kept + gathered, split, views)
        predictions.not_kept = shelf.not_kept
        yield predictions


def kept_in_words() -> str:
    """How large all kept posteriors are, and where."""
    folder = posteriors_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return f"Posteriors kept: {size / 1e6:,.0f} MB in {folder}."


def _missing(
    kept: Sequence[Part], split: Split, views: Sequence[ViewAtScale]
) -> list[tuple[list[ViewAtScale], npt.NDArray[np.int64]]]:
    """Which views lack which images; views that lack the same ones together, so that an image is decoded once."""
    groups: dict[bytes, list[ViewAtScale]] = {}
    for view in views:
        lacking = np.ones(len(split), np.bool_)
        for part in kept:
            if view in part.posteriors:
                lacking[part.indices] = False
        if lacking.any():
            groups.setdefault(lacking.tobytes(), []).append(view)
    return [(group, np.flatnonzero(np.frombuffer(lacking, np.bool_))) for lacking, group in groups.items()]


def digest_of_net(net: Net) -> str:
    """What tells its description and its weights from those of other nets.

    Raises:
        VerydeepError: one of them is not there.
    """
    digests = []
    for path in (net.folder / CONFIG, net.folder / WEIGHTS):
        try:
            status = path.stat()
        except FileNotFoundError:
            raise VerydeepError(f"{net.folder} has no {path.name}: its training has not saved a net yet.") from None
        digests.append(_digest_of_file(path, status.st_size, status.st_mtime_ns))
    return " ".join(digests)


@functools.lru_cache(maxsize=256)
def _digest_of_file(path: Path, _size: int, _modified: int) -> str:
    """Of what a file holds; not read again as long as its size and modification time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_images(split: Split) -> str:
    """Of the paths, sizes and modification times of the images, in their order."""
    digest = hashlib.sha256()
    for index, file in enumerate(split.files):
        try:
            status = split.path(index).stat()
        except OSError as error:  # told when it is to be decoded
            digest.update(f"{file}\0{error.errno}\n".encode())
        else:
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
