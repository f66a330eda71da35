"""Small files in the authors' formats, where a user without a network puts the published ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.foreign_files import write_caffemodel
from tests.he_weights import draw_he_weights
from tests.thin_nets import CROP, FC_WIDTH, thin_networks
from verydeep.configs.networks import NETWORKS
from verydeep.configs.published_nets import PUBLISHED
from verydeep.models.vgg import VGG
from verydeep.models.weights.folding import unfold_input
from verydeep.models.weights.readers.torch_nets import torchvision_names
from verydeep.models.weights.weight_file import CAFFE_INPUT, TORCHVISION_INPUT


def thin_net(network: str, seed: int) -> VGG:
    net = VGG(NETWORKS[network], 1000, crop=CROP, fc_width=FC_WIDTH)
    draw_he_weights(net, seed)
    return net


def write_published_nets(
    cache: Path, monkeypatch: pytest.MonkeyPatch, names: Sequence[str] = ("oxford-vgg16", "oxford-vgg19")
) -> None:
    """Make the nets of width 1 thin, use this cache, and write a file for each published net into it."""
    thin_networks(monkeypatch)
    monkeypatch.setenv("VERYDEEP_CACHE", str(cache))
    folder = cache / "weights"
    folder.mkdir(parents=True)
    for seed, name in enumerate(names, start=1):
        network = PUBLISHED[name].network
        path, tensors = folder / PUBLISHED[name].file, dict(thin_net(network, seed).state_dict())
        ours = tensors["conv1_1.weight"]
        if name.startswith("oxford"):
            write_caffemodel(path, {**tensors, "conv1_1.weight": unfold_input(ours, CAFFE_INPUT)})
        else:
            tensors["conv1_1.weight"] = unfold_input(ours, TORCHVISION_INPUT)
            theirs = torchvision_names(NETWORKS[network])
            named = {f"{theirs[key.split('.')[0]]}.{key.split('.')[1]}": each for key, each in tensors.items()}
            torch.save({key: each.flatten(1) if "classifier" in key and each.ndim > 1 else each
                        for key, each in named.items()}, path)  # fmt: skip
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], digest=f"sha256:{digest[:8]}"))
