"""Archives of a thin net's descriptors, and their plain reading."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from tests.he_weights import draw_he_weights
from tests.thin_nets import save_model
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.engine.archive.manifest import ArchiveOptions
from verydeep.engine.archive.update import Archive, update_archive
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.models.weights.model_folder import ModelConfig

CPU = Runtime(torch.device("cpu"), bf16=False)
CONFIG = ModelConfig("A", ("a", "b"), ("a", "b"), crop=32, width=0.1, fc_width=12, mean_rgb=(100.0, 120.0, 140.0))


def make_net(run: Path, seed: int = 2) -> Net:
    """Save a run whose net has descriptors of 12 dimensions, half of them not zero."""
    model = CONFIG.build()
    draw_he_weights(model, seed)
    save_model(model, CONFIG, run)
    return Net.open(run)


def update(
    net: Net, folder: Path, *images: Path, decoding: Decoding = STRICT, runtime: Runtime = CPU, **options: Any
) -> Archive:
    """Do what ``verydeep features`` does with images, in fp32."""
    archive_options = ArchiveOptions(**{"precision": "fp32", **options})
    return update_archive(folder, net, archive_options, list(map(str, images)), runtime, decoding)


def read_archive(folder: Path) -> dict[str, npt.NDArray[np.float16]]:
    """Return path -> descriptor, read as docs/features.md reads them; no path may be there twice."""
    descriptors: dict[str, npt.NDArray[np.float16]] = {}
    for shard in sorted((folder / "shards").glob("*.safetensors")):
        arrays = load_file(shard)
        paths = arrays["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        assert not descriptors.keys() & set(paths)
        descriptors |= dict(zip(paths, arrays["descriptors"], strict=True))
    return descriptors
