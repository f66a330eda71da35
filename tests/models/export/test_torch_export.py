"""``torch.export`` files: run without this package, at any size."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import verydeep
from tests.models.export.test_onnx import NAMES, THIN, drawn, images
from verydeep.models.export.torch_export import CeilPool, export_program, write_torch_export
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig

LRN = replace(THIN, network="A-LRN", crop=32)
"""The smallest map of the smallest crop is 1x1 already behind pool5."""
SHAPES = ((1, 32, 32), (2, 73, 39), (3, 33, 128))


@pytest.fixture(scope="module")
def net() -> VGG:
    return drawn(LRN)


@pytest.fixture(scope="module")
def path(net: VGG, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the net, written once."""
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    write_torch_export(path, net, LRN)
    return path


def test_the_program_gives_what_the_net_gives(net: VGG, path: Path) -> None:
    about = {"verydeep.json": ""}
    program = torch.export.load(path, extra_files=about).module()
    for shape in SHAPES:
        pixels = torch.from_numpy(images(*shape))
        with torch.no_grad():
            scores = net(pixels)
        found = program(pixels)
        assert found["scores"].shape == scores.shape and not found["scores"].requires_grad
        assert (found["scores"] - scores).abs().max() < 1e-5 * scores.abs().max()
        np.testing.assert_allclose(found["posterior"], net.logits(pixels).softmax(dim=1).detach(), atol=1e-5)
    assert json.loads(about["verydeep.json"])["class_names"] == list(NAMES)
    with pytest.raises(AssertionError, match=r"size\(\)\[2\] >= 32"):
        program(torch.zeros(1, 3, 31, 40))


def test_the_net_still_learns(net: VGG, path: Path) -> None:
    assert path.exists() and all(parameter.requires_grad for parameter in net.parameters())


def test_it_runs_without_this_package(net: VGG, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.from_numpy(images(2, 50, 61))
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "verydeep"]:
            patch.setitem(sys.modules, name, None)
        scores = torch.export.load(path).module()(pixels)["scores"]
    with torch.no_grad():
        np.testing.assert_allclose(scores, net(pixels), rtol=1e-4, atol=1e-4)


def test_paths_of_this_machine_stay_here(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        content = b"".join(map(archive.read, archive.namelist()))
    assert b"conv1_1.weight" in content
    assert str(Path(verydeep.__file__).parent).encode() not in content


@pytest.mark.parametrize(
    "config",
    [replace(THIN, pooling="floor"), replace(THIN, class_names=(), class_words=())],
    ids=["floor", "trunk"],
)
def test_other_nets(config: ModelConfig) -> None:
    model = drawn(config)
    program, names = (
        export_program(model, config).module(),
        ["features"] if config.is_trunk else ["scores", "posterior"],
    )
    for shape in ((1, 64, 64), (2, 71, 134)):
        pixels = torch.from_numpy(images(*shape))
        with torch.no_grad():
            dense = model(pixels)
        found = program(pixels)
        assert list(found) == names
        assert found[names[0]].shape == dense.shape
        assert (found[names[0]] - dense).abs().max() < 1e-5 * dense.abs().max()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4), (9, 9)])
def test_rounding_up_is_torchs(size: tuple[int, int]) -> None:
    values = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)).relu()
    assert torch.equal(CeilPool()(values), torch.nn.MaxPool2d(2, ceil_mode=True)(values))
