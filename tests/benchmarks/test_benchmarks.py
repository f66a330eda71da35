"""Each benchmark runs, and what it compares is the same; how long anything takes is no test's business."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import (
    annotations,
    cpu_engine,
    descriptors,
    merging,
    sample_path,
    svm,
    testing,
    timing,
    verify,
    wrong_labels,
)
from benchmarks import plain_tiny_imagenet as plain
from tests.commands.test_verify_content import scene
from tests.conftest import picture
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import View
from verydeep.engine.inference import prepare_net
from verydeep.engine.runtime import Runtime, has_fast_bf16
from verydeep.models.cpu_engine import describe_engine, find_instruction_set
from verydeep.models.vgg import VGG

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the script of a benchmark in this process, which has imported torch, and return what it prints."""

    def run(module: ModuleType, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])  # a benchmark is a script
        module.main()
        return capsys.readouterr().out

    return run


def test_sample_path(run_main: Callable[..., str]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    out = run_main(sample_path, "--quick")
    for size in ("500x375", "2000x1500"):
        lines = [line for line in out.splitlines() if line.startswith(f"| {size}")]
        assert [line.split(" | ")[1].split(",")[0] for line in lines] == ["ours", "ours", "Pillow", "torchvision"]


def test_annotations(run_main: Callable[..., str]) -> None:
    """A harmful file that is not refused ends the benchmark with an error."""
    out = run_main(annotations, "--quick")
    assert sum(line.startswith(("| ordinary", "| entities", "| a megabyte")) for line in out.splitlines()) == 4


def test_startup() -> None:
    out = run("-m", "benchmarks.startup", "--quick")
    assert sum(line.startswith(("| import ", "| verydeep ")) for line in out.splitlines()) == 4


def test_training_step() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    num_precisions = 2 if has_fast_bf16(torch.device("cpu")) else 1
    out = run("-m", "benchmarks.training_step", "--quick", "--device", "cpu")
    assert sum(line.startswith(("| D", "| A")) for line in out.splitlines()) == 2 * num_precisions * (3 + 1)


def test_merging(run_main: Callable[..., str]) -> None:
    """It compares what each side made before it times them."""
    out = run_main(merging, "--quick")
    lines = [line for line in out.splitlines() if line.startswith("| 40, merged to")]
    assert [line.split(" | ")[1].split(",")[0] for line in lines] == ["ours", "one set at a time", "one set at a time"]


def test_search() -> None:
    """It ends where one side finds other neighbors."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    lines = run("-m", "benchmarks.search", "--quick").splitlines()
    for count in ("1", "64"):
        found = [line.split(" | ")[1] for line in lines if line.startswith(f"| {count} |")]
        assert found == ["ours", "FAISS, a part at a time", "NumPy", "FAISS, an index in memory"]


def test_svm(run_main: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each C is tried on what was held out, where the drawn classes can be told apart; too much memory is no result."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    sizes = ["--images", "400", "--dimensions", "64", "--classes", "4", "--c", "1,10"]
    out = run_main(svm, *sizes)
    assert "\n| 12 | 0 | " in out  # two values of C and the chosen one, four classes
    tried = dict(re.findall(r"(\d+): (\d+\.\d)", out))
    assert tried.keys() == {"1", "10"} and all(float(recall) > 35 for recall in tried.values())
    monkeypatch.setattr(svm, "LIMIT", 0)  # no test fills the memory
    with pytest.raises(SystemExit, match="More than 0 GiB"):
        svm.main()


THIN = testing.Case("B", crop=64, num_classes=50, width=1 / 8, fc_width=96)


def some_files(folder: Path) -> list[Path]:
    """Landscape, portrait and square."""
    paths = [folder / f"{number}.jpg" for number in range(3)]
    for path, shape in zip(paths, ((75, 101), (131, 80), (90, 90)), strict=True):
        Image.fromarray(picture(*shape, seed=shape[0])).save(path, quality=95)
    return paths


def test_testing(tmp_path: Path, run_main: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it on a thin net: every view, by ours, by the loop in its process and in ours; table and plot."""
    results = tmp_path / "results"
    # A script with the sizes of its results page, which take an hour.
    monkeypatch.setattr(testing, "CASE", THIN)
    monkeypatch.setattr(testing, "FULL", replace(testing.FULL, growth=(224, 448), growth_images=1))
    monkeypatch.setattr(testing, "make_photographs", lambda folder, tiles, count: some_files(folder))
    monkeypatch.setattr(testing, "RESULTS", results)
    monkeypatch.setattr(timing, "RESULTS", results)
    lines = run_main(testing, "--write", "--repeats", "1", "--device", "cpu").splitlines()
    for precision in ("bf16", "fp32") if has_fast_bf16(torch.device("cpu")) else ("fp32",):
        rows = [line for line in lines if f" | {precision} | " in line and line.count(" | ") == 5]  # not of decoding
        found = [line.split(" | ")[::2] for line in rows]
        assert [(view.removeprefix("| "), side) for view, side, *_ in found] == [
            (str(task), side)
            for task in testing.FULL.tasks
            if task.in_fp32 or precision == "bf16" or not has_fast_bf16(torch.device("cpu"))
            for side in ("ours", "plain loop", "plain loop, our allocator")[: 3 if task.in_our_process else 2]
        ]
    (picture,) = results.glob("*.png")
    assert f"({picture.name})" in picture.with_suffix(".md").read_text()


@pytest.mark.parametrize("view", ["dense", "crops", "dense+crops"])
def test_testing_times_nothing_that_differs(view: View, tmp_path: Path) -> None:
    """A loop at another scale is no peer; in each view the comparison notices."""
    runtime, files = Runtime(torch.device("cpu"), bf16=False), some_files(tmp_path)
    model = THIN.model(runtime)
    task, another = testing.Task(view, (256,), 3), testing.Task(view, (272,), 3)
    comparison, net = testing.Comparison(task, "fp32"), testing.plain_net(model)
    comparison.checked("ours", lambda: testing.ours(prepare_net(model, runtime), task, files, runtime))()
    comparison.checked("loop", lambda: testing.plain_loop(net, THIN.crop, task, files))()
    with pytest.raises(SystemExit, match="ours and the loop differ"):
        comparison.checked("loop", lambda: testing.plain_loop(net, THIN.crop, another, files))()


def test_descriptors(tmp_path: Path, run_main: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it on a thin net, against torchvision's layers."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    # A script with the sizes of its results page, which take minutes.
    monkeypatch.setattr(descriptors, "CASE", THIN)
    monkeypatch.setattr(descriptors, "make_photographs", lambda folder, tiles, count: some_files(folder))
    lines = run_main(descriptors, "--repeats", "1", "--device", "cpu").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith(("| bf16", "| fp32"))]
    faster = [["bf16", "fp32"], ["bf16", "bf16"]] if has_fast_bf16(torch.device("cpu")) else []
    assert [[row[0].lstrip("| "), row[1]] for row in rows] == [*faster, ["fp32", "fp32"]]


@pytest.mark.skipif(find_instruction_set() is None, reason=describe_engine())
def test_cpu_engine(
    run_main: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it on a thin net, with the peers that are installed; AVX2 in a process of its own has the whole net."""
    shapes = ((1, 64, 64), (2, 64, 64), (1, 70, 80), (1, 80, 99), (1, 90, 110))
    monkeypatch.setattr(cpu_engine, "CASE", THIN)
    monkeypatch.setattr(cpu_engine, "SHAPES", shapes)
    monkeypatch.setattr(cpu_engine, "LAYER_SHAPE", shapes[3])
    monkeypatch.setattr(cpu_engine, "time_avx2", lambda repeats: json.loads(alone()))

    def alone() -> str:
        cpu_engine.print_avx2_times(1)
        return capsys.readouterr().out

    lines = run_main(cpu_engine, "--repeats", "1").splitlines()
    for side in ("engine fp32", "PyTorch fp32", "ONNX Runtime fp32"):
        assert sum(line.startswith(f"| {side} | ") for line in lines) >= 1
    assert any(line.startswith("| conv5_2 |") for line in lines)


def test_descriptors_that_differ_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mirror images they do."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    monkeypatch.setattr(torch.Tensor, "flip", lambda images, dims: images)
    with pytest.raises(SystemExit, match="descriptors differ by"):
        descriptors.compare(THIN, some_files(tmp_path), 1, Runtime(torch.device("cpu"), bf16=False), "fp32")


def test_growth_is_a_power() -> None:
    growth = testing.Growth(scale={q: 3e-6 * q**2 for q in (224, 256, 512)}, members={1: 0.5, 2: 1.0}, member_scale=256)
    assert growth.power == pytest.approx(2)
    assert "1.00 for 1, 2.00 for 2" in str(growth)


def test_plain_loop_learns_colors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for channel, name in enumerate(("blue", "green")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 90, (64, 70 if i % 2 else 64, 3)).astype(np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.JPEG")
    script = ROOT / "benchmarks" / "plain_tiny_imagenet.py"
    out = run(
        script,
        tmp_path,
        "--epochs",
        2,
        "--batch-size",
        8,
        "--dropout",
        0,
        "--learning-rate",
        1e-3,
        "--precision",
        "fp32",
    )
    *epochs, errors = map(json.loads, out.splitlines())
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 3), (2, 6)]
    assert epochs[1]["loss"] < epochs[0]["loss"]
    assert errors["dense"]["top1"][0] == errors["center"]["top1"][0] == 0
    assert errors["dense"]["top1"][2] == pytest.approx(39.03, abs=0.01)  # Wilson: z^2 / (n + z^2), n = 6


def test_plain_net_is_network_a() -> None:
    """Dense and at the crop, on a map that ceil-mode makes 3x4."""
    torch.manual_seed(0)
    theirs = plain.network_a(5, dropout=0.5).eval()
    ours = VGG(NETWORKS["A"], 5, crop=64, mean_rgb=(0.0, 0.0, 0.0)).eval()
    weighted = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        for layer, mine in zip(weighted, ours.weight_layers().values(), strict=True):
            assert layer.bias is not None and mine.bias is not None
            mine.weight.copy_(layer.weight.reshape(mine.weight.shape))
            mine.bias.copy_(layer.bias)
        for height, width in ((64, 64), (73, 98)):
            images = 50 * torch.randn(2, 3, height, width)
            scores = plain.window_scores(theirs, images).mean(0)
            torch.testing.assert_close(scores, ours.logits(images), rtol=1e-4, atol=1e-4 * scores.abs().max().item())


def test_verify_plants_what_it_says(tmp_path: Path) -> None:
    """Each kind of defect and of copy, on forty photographs; both are found by ours."""
    source, out = tmp_path / "source" / "things", tmp_path / "out"
    source.mkdir(parents=True)
    out.mkdir()
    for seed in range(60):
        scene(seed, (270, 200)).save(source / f"{seed:02d}.jpg", quality=92)
    planted = verify.plant(source.parent, out, 40)
    assert {kind: len(files) for kind, files in planted.defects.items()} == {
        "dark": 2, "bright": 2, "blurred": 2, "uniform": 2, "elongated": 2, "tiny": 1
    }  # fmt: skip
    assert {kind: len(pairs) for kind, pairs in planted.copies.items()} == dict.fromkeys(verify.COPIES, 1)
    assert len(list(out.iterdir())) == 40
    compared = verify.compare(verify.by_verydeep(out), planted)
    assert compared["uniform"][0] == "2 of 2" and compared["tiny"][0] == "1 of 1"
    assert compared["copy: encoded again"][0] == compared["copy: mirrored"][0] == "1 of 1"


def test_wrong_labels_are_planted_evenly() -> None:
    labels = np.repeat(np.arange(5), 40)
    planted, wrong = wrong_labels.plant(labels, 5, seed=1)
    assert len(wrong) == 10 and set(np.flatnonzero(planted != labels).tolist()) == wrong
    found = wrong_labels.Found([*wrong, *range(100, 110)], [*list(wrong)[:5], 0, 1, 2, 3, 4])
    right, precision, recall, count = found.measure(wrong)
    assert (right, recall, count) == (100, 50, 10) and precision >= 50
