"""Several processes of one job on this machine, by torchrun's own launcher."""

import logging
import os
import sys
from collections.abc import Sequence


def in_group() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process writes files and messages: ``Runtime.is_main`` before there is a runtime."""
    return os.environ.get("RANK", "0") == "0"


def launch(num_processes: int, arguments: Sequence[str]) -> None:
    """Run the command line again in several processes of this machine, and wait for their end.

    Raises:
        SystemExit: with the exit code of the first process that failed, or 128 plus the signal that stopped the job.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    # The process that failed reports the reason itself, in one sentence.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(["--standalone", f"--nproc-per-node={num_processes}", "-m", "verydeep.cli", *arguments])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
