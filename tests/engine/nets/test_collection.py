"""Which run matches which member of a protocol; nothing but config.json is read."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.nets.described import BASE, CLASSES, WNIDS, leave
from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.engine.nets.collection import (
    Collection,
    ensembles_by_seed,
    find_matching_nets,
    find_nets,
    required_ensembles,
)
from verydeep.engine.nets.net import Net, NetShape
from verydeep.errors import VerydeepError
from verydeep.models.weights.model_folder import Provenance, SplitRecord, save_config

WANTED = PaperNet.parse("D/256-512")
SHAPE = NetShape(CLASSES, 64)


def test_the_net_of_a_run_is_found_by_what_travels_with_it(tmp_path: Path) -> None:
    path = leave(tmp_path, "any name")
    (net,) = find_nets(tmp_path)
    assert (net.path, net.folder, net.config) == (path, path / "model", BASE)
    assert str(net) == "D/256-512" and net.paper_net() == WANTED
    assert find_matching_nets(WANTED, [net], SHAPE) == {3: net}
    # What people call the classes, the mean, the pooling and the split are no part of who matches.
    other = replace(
        net,
        config=replace(
            BASE, class_words=CLASSES, pooling="floor", split=SplitRecord("/photos", 9, 0.2, "", None, plateau=False)
        ),
    )
    assert find_matching_nets(WANTED, [other], SHAPE) == {3: other}


@pytest.mark.parametrize(
    "values",
    [
        {"network": "E"},
        {"network": "B-5x5"},
        {"train_scale": "256"},
        {"train_scale": "512"},
        {"train_scale": "256-384"},
        {"train_scale": None},
        {"fine_tuned": "fc"},
        {"crop": 32},
        {"crop": 224},
        {"width": 0.5},
        {"fc_width": 512},
        {"class_names": ("ant", "bell")},
        {"class_names": ("ant", "bell", "crow")},
        {"class_names": ("bell", "ant", "crab")},
    ],
    ids=lambda values: "-".join(map(str, *values.items())),
)
def test_another_net_does_not_answer(tmp_path: Path, values: dict[str, Any]) -> None:
    """And one that does stands beside it."""
    leave(tmp_path, "a", **values, **({"class_words": values["class_names"]} if "class_names" in values else {}))
    leave(tmp_path, "b")
    nets = find_nets(tmp_path)
    assert [net.path.name for net in nets] == ["a", "b"]
    assert find_matching_nets(WANTED, nets[:1], SHAPE) == {}
    assert find_matching_nets(WANTED, nets, SHAPE) == {3: nets[1]}


@pytest.mark.parametrize("values", [{"width": 0.5}, {"fc_width": 512}, {"width": 0.25, "fc_width": 64}])
def test_a_narrower_net_answers_among_nets_of_its_width(tmp_path: Path, values: dict[str, Any]) -> None:
    leave(tmp_path, "narrow", **values)
    leave(tmp_path, "full")
    nets, narrow = find_nets(tmp_path), replace(SHAPE, **values)
    assert {seed: net.path.name for seed, net in find_matching_nets(WANTED, nets, narrow).items()} == {3: "narrow"}
    assert {seed: net.path.name for seed, net in find_matching_nets(WANTED, nets, SHAPE).items()} == {3: "full"}


def test_fine_tuned_fc_layers_answer_for_themselves(tmp_path: Path) -> None:
    leave(tmp_path, "all")
    leave(tmp_path, "fc", fine_tuned="fc")
    found = find_matching_nets(PaperNet.parse("D/256-512fc"), find_nets(tmp_path), SHAPE)
    assert {seed: net.path.name for seed, net in found.items()} == {3: "fc"}


def test_two_runs_of_one_seed_are_an_error_that_names_both(tmp_path: Path) -> None:
    first, second = leave(tmp_path, "a"), leave(tmp_path, "z")
    leave(tmp_path, "other", seed=4)
    with pytest.raises(VerydeepError, match=r"D/256-512 with seed 3") as raised:
        find_matching_nets(WANTED, find_nets(tmp_path), SHAPE)
    assert str(first) in str(raised.value) and str(second) in str(raised.value)
    assert str(tmp_path / "other") not in str(raised.value)
    with pytest.raises(VerydeepError, match="seed 3"):
        required_ensembles(EvaluationProtocol.parse("D/256-512/384"), Collection(tmp_path), SHAPE)


def test_what_lies_in_a_folder_of_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Runs and model folders, in the order of their names; not their files, and not the best weights."""
    run = leave(tmp_path, "c-run")
    save_config(run / "best", BASE)
    save_config(tmp_path / "a-model", replace(BASE, seed=1))
    (tmp_path / "b-notes").mkdir()
    (tmp_path / "d.json").write_text("{}")
    (tmp_path / "e-started" / "checkpoints").mkdir(parents=True)
    leave(tmp_path / "b-notes", "deeper")
    nets = find_nets(tmp_path)
    assert [(net.path.name, net.folder.name) for net in nets] == [("a-model", "a-model"), ("c-run", "model")]
    assert Net.open(run, "best").folder == run / "best"
    assert find_nets(tmp_path / "nowhere") == []
    (tmp_path / "a-model" / "config.json").write_text("{}")
    collection = Collection(tmp_path)
    with caplog.at_level("INFO", "verydeep"):
        assert [[net.path.name for net in collection.nets()] for _ in range(2)] == [["c-run"], ["c-run"]]
    (note,) = caplog.messages  # once for a command
    assert note.startswith(f"Left out: {tmp_path / 'a-model'}/config.json ")


