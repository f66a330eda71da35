"""Boxes of positions, against crops that are cut out and shown to the nets alone."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from tests.plain_boxes import Photograph
from verydeep.configs.protocols import Regression
from verydeep.data.pixels.decoding import STRICT
from verydeep.data.split import Split
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.localization.box_predictions import NetBoxes, predict_net_boxes
from verydeep.engine.localization.candidate_boxes import select_class_outputs
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights
from verydeep.ops.arrays import Float64Array

CPU = Runtime(torch.device("cpu"), bf16=False)
CROP, NAMES = 64, ("ant", "bell", "crab")
SHAPES = ((90, 131), (150, 101), (97, 97), (131, 90), (75, 171))
"""(height, width)"""
GUESSES = np.array([[0, 1], [2, 1], [1, 0], [2, 0], [0, 2]])
LABELS = np.array([2, 0, 1, 1, 2])
REGRESSIONS: tuple[Regression, ...] = ("per-class", "single-class")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = tmp_path_factory.mktemp("pictures")
    for number, shape in enumerate(SHAPES):
        Image.fromarray(picture(*shape, seed=number)).save(root / f"{number}.png")
    files = tuple(f"{number}.png" for number in range(len(SHAPES)))
    return Split("val", root, files, LABELS, NAMES, NAMES, "pictures", camera_rotation=True)


@torch.no_grad()
def draw_net(config: ModelConfig, seed: int, *, alone: bool) -> VGG:
    """A net each of whose layers has outputs of deviation 1.

    ``alone``: its convolutions look at one pixel each, so that what lies beside a crop does not matter to it, nor does
    the border that padding makes of a crop's end.
    """
    model = config.build().eval()
    draw_he_weights(model, seed)
    images = torch.stack([torch.from_numpy(picture(64, 64, seed=i)).permute(2, 0, 1).float() for i in range(12)])
    for layer in model.weight_layers().values():
        if alone and layer.padding != (0, 0):
            middle = layer.weight[:, :, 1:2, 1:2].clone()
            layer.weight.zero_()
            layer.weight[:, :, 1:2, 1:2] = middle
        seen: list[Tensor] = []
        handle = layer.register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output))
        model(images)
        handle.remove()
        assert layer.bias is not None
        layer.weight /= seen[0].std()
        layer.bias -= seen[0].mean(dim=(0, 2, 3)) / seen[0].std()
    if config.regression is not None:
        assert model.fc8.bias is not None
        model.fc8.weight *= 0.1
        model.fc8.bias *= 0.1
        model.fc8.bias += torch.tensor([0.55, 0.4, 0.8, 0.5]).repeat(config.num_outputs // 4)
    return model


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Regression, bool], Net]:
    """By regression, and whether crops are alone."""
    root, by_regression = tmp_path_factory.mktemp("nets"), {}
    for regression in REGRESSIONS:
        for alone in (True, False):
            run = root / f"{regression}-{alone}"
            for folder, task in ((run / "model", regression), (run / "model" / "classifier", None)):
                config = ModelConfig("A", NAMES, NAMES, CROP, 1 / 16, 16, (131.0, 96.0, 57.0), regression=task)
                save_config(folder, config)
                model = draw_net(config, 3 * alone + (5 if task is None else 7), alone=alone)
                save_weights(folder, model.state_dict())
            by_regression[regression, alone] = Net.open(run)
    return by_regression


@pytest.fixture
def candidate_classes() -> CandidateClasses:
    return CandidateClasses(np.arange(len(SHAPES)), GUESSES, np.zeros(GUESSES.shape, np.float32), LABELS)


@torch.inference_mode()
def show_crops(
    net: Net, photograph: Photograph, corners: Sequence[tuple[int, int]], labels: Sequence[int]
) -> Float64Array:
    """(crops, labels, 5): box and posterior of each class, from the crops whose first pixels (left, top) these are.

    They are cut out and shown to both nets.
    """
    cuts = torch.stack([photograph.pixels[:, top : top + CROP, left : left + CROP] for left, top in corners])
    numbers, scores = (each.load()(cuts).flatten(1).double() for each in (net, net.classifier))
    posteriors, shared = scores.softmax(dim=1), net.config.regression == "single-class"
    rated_boxes = []
    for (left, top), outputs, shares in zip(corners, numbers.tolist(), posteriors.tolist(), strict=True):
        firsts = [0 if shared else 4 * label for label in labels]
        boxes = [photograph.in_file(left, top, CROP, outputs[first : first + 4]) for first in firsts]
        rated_boxes.append([(*box, shares[label]) for box, label in zip(boxes, labels, strict=True)])
    return np.array(rated_boxes)


def predict(
    net: Net,
    views: Sequence[ViewAtScale],
    candidate_classes: CandidateClasses,
    split: Split,
    runtime: Runtime = CPU,
    *,
    rate: bool = True,
) -> NetBoxes:
    steps = predict_net_boxes(net, views, candidate_classes, split, runtime, STRICT, rate=rate)
    return run_with_progress(steps, "Boxes", len(split))


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_a_dense_box_is_that_of_the_crop_at_its_window(
    regression: Regression, nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    """The posterior of that crop alone rates it. Only windows inside the image have a crop."""
    net, scales = nets[regression, True], (256, 384, 512)
    predicted = predict(net, [ViewAtScale("dense", q) for q in scales], candidate_classes, split)
    places, ratings, clipped = set(), [], 0
    for scale in scales:
        for index in range(len(split)):
            candidates = predicted[ViewAtScale("dense", scale)][index]
            photograph = Photograph.open(split.path(index), scale, CROP)
            rows, columns = (-(-side // 32) - 1 for side in photograph.pixels.shape[1:])
            labels = [int(LABELS[index]), *GUESSES[index].tolist()]
            assert candidates.xyxy.shape == (3, rows * columns, 4) and candidates.scores.shape == (3, rows * columns)
            boxes, scores = (array.reshape(3, rows, columns, -1) for array in (candidates.xyxy, candidates.scores))
            height, width = photograph.pixels.shape[1:]
            inside = [(i, j) for i in range((height - CROP) // 32 + 1) for j in range((width - CROP) // 32 + 1)]
            crops = show_crops(net, photograph, [(32 * j, 32 * i) for i, j in inside], labels)
            for (row, column), expected in zip(inside, crops, strict=True):
                np.testing.assert_allclose(boxes[:, row, column], expected[:, :4], atol=2e-3)
                np.testing.assert_allclose(scores[:, row, column, 0], expected[:, 4], atol=1e-5)
                clipped += int((expected[:, :2] == 0).any())
            places.update(inside)
            ratings += crops[:, 0, 4].tolist()
    assert {(0, 3), (3, 0), (1, 2), (2, 1)} <= places
    assert len(places) > 8 and 0 < clipped < len(ratings) / 2 and np.std(ratings) > 0.1


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_the_central_crops_box_is_that_of_the_crop_alone(
    regression: Regression, nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    """Whether the net is given whole images, as together with a dense view, or crops."""
    net, views = nets[regression, False], [ViewAtScale("center", 256), ViewAtScale("center", 512)]
    from_crops = predict(net, views, candidate_classes, split)
    from_whole_images = predict(net, [*views, ViewAtScale("dense", 512)], candidate_classes, split)
    for view in views:
        for index in range(len(split)):
            photograph = Photograph.open(split.path(index), view.scale, CROP)
            top, left = ((side - CROP) // 2 for side in photograph.pixels.shape[1:])
            labels = [int(LABELS[index]), *GUESSES[index].tolist()]
            (expected,) = show_crops(net, photograph, [(left, top)], labels)
            for candidates in (from_crops[view][index], from_whole_images[view][index]):
                assert candidates.xyxy.shape == (3, 1, 4) and candidates.scores.shape == (3, 1)
                np.testing.assert_allclose(candidates.xyxy[:, 0], expected[:, :4], atol=2e-3)
                np.testing.assert_allclose(candidates.scores[:, 0], expected[:, 4], atol=1e-5)


def test_boxes_without_a_choice_are_not_rated(
    nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses, tmp_path: Path
) -> None:
    """The source net, which is missing here, is not even loaded; the boxes are the same."""
    net, views = nets["per-class", False], [ViewAtScale("center", 256)]
    shutil.copytree(net.path, tmp_path / "run", ignore=shutil.ignore_patterns("classifier"))
    unrated_net = Net.open(tmp_path / "run")
    with pytest.raises(VerydeepError, match="classifier"):
        predict(unrated_net, views, candidate_classes, split)
    rated = predict(net, views, candidate_classes, split)
    unrated = predict(unrated_net, views, candidate_classes, split, rate=False)
    for index in range(len(split)):
        np.testing.assert_array_equal(unrated[views[0]][index].xyxy, rated[views[0]][index].xyxy)
        assert (unrated[views[0]][index].scores == 1).all()


def test_per_class_regression_uses_the_numbers_of_the_class() -> None:
    outputs = torch.arange(2 * 12 * 2 * 3).reshape(2, 12, 2, 3)
    labels = torch.tensor([[2, 0], [1, 1]])
    chosen = select_class_outputs(outputs, labels, "per-class")
    assert chosen.shape == (2, 2, 4, 2, 3)
    for image, which in np.ndindex(2, 2):
        first = 4 * int(labels[image, which])
        assert torch.equal(chosen[image, which], outputs[image, first : first + 4])
    shared = select_class_outputs(outputs[:, :4], labels, "single-class")
    assert shared.shape == chosen.shape and all(torch.equal(shared[:, g], outputs[:, :4]) for g in (0, 1))


def test_bf16_moves_boxes_by_a_few_pixels(
    nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    net, views = nets["per-class", False], [ViewAtScale("dense", 256)]
    fp32 = predict(net, views, candidate_classes, split)[views[0]]
    bf16 = predict(net, views, candidate_classes, split, Runtime(torch.device("cpu"), bf16=True))[views[0]]
    differences = [np.abs(fp32[index].xyxy - bf16[index].xyxy).max() for index in range(len(split))]
    assert 0 < max(differences) < 4
