"""Boxes of positions against crops that are cut and seen alone; pooling and merging against the plain algorithm."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from tests.ops.test_merging import merge_plainly, predictions
from tests.plain_boxes import Photograph
from verydeep.configs.protocols import Regression
from verydeep.data.decoding import STRICT
from verydeep.data.split import Split
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.localization import candidates as module
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Candidates, boxes_of_class, merge_images, pooled
from verydeep.engine.localization.predictions import BoxPredictions, pool, predict_boxes
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig, save_config, save_weights
from verydeep.ops.arrays import Float32Array, Float64Array

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
def drawn(config: ModelConfig, seed: int, *, alone: bool) -> VGG:
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
    """By what they regress to, and whether crops are alone."""
    root, found = tmp_path_factory.mktemp("nets"), {}
    for regression in REGRESSIONS:
        for alone in (True, False):
            run = root / f"{regression}-{alone}"
            for folder, task in ((run / "model", regression), (run / "model" / "classifier", None)):
                config = ModelConfig("A", NAMES, NAMES, CROP, 1 / 16, 16, (131.0, 96.0, 57.0), regression=task)
                save_config(folder, config)
                model = drawn(config, 3 * alone + (5 if task is None else 7), alone=alone)
                save_weights(folder, model.state_dict())
            found[regression, alone] = Net.open(run)
    return found


@pytest.fixture
def candidate_classes() -> CandidateClasses:
    return CandidateClasses(np.arange(len(SHAPES)), GUESSES, np.zeros(GUESSES.shape, np.float32), LABELS)


@torch.inference_mode()
def seen_alone(
    net: Net, photograph: Photograph, corners: Sequence[tuple[int, int]], labels: Sequence[int]
) -> Float64Array:
    """(crops, labels, 5): box and posterior of each class, from the crops whose first pixels (left, top) these are.

    They are cut out and shown to both nets.
    """
    cuts = torch.stack([photograph.pixels[:, top : top + CROP, left : left + CROP] for left, top in corners])
    numbers, scores = (each.load()(cuts).flatten(1).double() for each in (net, net.classifier))
    posteriors, shared = scores.softmax(dim=1), net.config.regression == "single-class"
    found = []
    for (left, top), outputs, shares in zip(corners, numbers.tolist(), posteriors.tolist(), strict=True):
        firsts = [0 if shared else 4 * label for label in labels]
        boxes = [photograph.in_file(left, top, CROP, outputs[first : first + 4]) for first in firsts]
        found.append([(*box, shares[label]) for box, label in zip(boxes, labels, strict=True)])
    return np.array(found)


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_a_dense_box_is_that_of_the_crop_at_its_window(
    regression: Regression, nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    """And rated by the posterior of that crop alone. Of windows that lie inside; the others have no crop."""
    net, scales = nets[regression, True], (256, 384, 512)
    predicted = predict_boxes(net, [ViewAtScale("dense", q) for q in scales], candidate_classes, split, CPU, STRICT)
    assert predicted is not None
    places, ratings, clipped = set(), [], 0
    for scale in scales:
        for index in range(len(split)):
            found = predicted[ViewAtScale("dense", scale)][index]
            photograph = Photograph.open(split.path(index), scale, CROP)
            rows, columns = (-(-side // 32) - 1 for side in photograph.pixels.shape[1:])
            labels = [int(LABELS[index]), *GUESSES[index].tolist()]
            assert found.boxes.shape == (3, rows * columns, 4) and found.scores.shape == (3, rows * columns)
            boxes, scores = (each.reshape(3, rows, columns, -1) for each in (found.boxes, found.scores))
            height, width = photograph.pixels.shape[1:]
            inside = [(i, j) for i in range((height - CROP) // 32 + 1) for j in range((width - CROP) // 32 + 1)]
            alone = seen_alone(net, photograph, [(32 * j, 32 * i) for i, j in inside], labels)
            for (row, column), expected in zip(inside, alone, strict=True):
                np.testing.assert_allclose(boxes[:, row, column], expected[:, :4], atol=2e-3)
                np.testing.assert_allclose(scores[:, row, column, 0], expected[:, 4], atol=1e-5)
                clipped += int((expected[:, :2] == 0).any())
            places.update(inside)
            ratings += alone[:, 0, 4].tolist()
    assert {(0, 3), (3, 0), (1, 2), (2, 1)} <= places
    assert len(places) > 8 and 0 < clipped < len(ratings) / 2 and np.std(ratings) > 0.1


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_the_central_crops_box_is_that_of_the_crop_alone(
    regression: Regression, nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    """Whether the net is given whole images, as beside a dense view, or the crops."""
    net, views = nets[regression, False], [ViewAtScale("center", 256), ViewAtScale("center", 512)]
    predicted = predict_boxes(net, views, candidate_classes, split, CPU, STRICT)
    extra_views = predict_boxes(net, [*views, ViewAtScale("dense", 512)], candidate_classes, split, CPU, STRICT)
    assert predicted is not None and extra_views is not None
    for view in views:
        for index in range(len(split)):
            photograph = Photograph.open(split.path(index), view.scale, CROP)
            top, left = ((side - CROP) // 2 for side in photograph.pixels.shape[1:])
            labels = [int(LABELS[index]), *GUESSES[index].tolist()]
            (expected,) = seen_alone(net, photograph, [(left, top)], labels)
            for found in (predicted[view][index], extra_views[view][index]):
                assert found.boxes.shape == (3, 1, 4) and found.scores.shape == (3, 1)
                np.testing.assert_allclose(found.boxes[:, 0], expected[:, :4], atol=2e-3)
                np.testing.assert_allclose(found.scores[:, 0], expected[:, 4], atol=1e-5)


def test_boxes_that_nothing_is_chosen_from_are_not_rated(
    nets: dict[tuple[Regression, bool], Net],
    split: Split,
    candidate_classes: CandidateClasses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The classification net is not even loaded; the boxes are the same."""
    net, views = nets["per-class", False], [ViewAtScale("center", 256)]
    rated = predict_boxes(net, views, candidate_classes, split, CPU, STRICT)
    monkeypatch.setattr(Net, "classifier", property(lambda _: pytest.fail("the classification net was asked")))
    unrated = predict_boxes(net, views, candidate_classes, split, CPU, STRICT, rated=False)
    assert rated is not None and unrated is not None
    for index in range(len(split)):
        np.testing.assert_array_equal(unrated[views[0]][index].boxes, rated[views[0]][index].boxes)
        assert (unrated[views[0]][index].scores == 1).all()


