"""``verydeep export``: the files, the output, and outputs equal to the net's."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.export.test_onnx import NAMES, THIN, drawn, images
from tests.peers import need
from tests.runs import Cli, full_disk, read_predictions
from tests.thin_nets import save_model, thin_networks
from verydeep.commands.export import describe_state_dict
from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.models.weights.model_folder import ModelConfig, Provenance, save_config, save_weights
from verydeep.ops.arrays import Float32Array

CONFIG = replace(THIN, crop=32, train_scale="256-512", provenance=Provenance(converged=True))


def leave(run: Path, config: ModelConfig = CONFIG) -> Path:
    save_model(drawn(config), config, run)
    return run


def dense_posterior(session: Any, path: Path, short_sides: list[int]) -> Float32Array:
    """(K,): what section 3.2 does with a photograph, by Pillow and the exported net alone."""
    found = []
    for short in short_sides:
        with Image.open(path) as image:
            scale = short / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32).transpose(2, 0, 1)
        both = np.stack([pixels, pixels[..., ::-1]])
        found.append(session.run(["posterior"], {"images": both})[0].mean(axis=0))
    mean: Float32Array = np.mean(found, axis=0)
    return mean


def test_an_onnx_file_predicts_as_we_do(inside: Cli, tmp_path: Path, photographs: Path) -> None:
    for peer in ("onnx", "onnxruntime"):
        need(peer)
    from onnxruntime import InferenceSession

    run, photo = leave(tmp_path / "photos-A"), photographs / "test" / "bee" / "001.jpg"
    output = inside("export", run, "--format", "onnx").stdout.splitlines()
    session = InferenceSession(tmp_path / "photos-A.onnx", providers=["CPUExecutionProvider"])
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items() if "[" in text}
    posterior = dense_posterior(session, photo, about["short_sides"])
    records = inside("predict", run, photo, "--precision", "fp32", "--format", "json", "--workers", 0).stdout
    for name, share in read_predictions(records)[str(photo)].items():
        assert share == pytest.approx(posterior[about["class_names"].index(name)], abs=1e-4)
    assert np.ptp(posterior) > 0.1
    size = (tmp_path / "photos-A.onnx").stat().st_size
    assert output[0] == f"Written: photos-A.onnx ({size / 1e6:.1f} MB)"
    assert output[1].startswith("In: images (N, 3, H, W) float32, RGB, 0-255, each side at least 32 pixels")
    assert [line.split()[1] for line in output if line.startswith("Out: ")] == ["scores", "posterior"]
    assert output[-1].startswith("Run: onnxruntime.InferenceSession(")
    assert output[-2] == "Rescale photographs to a short side of 37, 55 or 73 pixels."


def test_a_torch_export_file_is_reported_and_runs(inside: Cli, tmp_path: Path) -> None:
    config = replace(CONFIG, regression="per-class", constant_box=(0.5, 0.5, 0.5, 0.5))
    run = leave(tmp_path / "boxes", config)
    output = inside("export", run, "--format", "torch-export", "--out", "here/net.pt2").stdout
    pixels = torch.from_numpy(images(2, 64, 97))
    found = torch.export.load(tmp_path / "here" / "net.pt2").module()(pixels)
    assert list(found) == ["boxes"] and found["boxes"].shape == (2, 20, 2, 4)
    with torch.no_grad():
        expected = drawn(config)(pixels)
    assert (found["boxes"] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert "Written: here/net.pt2" in output and "Out: boxes (N, 20, h, w), center x" in output
    assert "each class's box in units of the crop" in output


def test_the_best_weights_are_others(inside: Cli, tmp_path: Path) -> None:
    need("onnx")
    import onnx

    run = leave(tmp_path / "run")
    (run / "model").rename(run / "best")
    with torch.random.fork_rng():
        model = drawn(CONFIG)
        with torch.no_grad():
            model.fc8.weight += 1
    save_model(model, CONFIG, run)
    biases = []
    for weights in ("last", "best"):
        inside("export", run, "--format", "onnx", "--weights", weights, "--out", f"{weights}.onnx")
        tensors = {each.name: each for each in onnx.load(tmp_path / f"{weights}.onnx").graph.initializer}
        biases.append(onnx.numpy_helper.to_array(tensors["fc8.weight"]))
    np.testing.assert_allclose(biases[0], biases[1] + 1)


def test_a_state_dict_comes_with_instructions(inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At width 1, which torchvision requires and which is thin here; all weights are 0."""
    thin_networks(monkeypatch)
    config = replace(CONFIG, crop=224, width=1.0, fc_width=PAPER_FC_WIDTH)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in config.build().state_dict().items()}
    save_weights(tmp_path / "photos-A", {name: torch.zeros(shape) for name, shape in shapes.items()})
    save_config(tmp_path / "photos-A", config)
    output = inside("export", tmp_path / "photos-A", "--format", "torchvision").stdout.splitlines()
    path = tmp_path / "photos-A-torchvision.pth"
    about = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert path.exists() and output[0].startswith(f"Written: {path.name} (")
    assert output[1].startswith(f"Written: {path.name}.json")
    assert "vgg11" in output[2] and "num_classes=5" in output[2] and path.name in output[2]
    assert "Normalize(mean=[0.509804, 0.352941, 0.235294], std=[0.229000, 0.224000, 0.225000])" in output[3]
    assert about["mean"] == pytest.approx([130 / 255, 90 / 255, 60 / 255])
    assert about["class_words"] == list(NAMES)
    assert output[5] == "Pooling rounds down in torchvision and up here: images of 224 by 224 give equal scores."
    timm = describe_state_dict("timm", Path("vgg.safetensors"), replace(config, pooling="floor"))
    assert 'checkpoint_path="vgg.safetensors"' in timm[1] and not any("Pooling" in line for line in timm)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--format", "onnx"), "There is no run, model folder or weight file nowhere"),
        (("run", "--format", "timm"), "timm cannot run this net: its vgg11 has crop 224, and this net crop 32;"),
        (("run", "--format", "torchvision"), "torchvision cannot run this net: its vgg11 has crop 224"),
        (("run", "--format", "torch-export", "--out", "run"), "--out run is a folder: give the name of a file in it."),
    ],
)
def test_what_cannot_be_is_reported_in_a_sentence(
    arguments: tuple[str, ...], message: str, inside: Cli, tmp_path: Path
) -> None:
    leave(tmp_path / "run")
    refused = inside("export", *arguments, check=False)
    assert refused.returncode == 1 and refused.stderr.startswith(f"verydeep: {message}")
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("format", "name", "arguments"),
    [
        ("onnx", "mine.onnx", ("--out", "mine.onnx")),
        ("torch-export", "run.pt2", ()),
        ("timm", "mine.json", ("--out", "mine.json")),
        ("torchvision", "run-torchvision.pth.json", ()),
    ],
)
def test_no_file_is_replaced(
    format: str,  # noqa: A002
    name: str,
    arguments: tuple[str, ...],
    inside: Cli,
    tmp_path: Path,
) -> None:
    leave(tmp_path / "run")
    (tmp_path / name).write_text("mine")
    refused = inside("export", "run", "--format", format, *arguments, check=False)
    assert refused.returncode == 1
    assert refused.stderr == f"verydeep: {name} exists: choose another --out, or remove it.\n"
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_a_full_disk_is_reported_and_nothing_is_left(
    format: str,  # noqa: A002
    inside: Cli,
    tmp_path: Path,
) -> None:
    need("onnx")
    leave(tmp_path / "run")
    with full_disk():
        refused = inside("export", "run", "--format", format, check=False)
    assert refused.returncode == 1 and "cannot be written" in refused.stderr and "make room" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_format_has_to_be_stated(inside: Cli) -> None:
    assert inside("export", "run", check=False).returncode == 2
