"""Archives of a thin net's descriptors, and their plain reading."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from tests.he_weights import draw_he_weights
from tests.thin_nets import save
from verydeep.data.decoding import STRICT, Decoding
from verydeep.engine.archive.describing import DescribeOptions, describe_archive
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.models.weights.native import ModelConfig

CPU = Runtime(torch.device("cpu"), bf16=False)
CONFIG = ModelConfig("A", ("a", "b"), ("a", "b"), crop=32, width=0.1, fc_width=12, mean_rgb=(100.0, 120.0, 140.0))


def leave_net(run: Path, seed: int = 2) -> Net:
    """A run whose net has descriptors of 12 dimensions, half of them not zero."""
    model = CONFIG.build()
    draw_he_weights(model, seed)
    save(model, CONFIG, run)
    return Net.open(run)


def describe_batches(net: Net, folder: Path, *images: Path, decoding: Decoding = STRICT, **asked: object) -> None:
    """What ``verydeep features`` does with them, in fp32."""
    request = DescribeOptions(net, **{"precision": "fp32", **asked})  # type: ignore[arg-type]
    describe_archive(folder, request, list(map(str, images)), CPU, decoding)


def content(folder: Path) -> dict[str, npt.NDArray[np.float16]]:
    """Path -> descriptor, as docs/features.md reads them; no path may be there twice."""
    found: dict[str, npt.NDArray[np.float16]] = {}
    for shard in sorted((folder / "shards").glob("*.safetensors")):
        held = load_file(shard)
        paths = held["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        assert not found.keys() & set(paths)
        found |= dict(zip(paths, held["descriptors"], strict=True))
    return found
