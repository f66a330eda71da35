"""The public functions, called from Python: results, errors, silence, threads, interruptions."""

import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep as vd
from tests.interruption import interrupt_when
from verydeep.results.result import Result, print_result

SMALL: dict[str, Any] = {
    "crop": 32, "width": 0.0625, "fc_width": 16, "batch_size": 12, "precision": "fp32", "workers": 0
}  # fmt: skip


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings() -> list[object]:
    """Return the settings of the process that a caller may have chosen."""
    return [
        torch.get_num_threads(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
    ]


def run_in_threads(*functions: Callable[[], object]) -> list[object]:
    """Call each function in a thread of its own, all at once, and return their results."""
    results: list[object] = [None] * len(functions)

    def call(i: int) -> None:
        results[i] = functions[i]()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_from_photographs_to_errors(
    photographs: Path, working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = settings()
    run = vd.train(photographs, epochs=1, out="run", progress=False, **SMALL)
    assert isinstance(run, vd.TrainedRun) and run.path == Path("run")
    assert (run.network, run.crop, run.seed, run.num_steps) == ("A", 32, 0, 5)
    assert run.evaluation is not None and run.evaluation.folder == Path("run/evaluations/test-dense-256")
    (record,) = run.records()
    assert (
        record["run"] == "run" and record["errors_top1_percent"] == run.evaluation.records()[-1]["errors_top1_percent"]
    )

    evaluation = vd.evaluate(photographs, run, scales=(256, 288), views="center", split="test", progress=False)
    assert evaluation.top1_error == evaluation.records()[-1]["errors_top1_percent"]
    assert 0 <= evaluation.top5_error <= evaluation.top1_error
    typed = vd.evaluate(str(photographs), [run.path], scales="256,288", views="center", split="test", progress=False)
    assert typed.records() == evaluation.records()
    assert capsys.readouterr() == ("", "")
    assert settings() == before


def test_functions_run_in_threads(trained: Path, photographs: Path, working_folder: Path) -> None:
    """A training, and predictions of one net in memory by several threads; nothing depends on the others."""
    net = vd.load(trained)
    images = [np.asarray(Image.open(path)) for path in sorted((photographs / "val").rglob("*.jpg"))]
    expected = vd.predict(net, images, workers=0).scores
    before = settings()
    run, *scores = run_in_threads(
        lambda: vd.train(photographs, epochs=1, out="run", **SMALL),
        *[lambda: vd.predict(net, images, workers=0).scores] * 3,
    )
    assert isinstance(run, vd.TrainedRun) and run.num_steps == 5
    for each in scores:
        np.testing.assert_allclose(np.asarray(each), expected, atol=1e-5)
    assert settings() == before


def test_an_interrupted_training_leaves_its_last_checkpoint(photographs: Path, working_folder: Path) -> None:
    best = working_folder / "run" / "model" / "model.safetensors"  # saved before the first checkpoint
    checkpoints = working_folder / "run" / "checkpoints"
    with (
        interrupt_when(lambda: best.exists() and any(checkpoints.glob("*.safetensors"))),
        pytest.raises(KeyboardInterrupt),
    ):
        vd.train(photographs, epochs=2, out="run", **SMALL)
    (checkpoint,) = checkpoints.glob("*.safetensors")
    assert checkpoint.stem == "step-000000005"
    resumed = vd.train(resume="run", workers=0)
    whole = vd.train(photographs, epochs=2, out="whole", **SMALL)
    assert (resumed.num_steps, resumed.records()[0]["errors_top1_percent"]) == (
        10, whole.records()[0]["errors_top1_percent"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "parameter", "message"),
    [
        (lambda: vd.train("nowhere"), vd.DataError, None, "nowhere"),
        (lambda: vd.train(network="Z"), vd.OptionError, "network", "`network=Z` is unknown"),
        (lambda: vd.train(epochs=0), vd.OptionError, "epochs", "`epochs=0` is out of range"),
        (lambda: vd.train(device="tpu"), vd.OptionError, "device", "`device=tpu` is unknown"),
        (lambda: vd.train(bad_images="ignore"), vd.OptionError, "bad_images", "choose error or skip"),  # type: ignore[arg-type]
        (lambda: vd.train(deterministic=True), vd.OptionError, "deterministic", "use_deterministic_algorithms"),
        (lambda: vd.predict("nowhere", "x.jpg"), vd.WeightsError, None, "nowhere"),
        (lambda: vd.evaluate("generated"), vd.OptionError, "run", "give the nets to test"),
        (lambda: vd.evaluate("generated", "nowhere"), vd.WeightsError, None, "nowhere"),
        (lambda: vd.reproduce("table3"), vd.OptionError, "data", "`data=FOLDER`"),
        (lambda: vd.push("run", "no repository"), vd.OptionError, "repository", "OWNER/NAME"),
    ],
)
def test_errors_have_a_class_and_a_parameter(
    call: Callable[[], object], error: type[vd.VerydeepError], parameter: str | None, message: str, working_folder: Path
) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert getattr(caught.value, "parameter", None) == parameter
    assert message in str(caught.value) and "--" not in re.sub("`verydeep[^`]*`|'--'", "", str(caught.value))
    assert not list(working_folder.iterdir())


def test_determinism_is_the_callers_choice(photographs: Path, working_folder: Path) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert vd.train(photographs, epochs=1, deterministic=True, out="run", **SMALL).num_steps == 5
    finally:
        torch.use_deterministic_algorithms(False)


def test_importing_is_cheap_and_complete() -> None:
    code = "import sys, verydeep as vd; print(vd.train, vd.TrainedRun); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "tyro"} & set(done.stdout.split())
    for name in vd.__all__:
        assert getattr(vd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = vd.trian  # type: ignore[attr-defined]


@pytest.mark.parametrize("output_format", ["json", "csv", "table"])
def test_every_result_is_printed_in_every_format(output_format: Any, trained: Path, photographs: Path) -> None:
    results: list[Result] = [
        vd.reproduce("table2"),
        vd.verify(photographs),
        vd.evaluate(photographs, trained, views="center", scales=256, precision="fp32"),
        vd.predict(trained, photographs / "test", precision="fp32"),
    ]
    for result in results:
        stream = io.StringIO()
        print_result(result, output_format, stream)
        assert len(repr(result)) < 2000 and result._repr_html_() and json.dumps(result.as_dict())
        if output_format == "json":
            assert [json.loads(line) for line in stream.getvalue().splitlines()] == result.records()
        elif output_format == "csv" and result.records():
            assert stream.getvalue().count("\n") == len(result.records()) + 1
