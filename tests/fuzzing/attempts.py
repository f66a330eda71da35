"""The reading of one mutated file in a child process, and what it must not do."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.fuzzing.formats import FORMATS, OUT
from tests.fuzzing.mutations import CANARY, mutate
from verydeep.errors import VerydeepError

SECONDS = 10
"""Of the processor, for one file."""
WAITING_SECONDS = 60
"""Of the clock, on a machine with other work."""
FLOOR_BYTES = 48 << 20
"""Memory that any reading may take, beside twice the file: for modules and the allocator."""
LIMIT_BYTES = 4 << 30
"""Address space that a reading cannot have, beside the floor: a larger allocation is an error, which is looked for."""
LONGEST_MESSAGE = 2010

_OTHERS = (OUT, "cache", "tmp")
"""Folders beside the files, which a reader may write to."""
_RUNS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.bind",
    "webbrowser.open",
)
_CHANGES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
)


@dataclass(frozen=True)
class Attempt:
    """The reading of one mutation."""

    number: int
    file: str
    content: bytes
    is_refused: bool
    harm: str
    """What it did that it must not; empty where it behaved."""


class Bench:
    """A folder with the files of a format, in which one of them is mutated after the other."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.format, self.folder = name, FORMATS[name], folder.resolve()
        self.inner = self.folder / "inner"
        self.inner.mkdir()
        os.environ["VERYDEEP_CACHE"] = str(self.folder / "cache")
        (self.folder / "tmp").mkdir()
        os.chdir(self.inner)
        self.format.make(self.inner)
        self.valid = self._read_value()
        self._clean()
        assert self._read_value() == self.valid, "reads another value the second time"
        self._clean()
        self.contents = {file: (self.inner / file).read_bytes() for file in self.format.kinds}
        self.tree = self._list()

    def _read_value(self) -> str:
        return hashlib.sha256(repr(self.format.read(self.inner)).encode("utf-8", "backslashreplace")).hexdigest()

    def try_number(self, number: int) -> Attempt:
        """Read the mutation with this number."""
        rng = random.Random(f"{self.name} {number}")
        file = rng.choice(list(self.contents))
        content = mutate(rng, self.contents[file], self.format.kinds[file])
        return self.try_content(file, content, number)

    def try_content(self, file: str, content: bytes, number: int = 0) -> Attempt:
        """Read a file with this content in the place of a valid one."""
        path = self.inner / file
        path.write_bytes(content)
        outcome = self._read_in_child(len(content))
        changes = self._undo_changes()
        harm = outcome.get("harm") or changes
        if not harm and content == self.contents[file] and outcome.get("value") != self.valid:
            harm = "another value of a valid file"
        path.write_bytes(self.contents[file])
        self._clean()
        return Attempt(number, file, content, "error" in outcome, harm)

    def _read_in_child(self, size: int) -> dict[str, Any]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _read(self, size, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            slow = number in (signal.SIGXCPU, signal.SIGALRM)
            return {"harm": f"took more than {SECONDS} s" if slow else f"crash ({signal.Signals(number).name})"}
        return dict(json.loads(answer)) if answer else {"harm": f"ended with {os.waitstatus_to_exitcode(status)}"}

    def _list(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}

    def _undo_changes(self) -> str:
        """Remove new files where none may be; return what has changed there, or nothing."""
        found = {each for each in self._list() if each.split("/")[0] not in _OTHERS}
        differing = sorted(found ^ {each for each in self.tree if each.split("/")[0] not in _OTHERS})
        for path in sorted((self.folder / each for each in found - self.tree), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        return f"changed files: {differing[:3]}" if differing else ""

    def _clean(self) -> None:
        shutil.rmtree(self.folder / OUT, ignore_errors=True)
        (self.inner / CANARY).unlink(missing_ok=True)


def _read(bench: Bench, size: int, pipe: int) -> NoReturn:
    """Read the files, and write what happened to the pipe."""
    harms: list[str] = []
    tempfile.tempdir = str(bench.folder / "tmp")
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, WAITING_SECONDS)
    before = _peak_bytes("VmHWM")
    resource.setrlimit(resource.RLIMIT_AS, (_peak_bytes("VmPeak") + LIMIT_BYTES,) * 2)
    allowed = (*(str(bench.folder / name) for name in _OTHERS), os.devnull)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _RUNS:
            harms.append(f"{event}{arguments!r:.200}")
        elif event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3):
            path = os.devnull if isinstance(arguments[0], int) else os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - links stay
            if not path.startswith(allowed):
                harms.append(f"{event} {path}")

    sys.addaudithook(watch)
    outcome: dict[str, Any] = {}
    try:
        outcome["value"] = bench._read_value()
    except VerydeepError as error:
        outcome["error"] = message = str(error)
        is_sentence = not any(map(_controls, message)) and message.endswith(".") and len(message) <= LONGEST_MESSAGE
        if not is_sentence or str(bench.folder) not in message:
            harms.append(f"message {message!r:.900}")
        if memory := _memory_error(error):
            harms.append(f"memory ({memory!r:.200})")
    except BaseException as error:
        lines = traceback.format_exception(error)
        harms.append(f"{type(error).__name__}: {error!s:.200} {''.join(lines[-4:])!r:.700}")
    taken = _peak_bytes("VmHWM") - before
    if taken > FLOOR_BYTES + 2 * size:
        harms.append(f"took {taken >> 20} MB for a file of {size} bytes")
    outcome["harm"] = "; ".join(harms)
    os.write(pipe, json.dumps(outcome).encode())
    os._exit(0)


def _controls(letter: str) -> bool:
    """Whether a character ends a line, or changes a terminal's colors or direction of text."""
    directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(letter) in directions


def _memory_error(error: BaseException | None) -> BaseException | None:
    """Return an error of memory among the causes of an error, which a reader may have taken for damage."""
    while error is not None:
        text = str(error).lower()
        if "on disk image buffer" in text:  # of HDF5, which allocates it before it looks whether the file is as long
            return None
        if isinstance(error, MemoryError) or ("alloc" in text and "memory" in text) or "bad_alloc" in text:
            return error
        error = error.__cause__ or error.__context__
    return None


def _peak_bytes(name: str) -> int:
    """Return the largest memory (VmHWM) or address space (VmPeak) that this process has had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