def test_seeds_are_shared(tmp_path: Path) -> None:
    """D has seeds 0, 3 and 5, E has 5, 1 and 0: a row is computed for 0 and for 5."""
    for seed in (5, 0, 3):
        leave(tmp_path, f"d{seed}", seed=seed)
    for seed in (1, 5, 0):
        leave(tmp_path, f"e{seed}", network="E", seed=seed)
    nets = find_nets(tmp_path)
    text = "E/256-512/384 + D/256-512/256,384,512 + D/256-512/256 : crops"
    for found in (
        ensembles_by_seed(EvaluationProtocol.parse(text), nets, SHAPE),
        required_ensembles(EvaluationProtocol.parse(text), Collection(tmp_path), SHAPE),
    ):
        assert list(found) == [0, 5]
        for seed, members in found.items():
            assert [(each.net.path.name, each.scales) for each in members] == [
                (f"e{seed}", (384,)), (f"d{seed}", (256, 384, 512)), (f"d{seed}", (256,)),
            ]  # fmt: skip
    assert list(ensembles_by_seed(EvaluationProtocol.parse("D/256-512/384"), nets, SHAPE)) == [0, 3, 5]
    assert ensembles_by_seed(EvaluationProtocol.parse("D/256-512/384 + A/256/256"), nets, SHAPE) == {}


def test_a_run_that_has_saved_no_weights_is_no_member_yet(tmp_path: Path) -> None:
    for seed in (0, 1):
        leave(tmp_path, f"d{seed}", seed=seed)
    (tmp_path / "d0" / "model" / "model.safetensors").unlink()
    assert list(ensembles_by_seed(EvaluationProtocol.parse("D/256-512/384"), find_nets(tmp_path), SHAPE)) == [1]


def test_the_best_weights_are_requested(tmp_path: Path) -> None:
    """Runs alone have them."""
    for seed in (0, 1):
        save_config(leave(tmp_path, f"d{seed}", seed=seed) / "best", replace(BASE, seed=seed))
        (tmp_path / f"d{seed}" / "best" / "model.safetensors").touch()
    leave(tmp_path, "without", seed=2)
    save_config(tmp_path / "single", replace(BASE, seed=3))
    assert [net.folder for net in find_nets(tmp_path, "best")] == [tmp_path / f"d{seed}" / "best" for seed in (0, 1)]
    found = required_ensembles(EvaluationProtocol.parse("D/256-512/384"), Collection(tmp_path), SHAPE, "best")
    assert {seed: nets[0].net.folder.name for seed, nets in found.items()} == {0: "best", 1: "best"}


