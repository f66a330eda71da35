"""Ensembles of localization nets, by name and by protocol, and the source of the classes of their boxes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.localization.conftest import Home
from tests.thin_nets import CLASSES, CROP, WIDTHS
from verydeep.configs.protocols import EvaluationProtocol
from verydeep.engine.localization.box_ensemble import (
    BoxEnsemble,
    build_box_ensemble,
    find_box_ensembles,
    require_box_ensembles,
)
from verydeep.engine.nets.collection import Collection, find_nets
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.errors import DataError, WeightsError

SHAPE = NetShape(CLASSES, CROP, **WIDTHS)


def name_nets(ensemble: BoxEnsemble) -> list[str]:
    """Runs of the boxes and, behind "@", of the classes."""
    box_runs = [f"{member.net.path.name}/{','.join(map(str, member.scales))}" for member in ensemble.members]
    if ensemble.classes is None:
        return [*box_runs, "@", "truth"]
    paths = [member.net.path for member in ensemble.classes.members]
    class_runs = [path.parent.parent if path.name == "classifier" else path for path in paths]
    return [*box_runs, "@", *(run.name for run in class_runs), ensemble.classes.view]


def test_named_nets_get_the_classes_of_their_own_seed(home: Home) -> None:
    for seed in (3, 8):
        members = [EnsembleMember(home.net("D/384pcr", seed), (384,))]
        ensemble = build_box_ensemble(
            members, "dense", EvaluationProtocol.parse("D/256-512/384 : crops"), Collection(home.runs)
        )
        assert name_nets(ensemble) == [f"D-384pcr-s{seed}/384", "@", f"D-256-512-s{seed}", "crops"]
        assert ensemble.classes is not None and ensemble.classes.text == "D/256-512/384 : crops"
        assert name_nets(build_box_ensemble(members, "center", None, Collection(home.runs)))[2:] == [
            f"D-384pcr-s{seed}",
            "center",
        ]
        assert name_nets(build_box_ensemble(members, "center", "truth", Collection(home.runs)))[1:] == ["@", "truth"]
    other = replace(members[0].net, config=replace(members[0].net.config, seed=5))
    ensemble = build_box_ensemble(
        [EnsembleMember(other, (384,))], "dense", EvaluationProtocol.parse("D/256-512/384"), Collection(home.runs)
    )
    assert name_nets(ensemble)[2] == "D-256-512-s3", "without a run of its own seed, the first"


def test_a_net_that_predicts_no_boxes_is_refused(home: Home) -> None:
    members = [EnsembleMember(home.net(text), (384,)) for text in ("D/384pcr", "D/384")]
    for classes in (None, "truth", EvaluationProtocol.parse("D/256-512/384")):
        with pytest.raises(WeightsError, match="D-384-s3 predicts classes, not boxes"):
            build_box_ensemble(members, "dense", classes, Collection(home.runs))


def name_ensembles(home: Home, text: str, nets: list[Net] | None = None) -> dict[int, list[str]]:
    nets = find_nets(home.runs) if nets is None else nets
    ensembles = find_box_ensembles(EvaluationProtocol.parse(text), nets, SHAPE)
    return {seed: name_nets(ensemble) for seed, ensemble in ensembles.items()}


def test_each_seed_that_has_all_nets_of_a_protocol_makes_an_ensemble(home: Home) -> None:
    assert name_ensembles(home, "D/384pcr/384 + D/256pcr/256 @ truth") == {
        seed: [f"D-384pcr-s{seed}/384", f"D-256pcr-s{seed}/256", "@", "truth"] for seed in (3, 8)
    }
    assert name_ensembles(home, "D/384pcr/384 + D/384scr-fc/384 : center") == {
        3: ["D-384pcr-s3/384", "D-384scr-fc-s3/384", "@", "D-384pcr-s3", "center"]
    }
    assert list(name_ensembles(home, "D/384pcr/352,384 @ E/256-512/384")) == [3, 8]
    some = [net for net in find_nets(home.runs) if net.path.name not in ("E-256-512-s3", "D-384pcr-s8")]
    assert name_ensembles(home, "D/384pcr/352,384 @ E/256-512/384", some) == {}
    assert list(name_ensembles(home, "D/384pcr/352,384", some)) == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("D/384scr/384", " has no net D/384scr with crop 32"),
        ("D/384pcr/384 @ C/256/256", " has no net C/256 with crop 32"),
        ("D/384scr-fc/384 @ A/256/256", "No seed has a run for every member"),
    ],
)
def test_a_protocol_without_runs_is_refused_in_one_sentence(
    home: Home, tmp_path: Path, text: str, message: str
) -> None:
    """The run of A/256 has another seed."""
    for path in home.runs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    shutil.copytree(home.runs / "E-256-512-s8", tmp_path / "a")
    config = (tmp_path / "a" / "model" / "config.json").read_text()
    config = config.replace('"E"', '"A"').replace('"256-512"', '"256"').replace('"seed": 8', '"seed": 5', 1)
    (tmp_path / "a" / "model" / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=message) as caught:
        require_box_ensembles(EvaluationProtocol.parse(text), Collection(tmp_path), SHAPE, "last")
    assert "\n" not in str(caught.value)


def test_the_best_weights_are_rated_by_the_same_classification_net(home: Home, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(home.runs / "D-384pcr-s3", run)
    shutil.copytree(run / "model", run / "best", ignore=shutil.ignore_patterns("classifier"))
    assert Net.open(run, "best").classifier.folder == Net.open(run).classifier.folder == run / "model" / "classifier"
    assert Net.open(run / "model").classifier.folder == run / "model" / "classifier"


def test_each_net_counts_once_and_has_to_know_the_classes_of_the_data(home: Home) -> None:
    members = [EnsembleMember(home.net("D/384pcr"), (352,)), EnsembleMember(home.net("D/384pcr"), (384,))]
    ensemble = build_box_ensemble(members, "dense", EvaluationProtocol.parse("D/256-512/384"), Collection(home.runs))
    assert [net.path.name for net in ensemble.nets] == ["D-384pcr-s3", "D-256-512-s3"]
    assert ensemble.align_classes(home.val).class_names == home.val.class_names
    fewer = home.val.subset(np.flatnonzero(home.val.labels == 1).tolist()).with_classes(CLASSES[1:], CLASSES[1:])
    aligned = ensemble.align_classes(fewer)
    assert set(aligned.labels.tolist()) == {1} and aligned.class_names == home.val.class_names
    with pytest.raises(DataError, match="does not know: gnu"):
        ensemble.align_classes(replace(home.val, class_names=(*CLASSES[:-1], "gnu")))
