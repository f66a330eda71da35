"""Nets by their published names, from files in the authors' format: tables without training, and fine-tuning."""

import json
from pathlib import Path

import pytest
import torch

from tests.published_files import thin_net, write_published_nets
from tests.runs import Cli
from tests.thin_nets import CROP, FC_WIDTH, make_pictures
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.engine.load import load

FAST = ("--precision", "fp32", "--workers", 0)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of six of ILSVRC's classes, and the published files where a user without a network puts them."""
    write_published_nets(tmp_path / "cache", monkeypatch, ("oxford-vgg16", "oxford-vgg19", "torchvision-vgg16"))
    names = list(ilsvrc_classes())
    for part in ("train", "val"):
        make_pictures(tmp_path / "data" / part, 2, first=50 * (part == "val"))
        for label, each in enumerate(sorted((tmp_path / "data" / part).iterdir())):
            each.rename(each.with_name(names[100 * label]))
    return tmp_path / "data"


def test_the_authors_nets_answer_for_their_rows(inside: Cli, data: Path, tmp_path: Path) -> None:
    """Without training; torchvision's net stands below them, under its own name."""
    named = "oxford-vgg16,oxford-vgg19,torchvision-vgg16"
    done = inside(
        "reproduce",
        "table4",
        "--data",
        data,
        "--runs",
        named,
        "--no-train",
        "--crop",
        CROP,
        "--fc-width",
        FC_WIDTH,
        *FAST,
    )
    (path,) = (tmp_path / "runs" / "tables").glob("*/table4.json")
    table = json.loads(path.read_text())
    measured = {row["label"]: row["measured"] for row in table["rows"]}
    answered = {name for name, each in measured.items() if each is not None}
    assert answered == {"D/256-512/256,384,512", "E/256-512/256,384,512"}
    assert [each["label"] for each in table["other_nets"]] == ["torchvision-vgg16/256"]
    assert "Not converged" not in done.stdout and "nets of another system" in done.stdout
    # The row is what evaluating the net by its name gives.
    inside("evaluate", data, "oxford-vgg16", "--scales", "256,384,512", *FAST, "--out", "alone")
    alone = json.loads((tmp_path / "alone" / "errors.json").read_text())["rows"][-1]["errors"]
    assert measured["D/256-512/256,384,512"]["top1"] == alone["top1"]


def test_fine_tuning_starts_from_the_authors_file(inside: Cli, data: Path, tmp_path: Path) -> None:
    """fc8 is drawn anew, and that is said; the rate is 0.001, with the paper's batch; BGR is RGB by then."""
    words = ("--epochs", 1, "--batch-size", 4, "--learning-rate", 1e-9, *FAST, "--out", "run")
    done = inside("train", data, "--init-from", "oxford-vgg16", *words)
    assert "initialized at random (other classes: 1000 there, 6 here): fc8" in done.stdout
    net = load(tmp_path / "run")
    net, config = net.load(), net.config
    theirs = thin_net("D", 1)
    for name in ("conv1_1", "conv3_2", "fc7"):
        assert torch.allclose(net.get_submodule(name).weight, theirs.get_submodule(name).weight, atol=1e-5), name
    assert config.network == "D" and config.provenance.license == "CC-BY-4.0"
    assert config.provenance.imported_source == "oxford-vgg16" and len(config.class_names) == 6
    assert config.mean_rgb == pytest.approx((123.68, 116.779, 103.939))
    inside("train", data, "--init-from", "oxford-vgg16", "--epochs", 1, *FAST, "--out", "paced")
    settings = json.loads((tmp_path / "paced" / "run.json").read_text())
    batch = settings["recipe"]["batch_size"]
    assert settings["recipe"]["stages"][0]["learning_rate"] == pytest.approx(1e-3 * (batch / 256) ** 0.5)


@pytest.mark.parametrize(
    ("name", "author", "license_words"),
    [
        ("oxford-vgg16", "Karen Simonyan and Andrew Zisserman", "https://creativecommons.org/licenses/by/4.0/"),
        ("torchvision-vgg16", "torchvision", "not settled"),
    ],
)
def test_the_first_use_of_a_net_states_author_and_license(
    name: str, author: str, license_words: str, inside: Cli, data: Path
) -> None:
    photograph = next((data / "val").rglob("*.png"))
    first = inside("predict", name, photograph, "--format", "csv", *FAST)
    assert author in first.stderr and license_words in first.stderr
    second = inside("predict", name, photograph, "--format", "csv", *FAST)
    assert second.stdout == first.stdout and author not in second.stderr