def test_a_member_without_a_run_is_named(tmp_path: Path) -> None:
    leave(tmp_path, "d")
    leave(tmp_path, "thin", network="E", width=0.5)
    for crop, missing in ((64, "E/256-512"), (224, "D/256-512")):
        with pytest.raises(VerydeepError, match=f"no net {re.escape(missing)} with crop {crop}") as raised:
            required_ensembles(
                EvaluationProtocol.parse("D/256-512/384 + E/256-512/384"), Collection(tmp_path), NetShape(CLASSES, crop)
            )
        assert str(tmp_path) in str(raised.value)


def test_members_that_share_no_seed_are_reported(tmp_path: Path) -> None:
    leave(tmp_path, "d", seed=0)
    leave(tmp_path, "e", network="E", seed=1)
    text = "D/256-512/384 + E/256-512/384 : crops"
    with pytest.raises(VerydeepError, match="No seed has a run for every member") as raised:
        required_ensembles(EvaluationProtocol.parse(text), Collection(tmp_path), SHAPE)
    assert text in str(raised.value)


def test_only_an_imported_net_matches_other_classes(tmp_path: Path) -> None:
    own = leave(tmp_path, "own", class_names=WNIDS, class_words=WNIDS, seed=1)
    leave(
        tmp_path, "theirs", class_names=WNIDS, class_words=WNIDS, seed=2, provenance=Provenance(imported_from="x.mat")
    )
    nets = find_nets(tmp_path)
    assert set(find_matching_nets(WANTED, nets, NetShape(WNIDS, 64))) == {1, 2}
    assert {
        seed: net.path.name for seed, net in find_matching_nets(WANTED, nets, NetShape(WNIDS[1:3], 64)).items()
    } == {2: "theirs"}
    assert own.name == "own"


def test_nets_are_named_beside_a_folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "mine", "a", seed=1)
    leave(tmp_path, "b, of mine", seed=2)
    assert Collection.parse("runs") == Collection(Path("runs"))
    assert Collection.parse("oxford-vgg16,hf-hub:a/b") == Collection(
        Path("runs"), (Path("oxford-vgg16"), Path("hf-hub:a/b"))
    )
    both = Collection.parse("mine,mine/a")
    assert both == Collection(Path("mine"), (Path("mine/a"),))
    assert [net.config.seed for net in both.nets()] == [1]
    assert [net.config.seed for net in Collection.parse("b, of mine").nets()] == [2]
    (tmp_path / "other").mkdir()
    with pytest.raises(VerydeepError, match="mine and other are two folders"):
        Collection.parse("mine,other")
    with pytest.raises(VerydeepError, match="nowhere is neither a folder of runs nor a net"):
        Collection.parse("nowhere,elsewhere")
    with pytest.raises(VerydeepError, match="nowhere"):
        Collection(Path("mine"), (Path("nowhere"),)).nets()


def test_what_began_with_others_weights_is_none_of_the_papers_nets(tmp_path: Path) -> None:
    net = Net.open(leave(tmp_path, "run", provenance=Provenance(converged=True, imported_source="torchvision-vgg16")))
    assert net.paper_net() is None and net.has_imported_weights and not net.imported and net.converged
    assert find_matching_nets(WANTED, [net], SHAPE) == {}
    theirs = Net.open(leave(tmp_path, "theirs", provenance=Provenance(imported_from="x.mat")))
    assert theirs.paper_net() == WANTED and theirs.imported and theirs.ended and theirs.converged


def test_named_runs_give_the_weights_that_are_requested(tmp_path: Path) -> None:
    run = leave(tmp_path, "run", seed=1)
    save_config(run / "best", replace(BASE, seed=7))
    assert [net.config.seed for net in Collection(tmp_path / "none", (run,)).nets("best")] == [7]
    save_config(tmp_path / "single", BASE)
    with pytest.raises(VerydeepError, match="single is a single net: `weights=best`"):
        Collection(tmp_path / "none", (tmp_path / "single",)).nets("best")


@pytest.mark.parametrize("text", ["mine,vgg19.caffemodel", "oxford-vgg61", "oxford-vgg16,rums", "nets/some.pth"])
def test_a_misspelt_net_is_no_folder_of_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "mine", "a")
    with pytest.raises(VerydeepError, match="is neither a folder of runs nor a net: give a path that exists"):
        Collection.parse(text)
