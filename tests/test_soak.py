"""Memory, open files and threads of long jobs do not grow; ``tests/soak.py`` does more of the same."""

import gc
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import verydeep as vd
from tests.runs import make_photographs
from tests.soak import NET, begin_run, look_at, make_inputs, resume_once
from verydeep.engine.training import loop
from verydeep.models.cpu_engine import find_instruction_set

SELF = Path("/proc/self")
pytestmark = pytest.mark.skipif(not (SELF / "status").exists(), reason="reads /proc")

MANY_BATCHES = """
import sys
from pathlib import Path

import torch

from tests.soak import draw_photographs, look_at
from verydeep.data.split import Split
from verydeep.engine.inference import ViewAtScale, prepare_net
from verydeep.engine.posteriors import predict_batches
from verydeep.engine.runtime import Runtime
from verydeep.models.weights.model_folder import ModelConfig

photographs = draw_photographs(Path(sys.argv[1]))
split = Split.of_photographs([photographs[number % len(photographs)] for number in range(1088)])
net = ModelConfig("A", ("a", "b"), ("a", "b"), crop=224, width=1 / 32, fc_width=4).build()
runtime = Runtime(torch.device("cpu"), bf16=False, kernels="native")
views = [ViewAtScale("center", 256), ViewAtScale("dense", 256)]
kept, sizes = [], []
for batch in predict_batches(prepare_net(net, runtime), split, views, runtime):
    kept.append(batch)  # small blocks in use between large ones that are free
    sizes.append(look_at(Path("/proc/self")).resident_bytes >> 20)
print(len(sizes), max(sizes[8:]) - sizes[8])
"""


@pytest.mark.skipif(find_instruction_set() is None, reason="needs the CPU engine")
def test_memory_does_not_grow_with_the_number_of_batches(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY_BATCHES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    num_batches, megabytes = map(int, done.stdout.split())
    assert num_batches > 130
    assert megabytes < 180, f"{megabytes} MB more after {num_batches} batches than after 8"


def test_resumptions_leave_no_memory_open_files_or_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    make_inputs(tmp_path, 0)
    begin_run(tmp_path, 12)
    samples = []
    for _ in range(8):
        resume_once(tmp_path)
        gc.collect()  # of the interrupted training, and what it had open
        samples.append(look_at(SELF))
    first, last = samples[2], samples[-1]
    assert first is not None and last is not None
    assert last.open_files <= first.open_files + 4 and last.threads <= first.threads + 1  # some end a little later
    assert last.resident_bytes < 1.05 * first.resident_bytes


class _ObjectCounter(logging.Handler):
    """Counts the objects of Python after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Epoch"):
            self.counts.append(len(gc.get_objects()))


def test_the_curves_of_a_training_leave_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure has thousands, in cycles; memory between them fits no large block."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "DRAWING_SECONDS", 0)
    make_photographs(tmp_path / "photos", {"train": 4, "val": 1})
    logger, counter = logging.getLogger("verydeep"), _ObjectCounter()
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(counter)
    try:
        vd.train(tmp_path / "photos", **NET, epochs=10, out=tmp_path / "run")
    finally:
        logger.removeHandler(counter)
    assert len(counter.counts) == 10
    assert max(counter.counts[3:]) < counter.counts[3] + 1000
