"""The kernels that a job computes with: what pays, what is recorded, and equal results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import verydeep as vd
from tests.runs import read_report
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime, start
from verydeep.errors import OptionError
from verydeep.models.cpu_engine import CpuNet, describe_engine, find_instruction_set
from verydeep.models.weights.model_folder import ModelConfig

needs_engine = pytest.mark.skipif(find_instruction_set() is None, reason=describe_engine())

AUTO = Runtime(torch.device("cpu"), bf16=False, kernels="auto", has_engine=True)
FP32 = {"precision": "fp32", "workers": 0, "progress": False}


def net_of(network: str) -> Net:
    names = tuple(f"class {number}" for number in range(1000))
    return Net(Path(network), Path(network), ModelConfig(network, names, names))


def test_jobs_that_outweigh_the_packing_have_native_kernels() -> None:
    """Net D packs in about a second, and an image at Q = 256 and its mirror image take a fifth of one less."""
    chosen = [choose_kernels(AUTO, [net_of("D")], count).kernels for count in (1, 4, 5, 1000)]
    assert chosen == ["torch", "torch", "native", "native"]


def test_what_is_decided_or_impossible_stays() -> None:
    nets = [net_of("D")]
    for kernels in ("torch", "native"):
        decided = replace(AUTO, kernels=kernels)
        assert choose_kernels(decided, nets, 1000) == choose_kernels(decided, nets, 1) == decided
    assert choose_kernels(replace(AUTO, has_engine=False), nets, 1000).kernels == "torch"


def test_a_runtime_knows_if_there_is_an_engine() -> None:
    with start(device="cpu", kernels="auto") as runtime:
        assert runtime.kernels == "auto" and runtime.has_engine == (find_instruction_set() is not None)
    if find_instruction_set() is None:
        with pytest.raises(OptionError, match="CPU engine: missing"), start(device="cpu", kernels="native"):
            pass


@needs_engine
def test_both_kernels_predict_the_same(trained: Path, photographs: Path, tmp_path: Path) -> None:
    data = photographs
    reports, predictions = {}, {}
    for kernels in ("torch", "native"):
        options = FP32 | {"kernels": kernels}
        vd.evaluate(data, trained, scales="256,320", views="dense+crops", out=tmp_path / kernels, **options)
        reports[kernels] = read_report(tmp_path / kernels)
        predictions[kernels] = vd.predict(trained, data / "val" / "apple", **options)
    assert {kernels: report.pop("kernels") for kernels, report in reports.items()} == {
        "torch": "torch",
        "native": "native",
    }
    assert reports["torch"]["rows"] == reports["native"]["rows"]
    torchs, native = (predictions[kernels].scores for kernels in ("torch", "native"))
    assert np.array_equal(np.argsort(-torchs), np.argsort(-native)) and not np.array_equal(torchs, native)
    assert native == pytest.approx(torchs, abs=1e-5)
    descriptors = [
        vd.describe(trained, data / "val", kernels=kernels, **FP32).values for kernels in ("torch", "native")
    ]
    assert descriptors[1] == pytest.approx(descriptors[0], abs=1e-5)


@needs_engine
def test_a_net_in_memory_is_packed_once(trained: Path, photographs: Path) -> None:
    net = vd.load(trained)
    assert isinstance(net, Net)
    runtime = choose_kernels(AUTO, [net], 1)
    model = net.prepare(runtime)
    assert runtime.kernels == "native" and isinstance(model, CpuNet) and net.prepare(runtime) is model
    file = photographs / "val" / "apple" / "000.jpg"
    scores = vd.predict(net, file, **FP32).scores
    assert scores == pytest.approx(vd.predict(trained, file, **FP32).scores, abs=1e-5)
    weights, workspaces = model.memory_bytes()
    assert weights > 0 and workspaces > 0


def test_a_training_tests_with_the_kernels_of_its_options(trained: Path) -> None:
    reports = [*(trained / "evaluations").rglob("errors.json")]
    assert {json.loads(report.read_text())["kernels"] for report in reports} <= {"torch", "native"} and reports
