"""The environment of a result: the command, the versions and the hardware that it was computed with, in a file."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution, version
from pathlib import Path

import torch

from verydeep.engine.process import owns_process
from verydeep.engine.runtime import Runtime
from verydeep.errors import DataError
from verydeep.json_files import read_json, write_json

ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Environment:
    """The environment of one start of a command."""

    command: str
    """The command line; empty where a Python function was called."""
    date: str
    """Time of the start, in UTC."""
    verydeep: str
    """Version of verydeep."""
    revision: str
    """Git revision of verydeep's source, where it is known."""
    python: str
    torch: str
    hardware: str
    precision: str
    devices: int


def describe_environment(runtime: Runtime) -> Environment:
    """Return the environment of this process."""
    return Environment(
        command=shlex.join(["verydeep", *sys.argv[1:]]) if owns_process() else "",
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        verydeep=version("verydeep"),
        revision=find_revision(),
        python=platform.python_version(),
        torch=torch.__version__,
        hardware=describe_hardware(runtime.device),
        precision=runtime.precision,
        devices=runtime.world_size,
    )


def write_environment(folder: Path, runtime: Runtime, earlier: Sequence[Environment] = ()) -> None:
    """Write the environments of earlier starts and of this one into a folder; the main process alone writes.

    Raises:
        ResourceError: the file cannot be written.
    """
    if runtime.is_main:
        write_json(folder / ENVIRONMENT, [asdict(each) for each in (*earlier, describe_environment(runtime))])


def read_environments(folder: Path) -> list[Environment]:
    """Return the environments in a folder, of the first start first; none where the file is missing or damaged."""
    with suppress(DataError):
        return read_json(folder / ENVIRONMENT, list[Environment])
    return []


def describe_hardware(device: torch.device) -> str:
    """Return what computes, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.is_file() else None
    return f"{os.cpu_count()} cores {found[1] if found else model}"


def find_revision() -> str:
    """Return the git revision that verydeep was installed from, or that of its folder; nothing where there is none."""
    with suppress(KeyError, TypeError, json.JSONDecodeError):
        origin = json.loads(distribution("verydeep").read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])[:12]
    folder = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        _ask_git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # not a repository that holds a venv
        return _ask_git(folder, "describe", "--always", "--dirty", "--abbrev=12")
    return ""


def _ask_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
