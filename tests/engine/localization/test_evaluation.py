"""Both test protocols from files to errors, against plain loops over images, nets, scales, positions and classes."""

import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from tests import thin_nets
from tests.engine.localization.conftest import CPU, Home
from tests.engine.localization.plainly import Members, five_guesses, merged_box, overlaps
from tests.plain_boxes import best_overlap
from verydeep.configs.protocols import Classes, EvaluationProtocol, LocalizationView, PaperNet
from verydeep.data.decoding import STRICT, Decoding
from verydeep.engine.localization.box_ensemble import BoxEnsemble, box_ensemble
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.evaluation import (
    LocalizationEvaluation,
    choose_threshold,
    evaluate_boxes,
    guess_boxes,
)
from verydeep.engine.localization.threshold import THRESHOLDS, TunedThreshold
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError

NUM_IMAGES = 12
ONE: Members = {"D-384pcr-s3": (352, 416)}
SHARED: Members = {"D-384scr-fc-s3": (384,)}
TWO: Members = {"D-256pcr-s3": (256,), "D-384pcr-s3": (352, 384)}
BEST = "D/256-512/256,384 + E/256-512/384 : dense+crops"
NAMERS: Members = {"D-256-512-s3": (256, 384), "E-256-512-s3": (384,)}


def ensemble(
    home: Home, members: Members, classes: Classes | None = None, view: LocalizationView = "dense"
) -> BoxEnsemble:
    nets = [EnsembleMember(Net.open(home.runs / run), tuple(scales)) for run, scales in members.items()]
    return box_ensemble(nets, view, classes, Collection(home.runs))


def evaluated(home: Home, wanted: BoxEnsemble, *merging: Any, part: BoxedSplit | None = None) -> LocalizationEvaluation:
    found = evaluate_boxes(wanted, part or home.part, CPU, STRICT, *merging)
    assert found is not None
    return found


