"""Where an evaluation is left: names that tell what was tested, and that file systems take."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.conftest import net_named
from tests.thin_nets import make_pictures, save_box_run
from verydeep.configs.protocols import LocalizationView, PaperNet
from verydeep.engine.evaluation_folders import evaluation_folder, protocol_name
from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.candidate_classes import ClassSource, find_source_nets
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.models.weights.model_folder import Provenance
from verydeep.paths import shorten_name

A, B = (net_named(name, provenance=Provenance(data="/home/photos")) for name in "ab")


def test_classes_are_left_in_the_run_or_beside_several() -> None:
    one = ClassEvaluationTask((EnsembleMember(A, (256, 384)),), "dense+crops")
    assert evaluation_folder((A.path,), one, "photos") == (Path("runs/a"), "dense+crops-256,384")
    assert evaluation_folder((A.path,), one, "others") == (Path("runs/a"), "others-dense+crops-256,384")
    assert evaluation_folder((A.folder,), one, "photos") == (Path("runs/a"), "dense+crops-256,384")
    alone = ClassEvaluationTask(
        (EnsembleMember(replace(A, path=Path("nets/vgg16"), folder=Path("nets/vgg16")), (256,)),), "center"
    )
    assert evaluation_folder((Path("nets/vgg16"),), alone, "photos") == (Path("nets/vgg16"), "center-256")
    elsewhere = ClassEvaluationTask((EnsembleMember(replace(A, path=Path("oxford-vgg16")), (256,)),), "center")
    assert evaluation_folder((Path("oxford-vgg16"),), elsewhere, "photos") == (Path(), "oxford-vgg16-center-256")
    two = ClassEvaluationTask((EnsembleMember(A, (256,)), EnsembleMember(B, (384, 256))), "center")
    assert evaluation_folder((A.path, B.path), two, "photos") == (Path("runs"), "a+b-center-256,384")


@pytest.mark.parametrize(
    ("view", "classes", "name"),
    [
        ("dense", "source nets", "boxes-dense-256"),
        ("center", "source nets", "boxes-center-256"),
        ("center", None, "boxes-center-truth-256"),
        ("dense", "D/256/256 + E/384/384 : crops", "boxes-dense-D_256_256+E_384_384-crops-256"),
    ],
)
def test_evaluations_with_other_classes_have_other_names(
    view: LocalizationView, classes: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    for part in ("train", "val"):
        make_pictures(tmp_path / "photos" / part, 1)
    run = save_box_run(tmp_path / "runs", PaperNet.parse("D/256pcr"), tmp_path / "photos")
    members = (EnsembleMember(Net.open(run), (256,)),)
    own = find_source_nets(members, view) if classes == "source nets" else None
    source = own or (None if classes is None else ClassSource((), "crops", classes))
    test = BoxEvaluationTask(BoxEnsemble(members, view, source))
    assert evaluation_folder((run,), test, "photos") == (run, f"photos-{name}")


def test_a_protocol_is_a_name() -> None:
    assert protocol_name("D/256pcr/256 : center @ E/384/384 : crops") == "D_256pcr_256-center@E_384_384-crops"


def test_long_names_are_cut() -> None:
    """File systems take 255 bytes, and other names stay other names."""
    first, second = (shorten_name("-".join([*["photographs-D-256-512-c224-s0"] * 20, end])) for end in ("a", "b"))
    assert max(len(first), len(second)) < 255 and first != second
    assert shorten_name("val-dense-256") == "val-dense-256"
