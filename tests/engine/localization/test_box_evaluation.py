"""Both test protocols from files to errors, against plain loops over images, nets, scales, positions and classes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from tests.engine.localization.conftest import CPU, Home, run_in_two
from tests.engine.localization.reference import Members, guess_classes, measure_overlaps, merge_candidates
from tests.plain_boxes import best_overlap
from tests.thin_nets import save_box_run
from verydeep.configs.protocols import Classes, EvaluationProtocol, LocalizationView, PaperNet
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.engine.localization.box_ensemble import BoxEnsemble, build_box_ensemble
from verydeep.engine.localization.box_evaluation import LocalizationEvaluation, evaluate_boxes, tune_threshold
from verydeep.engine.localization.box_predictions import predict_boxes
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.merge_threshold import THRESHOLDS, TunedThreshold
from verydeep.engine.localization.merged_boxes import merge_boxes
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.errors import DataError

NUM_IMAGES = 12
ONE: Members = {"D-384pcr-s3": (352, 416)}
SHARED: Members = {"D-384scr-fc-s3": (384,)}
TWO: Members = {"D-256pcr-s3": (256,), "D-384pcr-s3": (352, 384)}
CLASS_PROTOCOL = "D/256-512/256,384 + E/256-512/384 : dense+crops"
CLASS_MEMBERS: Members = {"D-256-512-s3": (256, 384), "E-256-512-s3": (384,)}


def build_ensemble(
    home: Home, members: Members, classes: Classes | None = None, view: LocalizationView = "dense"
) -> BoxEnsemble:
    nets = [EnsembleMember(Net.open(home.runs / run), tuple(scales)) for run, scales in members.items()]
    return build_box_ensemble(nets, view, classes, Collection(home.runs))


def evaluate(
    home: Home, ensemble: BoxEnsemble, *merging: Any, boxed_split: BoxedSplit | None = None
) -> LocalizationEvaluation:
    evaluation = evaluate_boxes(ensemble, boxed_split or home.boxed_val, CPU, STRICT, *merging)
    assert evaluation is not None
    return evaluation


Case = tuple[Members, Classes | None, LocalizationView, float]
CASES: dict[str, Case] = {
    "one net": (ONE, None, "dense", 0.5),
    "a box for all classes": (SHARED, None, "dense", 0.8),
    "two nets, classes of others": (TWO, EvaluationProtocol.parse(CLASS_PROTOCOL), "dense", 0.5),
    "the true class": (ONE, "truth", "center", 0.5),
    "two nets, the true class": (TWO, "truth", "dense", 0.2),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_agree_with_plain_loops(name: str, home: Home) -> None:
    members, classes, view, threshold = CASES[name]
    evaluation = evaluate(home, build_ensemble(home, members, classes, view), threshold)
    class_members: Members = {}
    class_view = str(view)
    if classes is None:  # the source nets
        class_members = {f"D-{run.split('-')[1][:3]}-s3": scales for run, scales in members.items()}
    elif classes != "truth":
        class_members, class_view = dict(CLASS_MEMBERS), classes.view
    guesses = [guess_classes(home, i, class_members, class_view) if class_members else [] for i in range(NUM_IMAGES)]
    assert evaluation.candidate_classes.guesses.tolist() == guesses
    expected_rows: list[tuple[str, Members]] = []
    if len(members) == 1:
        ((run, scales),) = members.items()
        views = ["center"] if view == "center" else ["center", "dense"]
        expected_rows = [(row_view, {run: (scale,)}) for row_view in views for scale in scales]
        expected_rows += [(view, members)] if len(scales) > 1 else []
    else:
        expected_rows = [(view, {run: scales}) for run, scales in members.items()] + [(view, members)]
    assert evaluation.rows[0].view == "constant" and len(evaluation.rows) == 1 + len(expected_rows)
    counted = [i not in (1, 8) for i in range(NUM_IMAGES)]
    for row, (row_view, row_members) in zip(evaluation.rows[1:], expected_rows, strict=True):
        overlaps = np.array(
            [measure_overlaps(home, i, row_members, row_view, guesses[i], threshold) for i in range(NUM_IMAGES)]
        )
        np.testing.assert_allclose(row.errors.truth_overlaps, overlaps[:, 0], atol=1e-4)
        truth = row.errors.truth
        assert row.view == row_view and truth.num_images == 10
        assert truth.error.percent == pytest.approx(100 * np.mean(overlaps[counted, 0] < 0.5))
        assert truth.mean_iou.value == pytest.approx(np.mean(overlaps[counted, 0]), abs=1e-4)
        assert (row.errors.guesses is None) == (classes == "truth")
        if row.errors.guesses is not None:
            assert row.errors.guesses.error.percent == pytest.approx(100 * np.mean(overlaps[counted, 1] < 0.5))
    assert evaluation.thresholds == (threshold,) and evaluation.tuned_thresholds == () and evaluation.skipped == ()
    assert any(0 < row.errors.truth.error.percent < 100 for row in evaluation.rows)


def test_each_row_names_its_net_view_and_scales(home: Home) -> None:
    rows = evaluate(home, build_ensemble(home, ONE)).rows
    assert [(row.net, row.view, row.scales) for row in rows] == [
        ("", "constant", ()),
        ("D-384pcr-s3", "center", (352,)),
        ("D-384pcr-s3", "center", (416,)),
        ("D-384pcr-s3", "dense", (352,)),
        ("D-384pcr-s3", "dense", (416,)),
        ("D-384pcr-s3", "dense", (352, 416)),
    ]
    rows = evaluate(home, build_ensemble(home, TWO, "truth")).rows
    assert [(row.net, row.view, row.scales) for row in rows] == [
        ("", "constant", ()),
        ("D-256pcr-s3", "dense", (256,)),
        ("D-384pcr-s3", "dense", (352, 384)),
        ("2 nets", "dense", ()),
    ]


def test_each_row_has_the_crop_of_its_own_net(home: Home, tmp_path: Path) -> None:
    larger = save_box_run(tmp_path, PaperNet.parse("D/256pcr"), home.root / "data", crop=64)
    members = [EnsembleMember(Net.open(path), (256,)) for path in (home.runs / "D-256pcr-s3", larger)]
    rows = evaluate(home, BoxEnsemble(tuple(members), "dense", None)).rows
    assert [row.crop for row in rows] == [32, 32, 64, 32]


def test_the_constant_box_is_the_mean_box_on_each_image(home: Home) -> None:
    """(0.5, 0.4, 0.6, 0.7): from 0.2 to 0.8 of the width, from 0.05 to 0.75 of the height; the last pixels inside."""
    errors = evaluate(home, build_ensemble(home, ONE)).rows[0].errors
    assert home.boxed_val.split.boxes is not None
    for index, overlap in enumerate(errors.truth_overlaps.tolist()):
        with Image.open(home.val.path(index)) as image:
            width, height = image.size
        box = (0.2 * width, 0.05 * height, 0.8 * width - 1, 0.75 * height - 1)
        assert overlap == pytest.approx(best_overlap(box, home.boxed_val.split.boxes[index].tolist()))
        np.testing.assert_allclose(errors.boxes.xyxy[index], [box] * 6)


def test_a_net_that_does_not_know_the_mean_box_has_no_constant_row(home: Home) -> None:
    (member,) = build_ensemble(home, ONE).members
    net = replace(member.net, config=replace(member.net.config, constant_box=None))
    rows = evaluate(home, BoxEnsemble((replace(member, net=net),), "dense", None)).rows
    assert "constant" not in [row.view for row in rows]


def test_a_threshold_that_was_chosen_elsewhere_is_used_and_reported(home: Home) -> None:
    tuned = TunedThreshold(0.9, {0.9: 10.0})
    ensemble = build_ensemble(home, ONE)
    with_tuned, with_value, with_default = (evaluate(home, ensemble, *merging) for merging in ((tuned,), (0.9,), ()))
    assert with_tuned.tuned_thresholds == (tuned,) and with_tuned.thresholds == (0.9,)
    assert [row.errors.truth for row in with_tuned.rows] == [row.errors.truth for row in with_value.rows]
    assert with_value.tuned_thresholds == () and with_tuned.errors.truth != with_default.errors.truth


def test_by_halves_each_half_has_the_best_threshold_of_the_other(home: Home) -> None:
    """The ten counted images alternate; against the best threshold of each half alone."""
    ensemble = build_ensemble(home, TWO)
    evaluation = evaluate(home, ensemble, "by halves")
    assert len(evaluation.tuned_thresholds) == 2
    counted = np.array([i for i in range(NUM_IMAGES) if i not in (1, 8)])
    for half, other in ((counted[0::2], counted[1::2]), (counted[1::2], counted[0::2])):
        other_half = BoxedSplit(home.val, home.boxed_val.split.subset(other.tolist()), np.ones(len(other), np.bool_))
        tuned = tune_threshold(ensemble, other_half, CPU, STRICT)
        assert tuned in evaluation.tuned_thresholds
        assert tuned is not None and tuned.threshold in evaluation.thresholds
        for index in half.tolist():
            expected, _ = measure_overlaps(home, index, TWO, "dense", [], tuned.threshold)
            assert evaluation.errors.truth_overlaps[index] == pytest.approx(expected, abs=1e-4)


def test_a_threshold_is_chosen_by_the_protocols_own_error(home: Home) -> None:
    ensemble = build_ensemble(home, TWO)
    tuned = tune_threshold(ensemble, home.boxed_val, CPU, STRICT)
    assert tuned is not None and list(tuned.errors) == list(THRESHOLDS)
    for threshold in THRESHOLDS[::5]:
        guesses = evaluate(home, ensemble, threshold).errors.guesses
        assert guesses is not None and tuned.errors[threshold] == guesses.error.percent
    true_class = build_ensemble(home, TWO, "truth")
    tuned = tune_threshold(true_class, home.boxed_val, CPU, STRICT)
    assert tuned is not None
    assert tuned.errors[0.5] == evaluate(home, true_class, 0.5).errors.truth.error.percent


@pytest.fixture
def damaged(home: Home, tmp_path: Path) -> BoxedSplit:
    """The same split, two of whose files cannot be decoded."""
    root = tmp_path / "damaged" / "val"
    shutil.copytree(home.val.root, root)
    for index in (3, 8):
        (root / home.val.files[index]).write_bytes(b"no picture")
    split = replace(home.boxed_val.split, root=root)
    return BoxedSplit(replace(home.val, root=root), split, home.boxed_val.counted)


@pytest.mark.parametrize("classes", ["truth", None])
def test_files_that_cannot_be_decoded_are_left_out(
    classes: Literal["truth"] | None, home: Home, damaged: BoxedSplit
) -> None:
    ensemble = build_ensemble(home, TWO, classes)
    complete = evaluate(home, ensemble)
    with pytest.raises(DataError, match=home.val.files[3]):
        evaluate(home, ensemble, boxed_split=damaged)
    skipping = evaluate_boxes(ensemble, damaged, CPU, Decoding("skip"))
    assert skipping is not None
    assert list(skipping.skipped) == [home.val.files[3], home.val.files[8]]
    decoded = np.delete(np.arange(NUM_IMAGES), [3, 8])
    assert skipping.candidate_classes.indices.tolist() == decoded.tolist()
    assert [row.errors.truth.num_images for row in skipping.rows] == [9] * 4
    for some, every in zip(skipping.rows, complete.rows, strict=True):
        np.testing.assert_allclose(some.errors.truth_overlaps, every.errors.truth_overlaps[decoded], atol=1e-5)


@pytest.mark.parametrize("classes", ["truth", None])
def test_a_split_without_readable_files_is_refused(
    classes: Literal["truth"] | None, home: Home, damaged: BoxedSplit
) -> None:
    unreadable = BoxedSplit(damaged.full_split, damaged.split.subset([3, 8]), np.ones(2, np.bool_))
    with pytest.raises(DataError, match=r"Not one of the 2 images of .* can be used"):
        evaluate_boxes(build_ensemble(home, ONE, classes), unreadable, CPU, Decoding("skip"))


def test_boxes_of_images_without_labels(home: Home) -> None:
    ensemble = build_ensemble(home, TWO, EvaluationProtocol.parse(CLASS_PROTOCOL))
    predictions = predict_boxes([ensemble], replace(home.val, labels=None), CPU, STRICT, top=3)[ensemble]
    merged = merge_boxes(predictions.pool(), np.full(NUM_IMAGES, 0.7))
    assert predictions.candidate_classes.labels is None and merged.xyxy.shape == (NUM_IMAGES, 3, 4)
    for index in range(0, NUM_IMAGES, 3):
        guesses = guess_classes(home, index, CLASS_MEMBERS, "dense+crops")[:3]
        assert predictions.candidate_classes.guesses[index].tolist() == guesses
        for place, label in enumerate(guesses):
            box, rating = merge_candidates(home, index, TWO, "dense", label, 0.7)
            np.testing.assert_allclose(merged.xyxy[index, place], box, atol=2e-3)
            assert merged.ratings[index, place] == pytest.approx(rating, abs=1e-5)


def test_two_processes_share_the_images(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They find what one finds; the second returns nothing."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path))
    alone = evaluate(home, build_ensemble(home, TWO))
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "other"))
    first, second = run_in_two(
        lambda runtime: evaluate_boxes(build_ensemble(home, TWO), home.boxed_val, runtime, STRICT)
    )
    assert second is None and first is not None
    for row, expected in zip(first.rows, alone.rows, strict=True):
        assert (row.view, row.errors.truth.error) == (expected.view, expected.errors.truth.error)
    np.testing.assert_allclose(first.errors.boxes.xyxy, alone.errors.boxes.xyxy, atol=1e-3)