def test_of_a_box_for_each_class_the_classs_own_numbers_count() -> None:
    outputs = torch.arange(2 * 12 * 2 * 3).reshape(2, 12, 2, 3)
    labels = torch.tensor([[2, 0], [1, 1]])
    chosen = boxes_of_class(outputs, labels, "per-class")
    assert chosen.shape == (2, 2, 4, 2, 3)
    for image, which in np.ndindex(2, 2):
        first = 4 * int(labels[image, which])
        assert torch.equal(chosen[image, which], outputs[image, first : first + 4])
    shared = boxes_of_class(outputs[:, :4], labels, "single-class")
    assert shared.shape == chosen.shape and all(torch.equal(shared[:, g], outputs[:, :4]) for g in (0, 1))


def test_bf16_moves_boxes_by_a_few_pixels(
    nets: dict[tuple[Regression, bool], Net], split: Split, candidate_classes: CandidateClasses
) -> None:
    net, views = nets["per-class", False], [ViewAtScale("dense", 256)]
    exact = predict_boxes(net, views, candidate_classes, split, CPU, STRICT)
    rough = predict_boxes(net, views, candidate_classes, split, Runtime(torch.device("cpu"), bf16=True), STRICT)
    assert exact is not None and rough is not None
    far = [np.abs(exact[views[0]][i].boxes - rough[views[0]][i].boxes).max() for i in range(len(split))]
    assert 0 < max(far) < 4


def some(rng: np.random.Generator, classes: int, positions: int) -> Candidates:
    boxes = np.stack([predictions(rng, positions) for _ in range(classes)])
    return Candidates(boxes.astype(np.float32), rng.random((classes, positions)).astype(np.float32))


def test_boxes_are_pooled_class_by_class_over_scales_and_nets() -> None:
    """At the scales of each net, or at those alone that are asked for."""
    rng = np.random.default_rng(4)
    said = {(net, q, i): some(rng, 3, 2 + q // 100 + net + i) for net in (0, 1) for q in (256, 384) for i in (0, 1, 2)}
    indices = np.array([0, 2])
    candidate_classes = CandidateClasses(indices, np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32), None)

    def predicted(net: int, scales: tuple[int, ...]) -> BoxPredictions:
        views = {ViewAtScale("dense", q): {i: said[net, q, i] for i in (0, 1, 2)} for q in (256, 384)}
        return BoxPredictions(Net.__new__(Net), scales, views)

    both = [predicted(0, (256, 384)), predicted(1, (384,))]
    for scales, order in ((None, [(0, 256), (0, 384), (1, 384)]), ((256,), [(0, 256), (1, 256)])):
        for index, found in zip(indices.tolist(), pool(both, "dense", candidate_classes, scales), strict=True):
            parts = [said[net, q, index] for net, q in order]
            for label in range(3):
                rows = [row for part in parts for row in part.boxes[label].tolist()]
                assert found.boxes[label].tolist() == rows
                assert found.scores[label].tolist() == [s for part in parts for s in part.scores[label].tolist()]
            assert pooled(parts).boxes.tolist() == found.boxes.tolist()


def plain(boxes: Float32Array, scores: Float32Array, threshold: float) -> list[float]:
    """The merged box of the highest score, and the score."""
    rows = [tuple(row) for row in boxes.astype(np.float64).tolist()]
    merged, sums, _ = merge_plainly(rows, scores.astype(np.float64).tolist(), threshold)
    best = int(np.argmax(sums))
    return [*merged[best], sums[best]]


def test_merged_boxes_are_those_of_each_threshold_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images with different numbers of boxes, in portions; and each as the plain algorithm has it."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    rng, thresholds = np.random.default_rng(6), (0.0, 0.3, 0.5, 0.9, 1.4)
    images = [some(rng, 3, count) for count in (9, 1, 14, 9, 20)]
    together = merge_images(images, thresholds)
    assert len(together) == len(thresholds)
    for threshold, found in zip(thresholds, together, strict=True):
        (alone,) = merge_images(images, [threshold])
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)
        expected = [[plain(*pair, threshold) for pair in zip(i.boxes, i.scores, strict=True)] for i in images]
        np.testing.assert_allclose(found.boxes, np.array(expected)[:, :, :4], rtol=1e-12)
        np.testing.assert_allclose(found.scores, np.array(expected)[:, :, 4], rtol=1e-12)
    assert len({found.scores[0, 0] for found in together}) > 2
