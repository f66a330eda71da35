"""State dicts for torchvision and timm: loaded there with strict=True, and equal logits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.export.test_onnx import NAMES, THIN, drawn, images
from tests.peers import import_torchvision, need
from tests.runs import full_disk
from verydeep.configs.networks import NETWORKS, PAPER_FC_WIDTH, scaled_channels
from verydeep.errors import ResourceError, WeightsError
from verydeep.models.export.state_dict import System, check_supported, convert_state_dict, write_state_dict
from verydeep.models.weights.model_folder import ModelConfig

FC_WIDTH = 12
THIN_224 = replace(THIN, crop=224)
PAPERS = replace(THIN_224, width=1.0, fc_width=PAPER_FC_WIDTH)


@pytest.fixture(autouse=True)
def peers() -> None:
    for peer in ("torchvision", "timm"):
        need(peer)
    import_torchvision()


def cfg(network: str) -> list[Any]:
    """The thin net as torchvision and timm write one down."""
    blocks = ([scaled_channels(conv.channels, 1 / 16) for conv in block] for block in NETWORKS[network].blocks)
    return [each for block in blocks for each in (*block, "M")]


def theirs(system: System, network: str) -> nn.Module:
    """The system's own code for the thin net, its weights not filled."""
    num_classes = len(NAMES)
    with torch.device("meta"):
        if system == "torchvision":
            from torchvision.models.vgg import VGG, make_layers

            net = VGG(make_layers(cfg(network)), num_classes, init_weights=False)
            for place, sizes in ((0, (32 * 49, FC_WIDTH)), (3, (FC_WIDTH, FC_WIDTH)), (6, (FC_WIDTH, num_classes))):
                net.classifier[place] = nn.Linear(*sizes)
        else:
            from timm.layers import ClassifierHead
            from timm.models.vgg import VGG, ConvMlp

            net = VGG(cfg(network), num_classes)
            net.pre_logits, net.head = ConvMlp(32, FC_WIDTH, 7), ClassifierHead(FC_WIDTH, num_classes)
    module: nn.Module = net.eval()
    return module


def normalized(pixels: Tensor, about: dict[str, Any]) -> Tensor:
    """By torchvision's own transform, as the JSON file says."""
    from torchvision.transforms import Normalize

    done: Tensor = Normalize(about["mean"], about["std"])(pixels / 255)
    return done


@pytest.mark.parametrize("network", ["A", "B", "D", "E"])
@pytest.mark.parametrize("system", ["torchvision", "timm"])
def test_their_net_gives_our_logits(system: System, network: str, tmp_path: Path) -> None:
    config = replace(THIN_224, network=network)
    model, path = drawn(config), tmp_path / "net.weights"
    write_state_dict(path, system, model.state_dict(), config)
    about = json.loads((tmp_path / "net.weights.json").read_text())
    if system == "torchvision":
        state = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(path)
    net = theirs(system, network)
    net.load_state_dict(state, strict=True, assign=True)
    # timm applies the net densely; both round down at pooling, so that other sizes differ.
    pixels = torch.from_numpy(images(2, 224, 224 if system == "torchvision" else 320))
    with torch.no_grad():
        logits, found = model.logits(pixels), net(normalized(pixels, about))
    assert (found - logits).abs().max() < 1e-4 * logits.abs().max() and logits.std() > 0.1
    assert about["architecture"] == {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}[network]
    assert (about["system"], about["num_classes"], about["class_names"]) == (system, 5, list(NAMES))
    assert state["features.0.weight"].std() > 30 * model.weight_layers()["conv1_1"].weight.std()


def test_the_usual_mean_changes_the_borders(tmp_path: Path) -> None:
    """Why the net keeps its own: a bias that makes up for another mean does so inside the image alone."""
    model, path = drawn(THIN_224), tmp_path / "net.pth"
    write_state_dict(path, "torchvision", model.state_dict(), THIN_224)
    about = json.loads((tmp_path / "net.pth.json").read_text())
    net = theirs("torchvision", "A")
    net.load_state_dict(torch.load(path), strict=True, assign=True)
    first = net.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d) and first.bias is not None
    pixels = torch.from_numpy(images(1, 224, 224))
    with torch.no_grad():
        right = first(normalized(pixels, about))
        usual = {"mean": [0.485, 0.456, 0.406], "std": about["std"]}
        shift = (torch.tensor(usual["mean"]) - torch.tensor(about["mean"])) / torch.tensor(about["std"])
        first.bias += (first.weight * shift[:, None, None]).sum(dim=(1, 2, 3))
        other = first(normalized(pixels, usual))
    difference = (right - other).abs() / right.abs().max()
    assert difference[..., 1:-1, 1:-1].max() < 1e-5 and difference.max() > 0.01


@pytest.mark.parametrize("system", ["torchvision", "timm"])
def test_at_full_size_their_own_constructor_takes_it(system: System) -> None:
    state = convert_state_dict(system, full_size(), PAPERS)
    with torch.device("meta"):
        if system == "torchvision":
            from torchvision.models import vgg11

            net = vgg11(num_classes=5)
        else:
            from timm import create_model

            net = create_model("vgg11", num_classes=5)
    net.load_state_dict(state, strict=True, assign=True)


def full_size() -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(PAPERS.build().state_dict())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (replace(PAPERS, network="A-LRN"), "it has no net A-LRN, only A, B, D and E"),
        (replace(PAPERS, network="C"), "it has no net C, only"),
        (replace(PAPERS, network="B-5x5"), "it has no net B-5x5, only"),
        (replace(PAPERS, regression="single-class"), "its vgg11 predicts classes, and this net predicts boxes"),
        (replace(PAPERS, class_names=(), class_words=()), "its vgg11 predicts classes, and this net is a trunk"),
        (replace(PAPERS, network="D", crop=64), "its vgg16 has crop 224, and this net crop 64"),
        (replace(PAPERS, width=0.5), "4,096 channels in fc6 and fc7, and this net width 0.5 and 4,096"),
        (replace(PAPERS, fc_width=512), "and this net width 1 and 512"),
    ],
)
def test_what_does_not_exist_there_is_refused(config: ModelConfig, why: str) -> None:
    for system in ("torchvision", "timm"):
        with pytest.raises(WeightsError, match=f"^{system} cannot run this net: .*{why}.*give `format=onnx`"):
            check_supported(system, config)  # type: ignore[arg-type]
    check_supported("timm", PAPERS)


@pytest.mark.parametrize("system", ["torchvision", "timm"])
def test_a_full_disk_is_reported_and_no_weights_are_left(system: System, tmp_path: Path) -> None:
    tensors = drawn(THIN_224).state_dict()
    with full_disk(), pytest.raises(ResourceError, match=r"cannot be written .*make room"):
        write_state_dict(tmp_path / "net.weights", system, tensors, THIN_224)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json"}
