"""Processes that decode: one of them is killed or hangs, or the machine has no room for what they send."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.crashes import crash_decoders
from tests.runs import SMALL_NET, verydeep
from verydeep.data.loading.batches import load_items
from verydeep.data.pixels import workers
from verydeep.data.pixels.workers import forget_file, note_file
from verydeep.data.split import Split
from verydeep.engine.process import own_process
from verydeep.engine.runtime import start
from verydeep.engine.training import stopping
from verydeep.errors import ResourceError


class Deadly:
    """A data set whose second item ends the process that reads it."""

    def __init__(self, number: int, file: str | None) -> None:
        self.number, self.file = number, file

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            if self.file is not None:
                note_file(Path(self.file))
            os.kill(os.getpid(), self.number)
        return index


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="the signals of POSIX")
@pytest.mark.parametrize(
    ("number", "file", "sentence"),
    [
        (
            signal.SIGKILL,
            "photos/Ångström.jpg",
            "A process that decodes images was killed while it decoded photos/Ångström.jpg, most often because memory "
            "ran out: give fewer `workers`, 0 for none, or free memory.",
        ),
        (
            signal.SIGKILL,
            None,
            "A process that decodes images was killed, most often because memory ran out: give fewer `workers`, 0 for "
            "none, or free memory.",
        ),
        (
            signal.SIGSEGV,
            f"{'long/' * 300}cat.jpg",
            f"A process that decodes images crashed while it decoded {'long/' * 203} (segmentation fault): replace or "
            "remove the file.",
        ),
        (
            signal.SIGABRT,
            None,
            "A process that decodes images crashed (aborted): find its file with `verydeep verify DATA`.",
        ),
    ],
)
def test_a_killed_worker_is_one_sentence(number: int, file: str | None, sentence: str) -> None:
    with pytest.raises(ResourceError) as caught, start(device="cpu", bf16=False, num_workers=2):
        assert list(load_items(Deadly(number, file), 1, 2)) == []
    assert str(caught.value) == sentence


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the timer of POSIX")
def test_a_file_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MINUTES_PER_FILE", 0.5 / 60)  # else it takes ten minutes

    class Endless(Deadly):
        def __getitem__(self, index: int) -> int:
            note_file(Path("photos/slow.jpg"))
            forget_file()
            time.sleep(0.2)  # a file's time begins when it is opened
            note_file(Path("photos/cat.jpg"))
            time.sleep(0.4)
            note_file(Path("photos/endless.jpg"))
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # does not return to Python for an hour
            return index

    with pytest.raises(ResourceError) as caught, start(device="cpu", bf16=False, num_workers=1):
        list(load_items(Endless(0, None), 1, 1))
    assert str(caught.value) == (
        f"photos/endless.jpg was not decoded within {0.5 / 60:g} minutes: remove the file, or check its disk."
    )


def test_lack_of_memory_and_of_open_files_is_one_sentence() -> None:
    import torch

    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ):
        with (
            pytest.raises(ResourceError, match=r"^The memory of cpu ran out: free some of it, or give smaller"),
            start(device="cpu", bf16=False, num_workers=0),
        ):
            raise error
    for error in (
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
    ):
        with (
            pytest.raises(
                ResourceError, match=r"^This process needs to open more files than its limit allows: give fewer"
            ),
            start(device="cpu", bf16=False, num_workers=0),
        ):
            raise error
    with pytest.raises(RuntimeError, match="another"), start(device="cpu", bf16=False, num_workers=0):
        raise RuntimeError("another error")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the signals of POSIX")
def test_a_training_without_its_worker_names_the_file_and_how_to_continue(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs, tmp_path / "photos")
    run = tmp_path / "run"
    environment = crash_decoders(tmp_path / "hook", "bee/003.jpg", signal.SIGKILL, after=run / "model" / "config.json")
    words = ("train", "photos", *SMALL_NET, "--epochs", "1", "--out", "run", "--workers", "1")
    done = verydeep(*words, cwd=tmp_path, check=False, environment=environment)
    assert done.returncode == 1
    file = tmp_path / "photos/train/bee/003.jpg"
    assert done.stderr == (
        f"verydeep: A process that decodes images was killed while it decoded {file}, most often because memory ran "
        "out: give fewer --workers, 0 for none, or free memory, and continue with --resume run.\n"
    )


def begin_and_answer(pipe: Connection) -> None:
    """Set up as a worker, a while after the start; answer then."""
    time.sleep(0.5)
    workers.WorkerSetup.of(1)(0)
    pipe.send(os.getpid())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_is_not_yet_set_up_outlives_a_signal_to_all_processes() -> None:
    receiver, sender = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=begin_and_answer, args=(sender,))
    with workers.held_signals():
        worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(30)
    assert worker.exitcode == 0 and receiver.recv() == worker.pid
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_worker_that_never_answers_does_not_keep_a_training_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STUCK_SECONDS", 1)  # else it waits 20 seconds

    class Slow(Deadly):
        def __getitem__(self, index: int) -> int:
            time.sleep(8)
            return index

    begin = time.monotonic()
    with own_process(), pytest.raises(SystemExit) as stopped, stopping.StopRequest() as stop:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        list(load_items(Slow(0, None), 1, 1))
    assert stop.signal == signal.SIGTERM
    assert stopped.value.code == 143
    assert time.monotonic() - begin < 8


def may_mount() -> bool:
    """Whether this process may have a /dev/shm of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="may not mount another /dev/shm")
@pytest.mark.parametrize("options", ["size=64k", "size=4k"])
def test_batches_arrive_where_shared_memory_is_small_or_missing(train_split: Split, options: str) -> None:
    """Of 300 KB each: through pipes, or decoded by the main process where not even semaphores have room."""
    script = f"""
import logging
from pathlib import Path
import torch
from verydeep.data.folders.folder import open_folder
from verydeep.data.loading.training_images import TrainSamples, load_train_batches
logging.basicConfig(level="INFO", format="%(message)s")
split = open_folder(Path({str(train_split.root)!r}), "train", seed=0, val_fraction=0.2)
samples, rows = TrainSamples(split, (100, 120), 96, 5), [[(0, i) for i in range(10)]] * 6
batches, expected = list(load_train_batches(samples, rows, 2)), list(load_train_batches(samples, rows[:1], 0))
assert len(batches) == 6 and all(torch.equal(batch.images, expected[0].images) for batch in batches)
list(load_train_batches(samples, rows, 2))
"""
    command = [
        *("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$@"', "sh"),
        *("timeout", "-s", "KILL", "60", sys.executable, "-c", script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if options == "size=64k":
        assert done.stderr == ""
    else:
        assert done.stderr == (
            "The main process decodes the images, because no other can be started (No space left on device): give "
            "/dev/shm more room, or allow more processes.\n"
        )