Case = tuple[Members, Classes | None, LocalizationView, float]
CASES: dict[str, Case] = {
    "one net": (ONE, None, "dense", 0.5),
    "a box for all classes": (SHARED, None, "dense", 0.8),
    "two nets, others name the classes": (TWO, EvaluationProtocol.parse(BEST), "dense", 0.5),
    "the truth": (ONE, "truth", "center", 0.5),
    "two nets, the truth": (TWO, "truth", "dense", 0.2),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_are_what_plain_loops_give(name: str, home: Home) -> None:
    members, classes, view, threshold = CASES[name]
    found = evaluated(home, ensemble(home, members, classes, view), threshold)
    if classes is None:  # the nets that these started from
        namers, namers_view = {f"D-{run.split('-')[1][:3]}-s3": scales for run, scales in members.items()}, str(view)
    else:
        namers, namers_view = ({}, "") if classes == "truth" else (dict(NAMERS), classes.view)
    guesses = [five_guesses(home, i, namers, namers_view) if namers else [] for i in range(NUM_IMAGES)]
    assert found.candidate_classes.guesses.tolist() == guesses
    looks: list[tuple[str, Members]] = []
    if len(members) == 1:
        ((run, scales),) = members.items()
        kinds = ["center"] if view == "center" else ["center", "dense"]
        looks = [(kind, {run: (q,)}) for kind in kinds for q in scales]
        looks += [(view, members)] if len(scales) > 1 else []
    else:
        looks = [(view, {run: scales}) for run, scales in members.items()] + [(view, members)]
    assert found.rows[0].view == "constant" and len(found.rows) == 1 + len(looks)
    counted = [i not in (1, 8) for i in range(NUM_IMAGES)]
    for row, box_errors, (look, some) in zip(found.rows[1:], found.box_errors_of_rows[1:], looks, strict=True):
        both = [overlaps(home, i, some, look, guesses[i], threshold) for i in range(NUM_IMAGES)]
        np.testing.assert_allclose(box_errors.truth_overlaps, [pair[0] for pair in both], atol=1e-4)
        kept = np.array(both)[counted]
        assert row.view == look and row.truth.num_images == 10
        assert row.truth.error.percent == pytest.approx(100 * np.mean(kept[:, 0] < 0.5))
        assert row.truth.mean_iou.value == pytest.approx(np.mean(kept[:, 0]), abs=1e-4)
        assert (row.guesses is None) == (classes == "truth")
        if row.guesses is not None:
            assert row.guesses.error.percent == pytest.approx(100 * np.mean(kept[:, 1] < 0.5))
    assert found.thresholds == (threshold,) and found.tuned_thresholds == () and found.skipped == ()
    assert any(0 < row.truth.error.percent < 100 for row in found.rows)


def test_each_row_says_what_it_is_of(home: Home) -> None:
    rows = evaluated(home, ensemble(home, ONE)).rows
    assert [(row.net, row.view, row.scales) for row in rows] == [
        ("", "constant", ()),
        ("D/384pcr", "center", (352,)),
        ("D/384pcr", "center", (416,)),
        ("D/384pcr", "dense", (352,)),
        ("D/384pcr", "dense", (416,)),
        ("D/384pcr", "dense", (352, 416)),
    ]
    rows = evaluated(home, ensemble(home, TWO, "truth")).rows
    assert [(row.net, row.view, row.scales) for row in rows] == [
        ("", "constant", ()),
        ("D/256pcr", "dense", (256,)),
        ("D/384pcr", "dense", (352, 384)),
        ("2 nets", "dense", ()),
    ]


def test_each_row_counts_pixels_beside_its_own_nets_crop(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(thin_nets, "CROP", 64)
        larger = thin_nets.leave_box_run(tmp_path, PaperNet.parse("D/256pcr"), home.root / "data")
    nets = [EnsembleMember(Net.open(path), (256,)) for path in (home.runs / "D-256pcr-s3", larger)]
    rows = evaluated(home, BoxEnsemble(tuple(nets), "dense", None)).rows
    assert [row.crop for row in rows] == [32, 32, 64, 32]


def test_the_constant_box_is_the_mean_box_on_each_image(home: Home) -> None:
    """(0.5, 0.4, 0.6, 0.7): from 0.2 to 0.8 of the width, from 0.05 to 0.75 of the height; the last pixels inside."""
    found = evaluated(home, ensemble(home, ONE))
    assert home.part.split.boxes is not None
    for index, overlap in enumerate(found.box_errors_of_rows[0].truth_overlaps.tolist()):
        with Image.open(home.val.path(index)) as image:
            width, height = image.size
        box = (0.2 * width, 0.05 * height, 0.8 * width - 1, 0.75 * height - 1)
        assert overlap == pytest.approx(best_overlap(box, home.part.split.boxes[index].tolist()))
        np.testing.assert_allclose(found.box_errors_of_rows[0].merged.boxes[index], [box] * 6)


def test_a_net_that_does_not_know_the_mean_box_has_no_constant_row(home: Home) -> None:
    (member,) = ensemble(home, ONE).members
    net = replace(member.net, config=replace(member.net.config, constant_box=None))
    rows = evaluated(home, BoxEnsemble((replace(member, net=net),), "dense", None)).rows
    assert "constant" not in [row.view for row in rows]


def test_a_threshold_that_was_chosen_elsewhere_is_used_and_told(home: Home) -> None:
    tuned_thresholds = TunedThreshold(0.9, {0.9: 10.0})
    found, same = evaluated(home, ensemble(home, ONE), tuned_thresholds), evaluated(home, ensemble(home, ONE), 0.9)
    assert found.tuned_thresholds == (tuned_thresholds,) and found.thresholds == (0.9,)
    assert [row.truth for row in found.rows] == [row.truth for row in same.rows]
    assert same.tuned_thresholds == () and found.rows[-1].truth != evaluated(home, ensemble(home, ONE)).rows[-1].truth


def test_by_halves_each_half_has_what_is_best_on_the_other(home: Home) -> None:
    """Of the ten images that count every second one; against the whole part's best of the same images alone."""
    wanted = ensemble(home, TWO)
    found = evaluated(home, wanted, "by halves")
    assert len(found.tuned_thresholds) == 2
    counted = np.array([i for i in range(NUM_IMAGES) if i not in (1, 8)])
    for half, other in ((counted[0::2], counted[1::2]), (counted[1::2], counted[0::2])):
        part = BoxedSplit(home.val, home.part.split.subset(other.tolist()), np.zeros(len(other), np.bool_))
        tuned_thresholds = choose_threshold(wanted, part, CPU, STRICT)
        assert (
            tuned_thresholds is not None
            and tuned_thresholds in found.tuned_thresholds
            and tuned_thresholds.threshold in found.thresholds
        )
        for index in half.tolist():
            expected, _ = overlaps(home, index, TWO, "dense", [], tuned_thresholds.threshold)
            assert found.box_errors_of_rows[-1].truth_overlaps[index] == pytest.approx(expected, abs=1e-4)


def test_a_threshold_is_chosen_by_the_protocols_own_error(home: Home) -> None:
    tuned_thresholds = choose_threshold(ensemble(home, TWO), home.part, CPU, STRICT)
    assert tuned_thresholds is not None and list(tuned_thresholds.errors) == list(THRESHOLDS)
    for threshold in THRESHOLDS[::5]:
        last = evaluated(home, ensemble(home, TWO), threshold).rows[-1]
        assert last.guesses is not None and tuned_thresholds.errors[threshold] == last.guesses.error.percent
    of_truth = choose_threshold(ensemble(home, TWO, "truth"), home.part, CPU, STRICT)
    assert of_truth is not None
    last = evaluated(home, ensemble(home, TWO, "truth"), 0.5).rows[-1]
    assert of_truth.errors[0.5] == last.truth.error.percent


@pytest.fixture
def damaged(home: Home, tmp_path: Path) -> BoxedSplit:
    """The same part, two of whose files cannot be decoded."""
    root = tmp_path / "damaged" / "val"
    shutil.copytree(home.val.root, root)
    for index in (3, 8):
        (root / home.val.files[index]).write_bytes(b"no picture")
    return BoxedSplit(replace(home.val, root=root), replace(home.part.split, root=root), home.part.blacklisted)


@pytest.mark.parametrize("classes", ["truth", None])
def test_files_that_cannot_be_decoded_are_left_out(
    classes: Literal["truth"] | None, home: Home, damaged: BoxedSplit
) -> None:
    whole = evaluated(home, ensemble(home, TWO, classes))
    wanted = ensemble(home, TWO, classes)
    with pytest.raises(VerydeepError, match=home.val.files[3]):
        evaluated(home, wanted, part=damaged)
    found = evaluate_boxes(wanted, damaged, CPU, Decoding("skip"))
    assert found is not None
    assert list(found.skipped) == [home.val.files[3], home.val.files[8]]
    kept = np.delete(np.arange(NUM_IMAGES), [3, 8])
    assert found.candidate_classes.indices.tolist() == kept.tolist()
    assert [row.truth.num_images for row in found.rows] == [9] * 4
    for some, every in zip(found.box_errors_of_rows, whole.box_errors_of_rows, strict=True):
        np.testing.assert_allclose(some.truth_overlaps, every.truth_overlaps[kept], atol=1e-5)


@pytest.mark.parametrize("classes", ["truth", None])
def test_where_nothing_can_be_decoded_that_is_said(
    classes: Literal["truth"] | None, home: Home, damaged: BoxedSplit
) -> None:
    nothing = BoxedSplit(damaged.whole, damaged.split.subset([3, 8]), np.zeros(2, np.bool_))
    with pytest.raises(VerydeepError, match=r"Not one of the 2 images of .* could be decoded"):
        evaluate_boxes(ensemble(home, ONE, classes), nothing, CPU, Decoding("skip"))


def test_boxes_of_images_of_which_nothing_is_known(home: Home) -> None:
    wanted = ensemble(home, TWO, EvaluationProtocol.parse(BEST))
    said = guess_boxes(wanted, replace(home.val, labels=None), 0.7, CPU, STRICT, top=3)
    assert said is not None
    candidate_classes, merged = said
    assert candidate_classes.labels is None and merged.boxes.shape == (NUM_IMAGES, 3, 4)
    for index in range(0, NUM_IMAGES, 3):
        guesses = five_guesses(home, index, NAMERS, "dense+crops")[:3]
        assert candidate_classes.guesses[index].tolist() == guesses
        for place, label in enumerate(guesses):
            box, score = merged_box(home, index, TWO, "dense", label, 0.7)
            np.testing.assert_allclose(merged.boxes[index, place], box, atol=2e-3)
            assert merged.scores[index, place] == pytest.approx(score, abs=1e-5)


@dataclass
class Table:
    """Where two processes lay what the other is to see; here they are threads."""

    meet: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=60))
    laid: list[Any] = field(default_factory=lambda: [None, None])

    def swap(self, rank: int, value: Any) -> list[Any]:
        self.laid[rank] = value
        self.meet.wait()
        both = list(self.laid)
        self.meet.wait()
        return both


