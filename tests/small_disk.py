"""A small disk that only the commands of a test see: it can be full, read-only, or gone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kills import Forker, start_forker

FILLER = ".filler"


@dataclass
class SmallDisk:
    """A file system in memory, mounted in the mount namespace of a forker."""

    forker: Forker
    path: Path
    """Where commands see it."""

    @property
    def seen(self) -> Path:
        """Where the test sees it."""
        return Path(f"/proc/{self.forker.process.pid}/root{self.path}")

    def used(self) -> int:
        """Return the bytes of all files, in whole pages."""
        status = os.statvfs(self.seen)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def leave(self, num_bytes: int) -> None:
        """Fill all but some bytes."""
        status = os.statvfs(self.seen)
        if (size := status.f_bavail * status.f_frsize - num_bytes) > 0:
            with (self.seen / FILLER).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Undo ``leave``."""
        (self.seen / FILLER).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything."""
        for path in self.seen.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remount(self, options: str) -> None:
        """Change the mount: "ro" or "rw"."""
        self._enter("mount", "-o", f"remount,{options}", str(self.path))

    def _enter(self, *command: str) -> None:
        subprocess.run(["nsenter", "-m", "-t", str(self.forker.process.pid), *command], check=True)


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mount a small disk at a folder, for the commands of one forker."""
    path.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=24m none "$0" && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(path)]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a file system (root on Linux, with unshare)")
    with start_forker(*prefix) as forker:
        yield SmallDisk(forker, path)
