"""Narrow nets of a few thousand weights, so that whole tables of them can be measured in a test."""

import csv
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import SHAPES, picture
from tests.he_weights import draw_he_weights
from verydeep.configs.networks import NETWORKS, Network
from verydeep.configs.protocols import PaperNet
from verydeep.engine.datasets import VAL_FRACTION, Division, fingerprint, open_data_split
from verydeep.json_files import write_json
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import (
    ModelConfig,
    Provenance,
    SplitRecord,
    keep_classifier,
    save_config,
    save_weights,
)

CROP, WIDTH, FC_WIDTH = 32, 1 / 16, 12
WIDTHS: dict[str, Any] = {"width": WIDTH, "fc_width": FC_WIDTH}
"""As keyword arguments."""
WIDTH_OPTIONS = ("--width", WIDTH, "--fc-width", FC_WIDTH)
SIZES = f"c{CROP}-w{WIDTH}-f{FC_WIDTH}"
"""As part of a run's name."""

CLASSES = ("ant", "bell", "crab", "dill", "elk", "fig")


def thin_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make nets of width 1 thin, for nets that have no other width: those of other systems and published ones."""
    for name, network in list(NETWORKS.items()):
        blocks = (
            tuple(replace(conv, channels=channels) for conv in block)
            for block, channels in zip(network.blocks, (3, 4, 5, 6, 8), strict=True)
        )
        monkeypatch.setitem(NETWORKS, name, Network(name, tuple(blocks)))


def make_pictures(folder: Path, per_class: int, first: int = 0) -> None:
    """Make class folders of PNGs with sides that 32 does not divide; ``first`` makes other pictures."""
    for number in range(per_class * len(CLASSES)):
        label, i = divmod(number, per_class)
        (folder / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        pixels = picture(*SHAPES[(number + first) % len(SHAPES)], seed=number + first)
        Image.fromarray(pixels).save(folder / CLASSES[label] / f"{i}.png")


def make_boxes(root: Path) -> None:
    """Write boxes.csv for all pictures of all splits: one to three boxes of their class, and one of another class.

    They lie about where the nets of ``save_box_run`` predict boxes, so that some are found and some are not.
    """
    rng = np.random.default_rng(11)
    lines: list[tuple[object, ...]] = [("path", "label", "xmin", "ymin", "xmax", "ymax")]
    for path in sorted(root.rglob("*.png")):
        with Image.open(path) as image:
            sides = np.array(image.size)
        own, other = path.parent.name, CLASSES[CLASSES.index(path.parent.name) - 1]
        corners = [(x, y, 0.3) for x in (0.1, 0.65) for y in (0.1, 0.65)]
        places = rng.permutation([*corners, (0.3, 0.25, 0.4)])
        for name, (x, y, side) in zip((other, *[own] * rng.integers(1, 4)), places, strict=False):
            first = (sides * np.add((x, y), rng.uniform(-0.05, 0.05, 2))).astype(int)
            last = np.minimum(first + (sides.min() * rng.uniform(side, 1.3 * side, 2)).astype(int), sides - 1)
            lines.append((path.relative_to(root).as_posix(), name, *first, *last))
    with (root / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def narrow_config(
    net: PaperNet, data: Path, *, seed: int = 0, converged: bool | None = True, split_seed: int = 0, crop: int = CROP
) -> ModelConfig:
    """Return the config of a narrow net; ``converged`` is None before its training has ended."""
    train, val = (open_data_split(str(data), name, Division(split_seed)) for name in ("train", "val"))
    return ModelConfig(
        network=net.network,
        class_names=train.class_names,
        class_words=train.class_words,
        crop=crop,
        **WIDTHS,
        train_scale=str(net.scale),
        fine_tuned=net.fine_tuned,
        seed=seed,
        split=SplitRecord(
            data=str(train.root.resolve()),
            seed=split_seed,
            val_fraction=VAL_FRACTION,
            train=fingerprint(train),
            val=fingerprint(val),
            plateau=False,
        ),
        provenance=Provenance(converged=converged),
    )


def save_run(runs: Path, config: ModelConfig, name: str | None = None) -> Path:
    """Save a run with a net whose scores differ from image to image, and from those of other nets and seeds."""
    layers = "fc" if config.fine_tuned == "fc" else ""
    run = runs / (name or f"{config.network}-{config.train_scale}{layers}-s{config.seed}")
    save_model(random_net(config, f"{config.network}/{config.train_scale}{layers}"), config, run)
    return run


def save_box_run(
    runs: Path, net: PaperNet, data: Path, *, seed: int = 0, name: str | None = None, crop: int = CROP
) -> Path:
    """Save a run with a localization net, and its source net unless that exists.

    Its boxes lie about the middle of what it sees, and differ from position to position and class to class.
    """
    config = narrow_config(net.classifier, data, seed=seed, crop=crop)
    classifier = runs / f"{config.network}-{config.train_scale}-s{seed}"
    if not classifier.exists():
        save_run(runs, config)
    config = replace(config, regression=net.regression, fine_tuned=net.fine_tuned, constant_box=(0.5, 0.4, 0.6, 0.7))
    run = runs / (name or f"{str(net).replace('/', '-')}-s{seed}")
    model = random_net(config, str(net))
    with torch.no_grad():
        assert model.fc8.bias is not None
        model.fc8.weight *= 0.04
        model.fc8.bias *= 0.04
        model.fc8.bias += torch.tensor([0.5, 0.45, 0.7, 0.6]).repeat(config.num_outputs // 4)
    save_model(model, config, run)
    keep_classifier(run / "model", classifier / "model")
    return run


def random_net(config: ModelConfig, key: str) -> VGG:
    """Return a net whose outputs on the pictures have mean 0 and deviation 1; ``key`` and the seed make another one."""
    model = config.build().eval()
    draw_he_weights(model, config.seed + zlib.crc32(key.encode()))
    with torch.no_grad():
        scores = torch.cat([model.logits(sample_picture(seed)) for seed in range(10)])
        spread = scores.std(dim=0).clamp(min=1e-6)
        model.fc8.weight /= spread[:, None, None, None]
        assert model.fc8.bias is not None
        model.fc8.bias -= scores.mean(dim=0)
        model.fc8.bias /= spread
    return model


def save_model(model: VGG, config: ModelConfig, run: Path) -> None:
    """Save a net as the last of a run."""
    save_config(run / "model", config)
    save_weights(run / "model", model.state_dict())
    write_json(run / "run.json", {})


def sample_picture(seed: int) -> Tensor:
    """Return a picture at Q = 256: (1, 3, 37, W)."""
    image = Image.fromarray(picture(*SHAPES[seed % len(SHAPES)], seed=1000 + seed))
    scale = 37 / min(image.size)
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()
