"""Which evaluations are those of a net, and what is read of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs import Cli
from tests.thin_nets import make_boxes, make_pictures, narrow_config, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.configs.scales import TrainScale
from verydeep.engine.nets.digests import digest_of_folder
from verydeep.engine.publishing.results import read_results
from verydeep.errors import DataError
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import ModelConfig, Provenance, save_config, save_weights

COMMON = ("--precision", "fp32", "--workers", 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, part in enumerate(("train", "val")):
        make_pictures(tmp_path / "data" / part, 3, first=50 * number)
    return tmp_path / "data"


@pytest.fixture
def config(data: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> ModelConfig:
    monkeypatch.setenv("VERYDEEP_CACHE", str(cache))
    return narrow_config(PaperNet("A", TrainScale(256, 512)), data)


def test_the_last_row_is_read(data: Path, config: ModelConfig, inside: Cli, tmp_path: Path) -> None:
    run = save_run(tmp_path / "runs", config)
    inside("evaluate", data, run, "--scales", "256,384", *COMMON)
    (path,) = run.glob("evaluations/*/errors.json")
    row = json.loads(path.read_text())["rows"][-1]["errors"]
    (result,) = read_results(run, run / "model")
    assert (result.data, result.split, result.num_images) == ("data", "val", 18)
    assert result.protocol == "dense, Q=256,384, fp32"
    assert list(result.errors) == ["top-1 error", "top-5 error"]
    assert result.errors["top-1 error"].percent == row["top1"]["percent"] > 0
    assert result.errors["top-5 error"].high == row["topk"]["high"]


def leave(folder: Path, nets: list[str], view: str, folders: list[Path]) -> None:
    """An evaluation of these nets, as they are called, in these model folders."""
    share = {"percent": 1.0, "low": 0.5, "high": 2.0}
    row = {"view": view, "scales": [256], "errors": {"top1": share, "topk": share, "k": 5}}
    values = {"data": "photos", "nets": nets, "weights": "last", "split": "val", "num_images": 9, "rows": [row]}
    values["digests"] = [digest_of_folder(each) for each in folders]
    write_json(folder / "errors.json", {**values, "precision": "fp32", "remarks": []})


def net_in(folder: Path, config: ModelConfig, seed: int) -> Path:
    """A model folder; no two are equal."""
    save_config(folder, replace(config, seed=seed))
    save_weights(folder, {"fc8.bias": torch.full((3,), float(seed))})
    return folder


def test_each_net_has_its_own(tmp_path: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Last and best weights, fusions, a moved run, nets beside each other: recognized by digests, not by paths."""
    there, nets = tmp_path / "runs" / "a" / "evaluations", tmp_path / "nets"
    last, best = (net_in(tmp_path / "runs" / "a" / name, config, k) for k, name in enumerate(("model", "best")))
    first, second, third = (net_in(nets / name, config, k) for k, name in enumerate(("1st", "2nd", "3rd"), start=2))
    leave(there / "1", ["runs/a"], "last", [last])
    leave(there / "2", ["runs/a"], "best", [best])
    leave(there / "3", ["runs/a", "runs/b"], "fused", [last, first])
    leave(nets / "evaluations" / "1", ["nets/1st"], "first", [first])
    leave(second / "evaluations" / "1", ["/elsewhere/2nd"], "second", [second])

    def views(run: Path, folder: Path) -> list[str]:
        return [result.protocol.partition(",")[0] for result in read_results(run, folder)]

    shutil.move(tmp_path / "runs" / "a", tmp_path / "moved")
    run = tmp_path / "moved"
    assert views(run, run / "model") == views(run / "model", run / "model") == ["last"]
    assert views(run, run / "best") == views(run / "best", run / "best") == ["best"]
    assert views(first, first) == ["first"]
    assert views(second, second) == ["second"]
    assert views(third, third) == []
    # Nets that are no folders here: their evaluations lie where the command was given. Owners may share a name.
    alice, bob = (net_in(tmp_path / "cache" / name, config, k) for k, name in enumerate(("alice", "bob"), start=5))
    leave(tmp_path / "evaluations" / "1", ["hf-hub:alice/vgg"], "of alice", [alice])
    monkeypatch.chdir(tmp_path)
    assert views(Path("hf-hub:alice/vgg"), alice) == ["of alice"]
    assert views(Path("hf-hub:bob/vgg"), bob) == []


def test_what_was_seen_is_noted_without_paths(data: Path, config: ModelConfig, inside: Cli, tmp_path: Path) -> None:
    changed = replace(config, provenance=Provenance(converged=False), split=replace(config.split, train="others"))
    run = save_run(tmp_path / "runs", changed)
    inside("evaluate", data, run, "--split", "train", "--scales", "256", *COMMON)
    (result,) = read_results(run, run / "model")
    assert any(note.startswith("train: The data set has changed since the training of") for note in result.remarks)
    assert not any(str(tmp_path) in note or "converged" in note for note in result.remarks)


def test_boxes(data: Path, config: ModelConfig, inside: Cli, tmp_path: Path) -> None:
    from tests.thin_nets import save_box_run

    make_boxes(data)
    net = PaperNet("A", TrainScale(256, 512), "all", "per-class")
    run = save_box_run(tmp_path / "runs", net, data)
    inside("evaluate", data, run, "--task", "localize", "--scales", "256", *COMMON)
    (result,) = read_results(run, run / "model")
    assert list(result.errors) == ["error of the true class's box", "localization error"]
    (path,) = run.glob("evaluations/*/errors.json")
    row = json.loads(path.read_text())["rows"][-1]
    shares = [share.percent for share in result.errors.values()]
    assert shares == [row["truth"]["error"]["percent"], row["guesses"]["error"]["percent"]]
    assert np.ptp([*shares, 0]) > 0 and result.protocol == "dense, Q=256, fp32"


@pytest.mark.parametrize("text", ['{"digests": ["D"]}', "[1]", '{"rows": [{"view": 1}]}', "{"])
def test_a_damaged_one_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run" / "evaluations" / "val" / "errors.json"
    path.parent.mkdir(parents=True)
    folder = tmp_path / "run" / "model"
    save_config(folder, ModelConfig("A", ("a",), ("a",)))
    save_weights(folder, {})
    path.write_text(text.replace("D", digest_of_folder(folder)))
    with pytest.raises(DataError, match=r"errors\.json is damaged"):
        read_results(tmp_path / "run", folder)
