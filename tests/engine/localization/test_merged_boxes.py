"""Pooling and merging of candidate boxes, against the plain algorithm."""

import numpy as np

from tests.engine.localization.conftest import Home
from tests.ops.test_merging import merge_plainly, predictions
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_predictions import BoxPredictions
from verydeep.engine.localization.candidate_boxes import CandidateBoxes, pool_boxes
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merged_boxes import merge_at_thresholds, merge_boxes
from verydeep.engine.nets.net import EnsembleMember
from verydeep.ops.arrays import Float32Array


def draw_candidates(rng: np.random.Generator, classes: int, positions: int) -> CandidateBoxes:
    xyxy = np.stack([predictions(rng, positions) for _ in range(classes)])
    return CandidateBoxes(xyxy.astype(np.float32), rng.random((classes, positions)).astype(np.float32))


def test_boxes_are_pooled_class_by_class_over_scales_and_nets(home: Home) -> None:
    """By default over the scales of each net."""
    rng = np.random.default_rng(4)
    nets = [home.net("D/384pcr"), home.net("D/256pcr")]
    candidates = {
        (net, scale, index): draw_candidates(rng, 3, 2 + scale // 100 + net + index)
        for net in (0, 1)
        for scale in (256, 384)
        for index in (0, 1, 2)
    }
    boxes = {
        nets[net]: {
            ViewAtScale("dense", scale): {index: candidates[net, scale, index] for index in (0, 1, 2)}
            for scale in (256, 384)
        }
        for net in (0, 1)
    }
    indices = np.array([0, 2])
    classes = CandidateClasses(indices, np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32), None)
    ensemble = BoxEnsemble((EnsembleMember(nets[0], (256, 384)), EnsembleMember(nets[1], (384,))), "dense", None)
    predicted = BoxPredictions(ensemble, classes, boxes)
    at_256 = [EnsembleMember(net, (256,)) for net in nets]
    for members, order in ((None, [(0, 256), (0, 384), (1, 384)]), (at_256, [(0, 256), (1, 256)])):
        for index, pooled in zip(indices.tolist(), predicted.pool(members), strict=True):
            parts = [candidates[net, scale, index] for net, scale in order]
            for label in range(3):
                assert pooled.xyxy[label].tolist() == [row for part in parts for row in part.xyxy[label].tolist()]
                scores = [score for part in parts for score in part.scores[label].tolist()]
                assert pooled.scores[label].tolist() == scores
            assert pool_boxes(parts).xyxy.tolist() == pooled.xyxy.tolist()


def merge_one(xyxy: Float32Array, scores: Float32Array, threshold: float) -> list[float]:
    """Return the merged box of the highest score, and the score."""
    rows = [tuple(row) for row in xyxy.astype(np.float64).tolist()]
    merged, sums, _ = merge_plainly(rows, scores.astype(np.float64).tolist(), threshold)
    best = int(np.argmax(sums))
    return [*merged[best], sums[best]]


def test_merged_boxes_are_those_of_each_threshold_alone() -> None:
    """Images have different numbers of boxes and come in batches; each is merged as by the plain algorithm."""
    rng, thresholds = np.random.default_rng(6), (0.0, 0.3, 0.5, 0.9, 1.4)
    images = [draw_candidates(rng, 3, count) for count in (9, 1, 14, 9, 20)]
    together = merge_at_thresholds(images, thresholds, batch_size=2)
    assert len(together) == len(thresholds)
    for threshold, merged in zip(thresholds, together, strict=True):
        (alone,) = merge_at_thresholds(images, [threshold])
        np.testing.assert_array_equal(merged.xyxy, alone.xyxy)
        np.testing.assert_array_equal(merged.ratings, alone.ratings)
        expected = [[merge_one(*pair, threshold) for pair in zip(i.xyxy, i.scores, strict=True)] for i in images]
        np.testing.assert_allclose(merged.xyxy, np.array(expected)[:, :, :4], rtol=1e-12)
        np.testing.assert_allclose(merged.ratings, np.array(expected)[:, :, 4], rtol=1e-12)
        assert merged.thresholds.tolist() == [threshold] * 5
    assert len({merged.ratings[0, 0] for merged in together}) > 2


def test_images_are_merged_each_with_its_own_threshold() -> None:
    rng = np.random.default_rng(5)
    images = [draw_candidates(rng, 3, 12) for _ in range(7)]
    thresholds = np.array([0.5, 0.0, 1.2, 0.5, 0.3, 1.2, 0.0])
    merged = merge_boxes(images, thresholds)
    for row, (image, threshold) in enumerate(zip(images, thresholds.tolist(), strict=True)):
        (alone,) = merge_at_thresholds([image], [threshold])
        assert merged.xyxy[row].tolist() == alone.xyxy[0].tolist()
        assert merged.ratings[row].tolist() == alone.ratings[0].tolist()
    assert merged.thresholds.tolist() == thresholds.tolist()
