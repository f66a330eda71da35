"""Which classes boxes are asked for: against means and orders that are computed by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.classification.test_tables import rescaled, single_view
from tests.engine.localization.conftest import CPU, Home
from verydeep.data.decoding import STRICT
from verydeep.engine.classification.evaluation import FusedPosteriors
from verydeep.engine.localization.candidate_classes import CandidateClasses, ClassSource, best_classes, choose_classes
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import load_config, load_model, save_config


def test_the_best_classes_are_in_the_order_of_their_posteriors() -> None:
    rng = np.random.default_rng(2)
    posteriors = rng.dirichlet(np.ones(9), 40).astype(np.float32)
    indices, guesses, shares = best_classes(FusedPosteriors(np.arange(40) * 2, posteriors))
    assert indices.tolist() == list(range(0, 80, 2)) and guesses.shape == shares.shape == (40, 5)
    for row, classes, best in zip(posteriors, guesses, shares, strict=True):
        assert classes.tolist() == np.argsort(row)[::-1][:5].tolist() and best.tolist() == row[classes].tolist()
    assert (
        best_classes(FusedPosteriors(indices, posteriors), top=1)[1].tolist()
        == posteriors.argmax(axis=1)[:, None].tolist()
    )


def test_of_equal_posteriors_the_first_class_comes_first_and_few_classes_have_few_guesses() -> None:
    """Of three classes two: with all three no image could be wrong."""
    posteriors = np.array([[0.2, 0.4, 0.4], [0.3, 0.3, 0.4]], np.float32)
    _, guesses, shares = best_classes(FusedPosteriors(np.array([4, 7]), posteriors))
    assert guesses.tolist() == [[1, 2], [2, 0]]
    np.testing.assert_allclose(shares, [[0.4, 0.4], [0.4, 0.3]])


ASKED = CandidateClasses(
    np.array([0, 2, 3, 7]),
    np.array([[0, 1], [2, 1], [0, 2], [1, 0]]),
    np.array([[0.6, 0.3], [0.5, 0.4], [0.9, 0.05], [0.7, 0.2]], np.float32),
    np.array([1, 0, 0, 2]),
)


def test_the_true_class_is_asked_for_beside_the_guesses() -> None:
    assert ASKED.classes.tolist() == [[1, 0, 1], [0, 2, 1], [0, 0, 2], [2, 1, 0]]
    assert replace(ASKED, labels=None).classes.tolist() == ASKED.guesses.tolist()
    assert ASKED.class_error.percent == 50 and ASKED.class_error.low < 50 < ASKED.class_error.high


def test_a_subset_is_about_its_images() -> None:
    some = ASKED.subset(np.array([1, 3]))
    assert some.indices.tolist() == [2, 7] and some.classes.tolist() == [[0, 2, 1], [2, 1, 0]]
    np.testing.assert_allclose(some.posteriors, [[0.5, 0.4], [0.7, 0.2]])
    assert some.class_error.percent == 100
    assert replace(ASKED, labels=None).subset(np.array([0])).labels is None


def test_guesses_are_those_of_the_mean_over_scales_views_and_nets(home: Home) -> None:
    """Against single views, one image after another."""
    members = {"D-256-512-s3": (256, 512), "E-256-512-s3": (384,)}
    nets = tuple(EnsembleMember(Net.open(home.runs / name), scales) for name, scales in members.items())
    candidate_classes = choose_classes(ClassSource(nets, "dense+crops", "two nets"), home.part.split, CPU, STRICT)
    assert home.val.labels is not None and candidate_classes.labels is not None
    assert (
        candidate_classes.indices.tolist() == list(range(12))
        and candidate_classes.labels.tolist() == home.val.labels.tolist()
    )
    models = {name: load_model(home.runs / name / "model")[0] for name in members}
    for index in range(12):
        of_nets = []
        for name, scales in members.items():
            images = [rescaled(home.val.path(index), scale) for scale in scales]
            of_nets.append(np.mean([single_view(models[name], x, v) for x in images for v in ("dense", "crops")], 0))
        mean = np.mean(of_nets, axis=0)
        order = np.argsort(mean)[::-1][:5]
        assert candidate_classes.guesses[index].tolist() == order.tolist()
        np.testing.assert_allclose(candidate_classes.posteriors[index], mean[order], atol=1e-5)
    assert len(set(candidate_classes.guesses[:, 0].tolist())) > 1
    expected = [
        label not in row for label, row in zip(candidate_classes.labels, candidate_classes.guesses, strict=True)
    ]
    assert candidate_classes.class_error.percent == pytest.approx(100 * np.mean(expected))
    without = choose_classes(ClassSource(nets, "dense+crops", ""), replace(home.val, labels=None), CPU, STRICT, top=2)
    assert without.labels is None and without.classes.tolist() == candidate_classes.guesses[:, :2].tolist()


def test_nobody_guesses_where_the_truth_is_asked_for(home: Home) -> None:
    candidate_classes = choose_classes(None, home.part.split, CPU, STRICT)
    assert candidate_classes.guesses.shape == candidate_classes.posteriors.shape == (12, 0)
    assert home.val.labels is not None and candidate_classes.classes.tolist() == home.val.labels[:, None].tolist()


def test_box_nets_own_classes_are_those_of_the_nets_they_started_from(home: Home) -> None:
    """Each net once, whichever copy of it, at all scales at which boxes are asked for."""
    members = [
        EnsembleMember(home.net("D/384pcr"), (352, 384)),
        EnsembleMember(home.net("D/256pcr"), (256,)),
        EnsembleMember(home.net("D/384scr-fc"), (384, 416)),
    ]
    source = ClassSource.of_box_nets(members, "center")
    assert [(str(each.net), each.scales) for each in source.nets] == [("D/384", (352, 384, 416)), ("D/256", (256,))]
    assert [each.net.config.regression for each in source.nets] == [None, None]
    assert (source.view, source.told) == ("center", "D/384/352,384,416 + D/256/256 : center")


def test_nets_without_a_name_in_the_paper_are_told_apart_too(home: Home, tmp_path: Path) -> None:
    """As those of the generated set, which are narrow; x and z started from the same net, y from another."""
    for name, seed in (("x", 3), ("y", 8), ("z", 3)):
        shutil.copytree(home.runs / f"D-256pcr-s{seed}", tmp_path / name)
        for folder in (tmp_path / name / "model", tmp_path / name / "model" / "classifier"):
            save_config(folder, replace(load_config(folder), train_scale=None))
    members = [EnsembleMember(Net.open(tmp_path / name), (256,)) for name in ("x", "y", "z")]
    source = ClassSource.of_box_nets(members, "dense")
    assert [each.net.path.parent.parent.name for each in source.nets] == ["x", "y"]
    assert source.told == "x/classifier/256 + y/classifier/256 : dense"


def test_a_net_without_the_one_it_started_from_is_told(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.runs / "D-256pcr-s3", tmp_path / "run")
    (tmp_path / "run" / "model" / "classifier" / "model.safetensors").unlink()
    with pytest.raises(VerydeepError, match=r"run/model/classifier has no model.safetensors"):
        ClassSource.of_box_nets([EnsembleMember(Net.open(tmp_path / "run"), (256,))], "dense")