@dataclass(frozen=True)
class Together(Runtime):
    """One of two processes."""

    table: Table = field(default_factory=Table)

    def gather(self, value: Any) -> list[Any]:
        return self.table.swap(self.rank, value)

    def from_main(self, value: Any) -> Any:
        return self.table.swap(self.rank, value)[0]

    def gather_on_main(self, value: Any) -> list[Any]:
        return self.table.swap(self.rank, value) if self.is_main else self.table.swap(self.rank, value)[:0]


def test_two_processes_share_the_images(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And find what one finds; the second has nothing to say."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path))
    alone, table = evaluated(home, ensemble(home, TWO)), Table()
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "other"))
    found: list[LocalizationEvaluation | None] = [None, None]

    def work(rank: int) -> None:
        runtime = Together(torch.device("cpu"), bf16=False, rank=rank, world_size=2, table=table)
        found[rank] = evaluate_boxes(ensemble(home, TWO), home.part, runtime, STRICT)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    first, second = found
    assert second is None and first is not None
    assert [(row.view, row.truth.error) for row in first.rows] == [(row.view, row.truth.error) for row in alone.rows]
    np.testing.assert_allclose(
        first.box_errors_of_rows[-1].merged.boxes, alone.box_errors_of_rows[-1].merged.boxes, atol=1e-3
    )
