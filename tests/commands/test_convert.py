"""``verydeep convert``, and a converted net in every command that takes a run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import verydeep as vd
from tests.engine.importing.test_conversion import as_torchvision_sees, torchvision_net
from tests.runs import Cli, read_predictions
from verydeep.engine.load import load

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(torchvision_net(4).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Photographs of two of the net's classes, in train/ and val/."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in (WNIDS[2], WNIDS[1]):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (240, 250, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{i}.png")
    return tmp_path / "photos"


def test_what_was_read_is_reported(inside: Cli, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(WNIDS) + "\n", encoding="utf-8-sig")  # as Notepad writes
    done = inside("convert", weights, "out", "--class-names", "names.txt")
    assert "net A at 0.0976" in done.stdout and "4 classes" in done.stdout
    assert "RGB, 0-255, minus the mean RGB (123.675, 116.28, 103.53), divided by" in done.stdout
    assert (tmp_path / "out" / "config.json").exists()
    values = json.loads(inside("convert", weights, "again", "--format", "json").stdout)
    assert values["network"] == "A" and values["out"] == "again"
    again = inside("convert", weights, "out", check=False)
    assert again.returncode == 1 and "out already exists" in again.stderr


def test_a_weight_file_predicts_as_its_source(inside: Cli, weights: Path, folders: Path, tmp_path: Path) -> None:
    """Straight from the file, without a folder in between."""
    file = folders / "val" / WNIDS[1] / "0.png"
    words = ("--scales", "224", "--views", "center", "--precision", "fp32", "--format", "json")
    (found,) = read_predictions(inside("predict", weights, file, *words).stdout).values()
    rgb = Image.open(file).convert("RGB").resize((233, 224), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float()
    left = (233 - 224) // 2
    with torch.inference_mode():
        theirs = torchvision_net(4)(as_torchvision_sees(pixels[None, :, :, left : left + 224])).softmax(1)[0]
    assert [found[f"class {k}"] for k in range(4)] == pytest.approx(theirs.tolist(), abs=2e-3)


def test_classes_are_matched_by_wnid_in_evaluate(inside: Cli, weights: Path, folders: Path, tmp_path: Path) -> None:
    """The errors are those of the source's scores for the two classes of the data set alone."""
    (tmp_path / "names.txt").write_text("\n".join(WNIDS) + "\n")
    inside("convert", weights, "net", "--class-names", "names.txt")
    done = inside("evaluate", folders, "net", "--scales", "224", "--views", "center", "--precision", "fp32")
    assert re.search("2 of its outputs are used, chosen by their WNIDs", done.stdout)
    (folder,) = (tmp_path / "net" / "evaluations").iterdir()
    lines = (folder / "predictions.csv").read_text().splitlines()[1:]
    assert len(lines) == 6
    left, source = (233 - 224) // 2, torchvision_net(4)
    for line in lines:
        path, _, _, *guesses = line.split(",")
        rgb = Image.open(folders / "val" / path).convert("RGB").resize((233, 224), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float()[None, :, :, left : left + 224]
        with torch.inference_mode():
            theirs = source(as_torchvision_sees(pixels))[0, 1:3].softmax(0).tolist()
        posterior = dict(zip(guesses[::2], map(float, guesses[1::2]), strict=True))
        assert [posterior[name] for name in WNIDS[1:3]] == pytest.approx(theirs, abs=2e-3)


def test_an_evaluation_of_a_weight_file_is_left_here(inside: Cli, folders: Path, tmp_path: Path) -> None:
    """And not in a folder that is called like the file."""
    torch.save(torchvision_net(1000).state_dict(), tmp_path / "net.pth")
    inside("evaluate", folders, "net.pth", "--scales", "224", "--views", "center", "--precision", "fp32")
    assert [path.name for path in (tmp_path / "evaluations").iterdir()] == ["val-net.pth-photos-center-224"]


def test_a_first_use_states_what_was_assumed(inside: Cli, weights: Path, folders: Path) -> None:
    """Once; and outputs without names are not the classes of a data set."""
    first, second = (inside("predict", weights, folders, "--scales", "224", "--top", "1") for _ in range(2))
    assert "net.pth: The file does not state its input" in first.stdout and "have no names" in first.stdout
    for option in ("--input: caffe", "--class-names, a file"):
        assert f"use `verydeep convert` with {option}" in first.stdout, "`verydeep predict` has no such options"
    assert "does not state its input" not in second.stdout
    done = inside("evaluate", folders, weights, check=False)
    assert done.returncode == 1 and "does not name its 4 classes: convert it with" in done.stderr
    assert "--class-names" in done.stderr


def test_a_net_with_a_head_of_ones_own_is_a_trunk_to_every_command(inside: Cli, folders: Path, tmp_path: Path) -> None:
    """Described, and trained from; refused where classes are needed."""
    net = torchvision_net(4)
    net.classifier = nn.Linear(50, 4)
    torch.save(net.state_dict(), tmp_path / "mine.pth")
    note = "its head (classifier) is not that of a VGG net"
    done = inside("features", "mine.pth", folders, "--out", "archive", "--precision", "fp32")
    assert f"mine.pth: Only the convolutions were read: {note}." in done.stdout
    refused = inside("predict", "mine.pth", folders, check=False)
    assert refused.returncode == 1 and f"no classes, because {note}: train a net from it" in refused.stderr
    words = (
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--precision",
        "fp32",
        "--out",
        "run",
        "--crop",
        "64",
        "--fc-width",
        "8",
    )
    done = inside("train", folders, "--init-from", "mine.pth", *words)
    assert re.search(r"copied: conv1_1, .*conv5_2\n", done.stdout) and re.search(
        r"at random .*fc6, fc7, fc8", done.stdout
    )
    converted = inside("convert", "mine.pth", "out").stdout
    assert "no FC layers: a trunk" in converted and note in converted and "train photos --init-from out" in converted


def test_fine_tuning_starts_from_a_weight_file(inside: Cli, weights: Path, folders: Path, tmp_path: Path) -> None:
    """Network, crop and width are the file's; other classes, so fc8 is drawn, and the output states it."""
    words = ("--epochs", "1", "--batch-size", "2", "--precision", "fp32", "--out", "run")
    done = inside("train", folders, "--init-from", weights, *words)
    assert re.search(r"initialized at random \(other classes: 4 there, 2 here\): fc8", done.stdout)
    assert re.search(r"copied: conv1_1, .*fc6, fc7\n", done.stdout)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert config["input_scale"] == pytest.approx([58.395, 57.12, 57.375]) and config["pooling"] == "floor"
    assert config["mean_rgb"] == pytest.approx([123.675, 116.28, 103.53])
    assert settings["recipe"]["stages"][0]["learning_rate"] == pytest.approx(1e-3 * (2 / 256) ** 0.5)
    assert config["provenance"]["imported_source"] == "net.pth"
    # The first layer moves as far as the others, which it would not if its gradient were not divided.
    before, after = load(weights).load().state_dict(), load(tmp_path / "run").load().state_dict()
    moved = {
        name: float((after[name] - before[name]).norm() / before[name].norm())
        for name in ("conv1_1.weight", "conv2_1.weight", "conv3_1.weight")
    }
    assert 0 < moved["conv1_1.weight"] < 20 * max(moved["conv2_1.weight"], moved["conv3_1.weight"])


def test_a_first_layer_that_is_drawn_has_no_scale(inside: Cli, weights: Path, folders: Path, tmp_path: Path) -> None:
    words = ("--epochs", "1", "--batch-size", "2", "--precision", "fp32", "--width", "0.05", "--out", "run")
    done = inside("train", folders, "--init-from", weights, "--fc-width", "16", *words)
    assert re.search(r"initialized at random \(another shape: 6x3x3x3 there, 3x3x3x3 here\): conv1_1\n", done.stdout)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["input_scale"] is None and config["pooling"] == "floor"


def test_a_trunk_is_no_classifier_but_a_beginning(inside: Cli, folders: Path, tmp_path: Path) -> None:
    state = {name: each for name, each in torchvision_net(4).state_dict().items() if name.startswith("features")}
    torch.save(state, tmp_path / "trunk.pth")
    assert "a trunk" in inside("convert", "trunk.pth", "trunk").stdout
    for words in (("predict", "trunk", folders), ("evaluate", folders, "trunk")):
        done = inside(*words, check=False)
        assert done.returncode == 1 and "only convolutions" in done.stderr
    words = ("--epochs", "1", "--batch-size", "2", "--precision", "fp32", "--fc-width", "8", "--out", "run")
    done = inside("train", folders, "--init-from", "trunk", *words)
    assert re.search(r"initialized at random .* fc6, fc7, fc8", done.stdout)
    assert "fc8" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:badname", "hf-hub:badname is not a repository name: write hf-hub:OWNER/NAME."),
        ("hf-hub:jane/net", "hf-hub:jane/net needs no conversion: give this name as RUN to any other command."),
    ],
)
def test_a_repository_is_not_converted(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(vd.VerydeepError, match=re.escape(message)):
        vd.convert(name, tmp_path / "out")
