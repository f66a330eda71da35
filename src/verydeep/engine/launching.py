"""Several processes of one job on this machine, by torchrun's own launcher."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from verydeep.errors import ResourceError
from verydeep.machine import available_cores


def in_group() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def is_restart() -> bool:
    """Whether torchrun has started the same command again (``--max-restarts``), since one of the processes failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


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


def describe_signal(number: int, num_processes: int) -> str:
    """Return what ended one of the processes of a job that could not say so itself; nothing if it could."""
    name = signal.Signals(number).name if number in {*signal.Signals} else ""  # not each system has each
    if name == "SIGKILL":
        return (
            f"One of the {num_processes} processes was killed, most often because memory ran out: free memory, or give "
            "fewer `devices` or `workers`."
        )
    if name in ("SIGSEGV", "SIGBUS", "SIGABRT"):
        return f"One of the {num_processes} processes crashed ({name}): run the same command with `devices=1`."
    return ""


def launch(num_processes: int, arguments: Sequence[str]) -> None:
    """Run the command line again in several processes of this machine, and wait for their end.

    Raises:
        SystemExit: with the exit code of the first process that failed, or 128 plus the signal that stopped the job.
        ResourceError: a process was killed or crashed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    # Else torchrun prints that it chooses one thread; the processes choose as many themselves (``set_up_torch``).
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // num_processes)))
    # The process that failed reports the reason itself, in one sentence.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(["--standalone", f"--nproc-per-node={num_processes}", "-m", "verydeep", *arguments])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if message := describe_signal(-code, num_processes):
            raise ResourceError(message) from None
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
