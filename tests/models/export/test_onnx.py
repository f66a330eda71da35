"""ONNX files in onnxruntime: the class score map of images of any size, and what travels in the file."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from tests.peers import need
from verydeep.configs.networks import NETWORKS
from verydeep.errors import ResourceError, WeightsError
from verydeep.models.export.onnx import write_onnx
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.arrays import Float32Array

NAMES = ("ant", "bee; or wasp", "c", "d", "e")
THIN = ModelConfig("A", NAMES, NAMES, crop=64, width=1 / 16, fc_width=12, mean_rgb=(130.0, 90.0, 60.0))
TRUNK = replace(THIN, network="B", class_names=(), class_words=(), crop=224)
BOXES = replace(THIN, network="A", crop=32, regression="per-class", constant_box=(0.5, 0.5, 0.5, 0.5))


def drawn(config: ModelConfig) -> VGG:
    """A net with biases that are not zero: beyond the borders they are not what the mean pixel gives."""
    model = config.build().eval()
    draw_he_weights(model, 3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in model.weight_layers().values():
            assert layer.bias is not None
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator))
    return model


def images(count: int, height: int, width: int) -> Float32Array:
    """(count, 3, height, width), RGB, 0-255."""
    pixels = np.stack([picture(height, width, seed) for seed in range(count)])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


@pytest.mark.parametrize(
    "config",
    [
        THIN,
        replace(THIN, pooling="floor"),
        replace(THIN, network="A-LRN", crop=32),
        replace(THIN, network="C", crop=32),
        replace(THIN, network="B-5x5", crop=96, width=1 / 32),
        TRUNK,
        BOXES,
    ],
    ids=lambda config: f"{config.network}-{config.crop}-{config.pooling}-{config.task}",
)
def test_onnxruntime_gives_what_the_net_gives(config: ModelConfig, tmp_path: Path) -> None:
    for peer in ("onnx", "onnxruntime"):
        need(peer)
    import onnx
    from onnxruntime import InferenceSession

    model, path = drawn(config), tmp_path / "net.onnx"
    write_onnx(path, model, config)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    assert [each.name for each in session.get_inputs()] == ["images"]
    assert outputs == (["features"] if config.is_trunk else ["boxes"] if config.regression else ["scores", "posterior"])
    crop = 64 if config.is_trunk else config.crop
    for shape in ((1, crop, crop), (2, crop + 41, crop + 7), (3, crop + 1, crop + 96)):
        pixels = images(*shape)
        with torch.no_grad():
            dense = model(torch.from_numpy(pixels))
        found = dict(zip(outputs, session.run(None, {"images": pixels}), strict=True))
        assert found[outputs[0]].shape == dense.shape
        assert np.abs(found[outputs[0]] - dense.numpy()).max() < 1e-4 * dense.abs().max()
        assert dense.std() > 0.1
        if "posterior" in outputs:
            expected = torch.softmax(dense.mean(dim=(2, 3)), dim=1)
            np.testing.assert_allclose(found["posterior"], expected.numpy(), atol=1e-4)


def test_layers_and_classes_are_named_in_the_file(tmp_path: Path) -> None:
    need("onnx")
    import onnx

    write_onnx(tmp_path / "net.onnx", drawn(THIN), THIN)
    model = onnx.load(tmp_path / "net.onnx")
    props = {each.key: each.value for each in model.metadata_props}
    assert json.loads(props["class_names"]) == list(NAMES) and json.loads(props["short_sides"]) == [73]
    assert json.loads(props["mean_rgb"]) == [130.0, 90.0, 60.0]
    nodes = [node.name for node in model.graph.node]
    convolutions = [name for name, _ in NETWORKS["A"].convs()]
    assert [name for name in nodes if name.startswith(("conv", "fc"))] == [*convolutions, "fc6", "fc7", "fc8"]
    assert {"pool5", "relu6", "relu7"} <= set(nodes)
    assert "RGB, 0-255" in model.graph.input[0].doc_string


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ResourceError, match=r"needs onnx: pip install 'verydeep\[onnx\]'"):
        write_onnx(tmp_path / "net.onnx", drawn(BOXES), BOXES)
    assert not list(tmp_path.iterdir())


def test_more_weights_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = VGG(NETWORKS["D"], 1000, crop=512)  # fc6 alone takes 2.1 GB
    with pytest.raises(WeightsError, match=r"take 2\.3 GB, more than an ONNX .*: give `format=torch-export`"):
        write_onnx(tmp_path / "net.onnx", large, replace(THIN, network="D", crop=512))
    assert not list(tmp_path.iterdir())
