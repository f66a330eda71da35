"""Several processes of one job on this machine, by torchrun's own launcher."""

import atexit
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from verydeep.engine.process import Terminated
from verydeep.errors import OptionError, ResourceError
from verydeep.machine import available_cores

STEP_SECONDS = 600
"""Time that processes have to end after Ctrl-C or SIGTERM: a step of a large net on a CPU."""

MIN_PROCESSES = 16
"""Processes that a machine with few cores may start, too."""


def in_group() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process writes files and messages: ``Runtime.is_main`` before there is a runtime."""
    return os.environ.get("RANK", "0") == "0"


def end_process(code: int) -> NoReturn:
    """End one of several processes without the end of its interpreter.

    A thread of gloo may still hold the tensors of the last exchange. If it frees them while the interpreter ends,
    the process aborts ("terminate called without an active exception", PyTorch 2.13): three of 36 small trainings did.
    PyTorch joins that thread with its last reference to the group of processes, and
    ``DistributedDataParallel`` keeps one for ever.
    """
    atexit._run_exitfuncs()  # decoding workers end, and streams are closed
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def end_with_parent() -> None:
    """Get SIGTERM when the process that started this one ends, however it ends: a training then saves its state."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def describe_signal(number: int, rank: int, num_processes: int) -> str:
    """Return what ended one of the processes of a job that could not say so itself; nothing if it could."""
    name = signal.Signals(number).name if number in {*signal.Signals} else ""  # not each system has each
    process = f"Process {rank + 1} of {num_processes}"
    if name == "SIGKILL":
        return (
            f"{process} was killed, most often because memory ran out: free memory, or give fewer `devices` or "
            "`workers`"
        )
    if name in ("SIGSEGV", "SIGBUS", "SIGABRT"):
        return f"{process} crashed ({name}): run the same command with `devices=1`"
    return ""


def launch(num_processes: int, arguments: Sequence[str]) -> None:
    """Run the command line again in several processes of this machine, and wait for their end.

    Raises:
        OptionError: these are far more processes than the machine has cores.
        SystemExit: with the exit code of the first process that failed, or 130 after Ctrl-C.
        Terminated: SIGTERM stopped the job.
        ResourceError: a process was killed or crashed.
    """
    largest = max(MIN_PROCESSES, 4 * available_cores())
    if num_processes > largest:
        cores = f"this machine has {available_cores()} CPU cores"
        raise OptionError(f"`devices={num_processes}` is too many, as {cores}: give at most {largest}.", "devices")
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    # Else torchrun prints that it chooses one thread; the processes choose as many themselves (``set_up_torch``).
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // num_processes)))
    # A training that is stopped saves its state after the current step, which may take longer than torchrun's 30 s.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(STEP_SECONDS))
    logging.disable(logging.CRITICAL)  # the process that failed reports the reason itself, in one sentence
    try:
        torchrun(["--standalone", f"--nproc-per-node={num_processes}", "-m", "verydeep", *arguments])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if message := describe_signal(-failure.exitcode, rank, num_processes):
            remedy = "continue with `resume=RUN`" if arguments[0] == "train" else "run the same command again"
            raise ResourceError(f"{message}. Saved results are not lost: {remedy}.") from None
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as stop:
        if stop.sigval == signal.SIGTERM:
            raise Terminated from None
        sys.exit(128 + stop.sigval)
