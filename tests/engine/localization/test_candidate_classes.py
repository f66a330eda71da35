"""Candidate classes, against means and orders that are computed by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.classification.test_table_rows import rescaled, single_view
from tests.engine.localization.conftest import CPU, Home
from tests.thin_nets import WIDTHS
from verydeep.data.pixels.decoding import STRICT
from verydeep.engine.localization.candidate_classes import (
    CandidateClasses,
    ClassSource,
    choose_classes,
    find_source_nets,
    select_best_classes,
)
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.errors import WeightsError
from verydeep.models.weights.model_folder import load_config, load_model, save_config


def test_the_best_classes_are_in_the_order_of_their_posteriors() -> None:
    rng = np.random.default_rng(2)
    posteriors = rng.dirichlet(np.ones(9), 40).astype(np.float32)
    indices = np.arange(40) * 2
    best = select_best_classes(indices, posteriors)
    assert best.indices.tolist() == list(range(0, 80, 2)) and best.guesses.shape == best.posteriors.shape == (40, 5)
    for row, classes, shares in zip(posteriors, best.guesses, best.posteriors, strict=True):
        assert classes.tolist() == np.argsort(row)[::-1][:5].tolist() and shares.tolist() == row[classes].tolist()
    assert (
        select_best_classes(indices, posteriors, top=1).guesses.tolist() == posteriors.argmax(axis=1)[:, None].tolist()
    )


def test_of_equal_posteriors_the_first_class_comes_first_and_few_classes_have_few_guesses() -> None:
    """Of three classes two: with all three no image could be wrong."""
    posteriors = np.array([[0.2, 0.4, 0.4], [0.3, 0.3, 0.4]], np.float32)
    best = select_best_classes(np.array([4, 7]), posteriors)
    assert best.guesses.tolist() == [[1, 2], [2, 0]]
    np.testing.assert_allclose(best.posteriors, [[0.4, 0.4], [0.4, 0.3]])


FOUR_IMAGES = CandidateClasses(
    np.array([0, 2, 3, 7]),
    np.array([[0, 1], [2, 1], [0, 2], [1, 0]]),
    np.array([[0.6, 0.3], [0.5, 0.4], [0.9, 0.05], [0.7, 0.2]], np.float32),
    np.array([1, 0, 0, 2]),
)


def test_the_true_class_comes_before_the_guesses() -> None:
    assert FOUR_IMAGES.classes.tolist() == [[1, 0, 1], [0, 2, 1], [0, 0, 2], [2, 1, 0]]
    assert replace(FOUR_IMAGES, labels=None).classes.tolist() == FOUR_IMAGES.guesses.tolist()
    assert FOUR_IMAGES.class_error.percent == 50 and FOUR_IMAGES.class_error.low < 50 < FOUR_IMAGES.class_error.high


def test_a_subset_has_the_classes_of_its_images() -> None:
    subset = FOUR_IMAGES.subset(np.array([1, 3]))
    assert subset.indices.tolist() == [2, 7] and subset.classes.tolist() == [[0, 2, 1], [2, 1, 0]]
    np.testing.assert_allclose(subset.posteriors, [[0.5, 0.4], [0.7, 0.2]])
    assert subset.class_error.percent == 100
    assert replace(FOUR_IMAGES, labels=None).subset(np.array([0])).labels is None


def test_guesses_are_those_of_the_mean_over_scales_views_and_nets(home: Home) -> None:
    """Against single views, one image after another."""
    scales = {"D-256-512-s3": (256, 512), "E-256-512-s3": (384,)}
    members = tuple(EnsembleMember(Net.open(home.runs / name), scales[name]) for name in scales)
    source = ClassSource(members, "dense+crops", "two nets")
    classes = choose_classes(source, home.boxed_val.split, CPU, STRICT)
    assert home.val.labels is not None and classes.labels is not None
    assert classes.indices.tolist() == list(range(12)) and classes.labels.tolist() == home.val.labels.tolist()
    models = {name: load_model(home.runs / name / "model")[0] for name in scales}
    for index in range(12):
        posteriors = []
        for name, net_scales in scales.items():
            images = [rescaled(home.val.path(index), scale) for scale in net_scales]
            posteriors.append(np.mean([single_view(models[name], x, v) for x in images for v in ("dense", "crops")], 0))
        mean = np.mean(posteriors, axis=0)
        order = np.argsort(mean)[::-1][:5]
        assert classes.guesses[index].tolist() == order.tolist()
        np.testing.assert_allclose(classes.posteriors[index], mean[order], atol=1e-5)
    assert len(set(classes.guesses[:, 0].tolist())) > 1
    wrong = [label not in guesses for label, guesses in zip(classes.labels, classes.guesses, strict=True)]
    assert classes.class_error.percent == pytest.approx(100 * np.mean(wrong))
    unlabeled = choose_classes(source, replace(home.val, labels=None), CPU, STRICT, top=2)
    assert unlabeled.labels is None and unlabeled.classes.tolist() == classes.guesses[:, :2].tolist()


def test_without_a_source_the_true_class_is_the_only_candidate(home: Home) -> None:
    classes = choose_classes(None, home.boxed_val.split, CPU, STRICT)
    assert classes.guesses.shape == classes.posteriors.shape == (12, 0)
    assert home.val.labels is not None and classes.classes.tolist() == home.val.labels[:, None].tolist()


def test_source_nets_come_once_at_all_test_scales(home: Home) -> None:
    """Localization nets of the same source net each have their own copy of it."""
    members = [
        EnsembleMember(home.net("D/384pcr"), (352, 384)),
        EnsembleMember(home.net("D/256pcr"), (256,)),
        EnsembleMember(home.net("D/384scr-fc"), (384, 416)),
    ]
    source = find_source_nets(members, "center")
    sources = [(str(member.net.paper_net(**WIDTHS)), member.scales) for member in source.members]
    assert sources == [("D/384", (352, 384, 416)), ("D/256", (256,))]
    assert [member.net.config.regression for member in source.members] == [None, None]
    assert (source.view, source.text) == ("center", "D/384/352,384,416 + D/256/256 : center")


def test_source_nets_without_a_name_in_the_paper_are_named_by_their_runs(home: Home, tmp_path: Path) -> None:
    """As those of the generated set, which are narrow; x and z started from the same net, y from another."""
    for name, seed in (("x", 3), ("y", 8), ("z", 3)):
        shutil.copytree(home.runs / f"D-256pcr-s{seed}", tmp_path / name)
        for folder in (tmp_path / name / "model", tmp_path / name / "model" / "classifier"):
            save_config(folder, replace(load_config(folder), train_scale=None))
    members = [EnsembleMember(Net.open(tmp_path / name), (256,)) for name in ("x", "y", "z")]
    source = find_source_nets(members, "dense")
    assert [member.net.path.parent.parent.name for member in source.members] == ["x", "y"]
    assert source.text == "x/classifier/256 + y/classifier/256 : dense"


def test_a_missing_source_net_is_named(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.runs / "D-256pcr-s3", tmp_path / "run")
    (tmp_path / "run" / "model" / "classifier" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"run/model/classifier has no model.safetensors"):
        find_source_nets([EnsembleMember(Net.open(tmp_path / "run"), (256,))], "dense")
