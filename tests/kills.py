"""Commands that are killed (SIGKILL) at chosen moments, run at the same time, or run in several processes.

Each runs in a fork of a process that has imported everything, so an attempt costs a tenth of a second and not four.
A moment is a change of the file system: a file opened for writing, a rename, a removal, a new folder. The process is
killed just before it. What it computes between two moments changes nothing on the disk, so a kill then is the same as
one at the next moment, except for lines appended to an open file; for those there are kills after a time.
"""

import json
import mmap
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}


@dataclass(frozen=True)
class Attempt:
    """The end of one command."""

    killed: bool
    code: int
    num_moments: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Request:
    """A command, and when to kill it; without any of the conditions it is not killed."""

    folder: str
    arguments: list[str]
    moment: int = 0
    """Number of the moment, from 1."""
    before: str = ""
    """Beginning of the first change that matches: a regular expression for its kind and its paths."""
    remove: str = ""
    """Folder that is removed then, in place of the process."""
    seconds: float = 0
    """Time from the start."""
    file_bytes: int = 0
    """Size beyond which a file would grow: the process is killed in the middle of writing it."""
    cache: str = "cache"
    """Path of the cache, relative to the folder."""
    output: str = ""
    """File in the place of the standard output."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of the environment, besides those of the process that forks."""
    setup: str = ""
    """Python statements that come before the command."""
    in_group: bool = False
    """Whether SIGTERM ends it when another process of its job fails, as torchrun does."""


class Forker:
    """A process that has imported everything and forks for each command."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def run(self, folder: Path, *arguments: object, **conditions: Any) -> Attempt:
        """Run a command in a folder, under the conditions of ``Request``."""
        (attempt,) = self.run_at_once(folder, [arguments], **conditions)
        return attempt

    def run_at_once(self, folder: Path, commands: Sequence[Sequence[object]], **conditions: Any) -> list[Attempt]:
        """Run several commands at the same time in a folder."""
        return self._run([Request(str(folder), [*map(str, words)], **conditions) for words in commands])

    def run_in_two_processes(self, folder: Path, *arguments: object, **conditions: Any) -> list[Attempt]:
        """Run a command in two processes that share a job, as torchrun starts them."""
        from torch.distributed import TCPStore

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        environments = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
        words = [*map(str, arguments)]
        return self._run(
            [Request(str(folder), words, environment=each, in_group=True, **conditions) for each in environments]
        )

    def _run(self, requests: Sequence[Request]) -> list[Attempt]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([asdict(request) for request in requests]), file=self.process.stdin, flush=True)
        return [Attempt(**values) for values in json.loads(self.process.stdout.readline())]


@contextmanager
def start_forker(*prefix: str) -> Iterator[Forker]:
    """Start the process that forks, with a command that starts it in another environment, and end it."""
    command = [*prefix, sys.executable, "-m", "tests.kills"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forker(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    import matplotlib.pyplot  # noqa: F401
    import sklearn.svm  # noqa: F401
    import torch
    import torch._dynamo  # every optimizer imports it, for two seconds  # noqa: F401

    import verydeep.engine.load  # noqa: F401
    from verydeep import cli

    for line in sys.stdin:
        requests = [Request(**values) for values in json.loads(line)]
        jobs = [_start(request, cli) for request in requests]
        codes = _wait({child for child, *_ in jobs}, requests[0].in_group)
        attempts = [_finish(codes[child], *rest) for child, *rest in jobs]
        print(json.dumps([asdict(attempt) for attempt in attempts]), flush=True)


def _start(request: Request, cli: Any) -> tuple[int, mmap.mmap, list[Path]]:
    counter, logs = mmap.mmap(-1, 8), [Path(tempfile.mkstemp()[1]) for _ in range(2)]
    if (child := os.fork()) == 0:
        _run(request, counter, logs, cli)
    return child, counter, logs


def _wait(children: set[int], in_group: bool) -> dict[int, int]:
    """Wait for processes; in a group, end the others when one fails. Return their exit codes."""
    codes: dict[int, int] = {}
    while codes.keys() != children:
        child, status = os.wait()
        if child in children:
            codes[child] = os.waitstatus_to_exitcode(status)
            for other in children - codes.keys() if in_group and status else ():
                os.kill(other, signal.SIGTERM)
    return codes


def _finish(code: int, counter: mmap.mmap, logs: list[Path]) -> Attempt:
    outputs = [log.read_text("utf-8", errors="replace") for log in logs]
    for log in logs:
        log.unlink()
    return Attempt(code < 0, code, int.from_bytes(counter[:8], "little"), *outputs)


def _run(request: Request, counter: mmap.mmap, logs: list[Path], cli: Any) -> NoReturn:
    os.chdir(request.folder)
    for stream, path in ((0, Path(os.devnull)), (1, Path(request.output or logs[0])), (2, logs[1])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
    os.environ |= {"VERYDEEP_CACHE": str(Path(request.folder) / request.cache), **request.environment}

    removals = [request.remove] if request.remove else []

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event != "open" and event not in _CHANGES:
            return
        moment = int.from_bytes(counter[:8], "little") + 1
        counter[:8] = moment.to_bytes(8, "little")
        change = " ".join([event, *(str(each) for each in arguments if isinstance(each, str | Path))])
        if moment == request.moment or (request.before and re.search(request.before, change)):
            if not request.remove:
                os.kill(os.getpid(), signal.SIGKILL)
            if removals:
                shutil.rmtree(removals.pop())

    sys.addaudithook(count)
    if request.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ends the process at once
        resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_bytes, request.file_bytes))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once
    signal.setitimer(signal.ITIMER_REAL, request.seconds)
    sys.argv = ["verydeep", *request.arguments]
    exec(request.setup)
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
