"""Folders that may not be read or written, also where the tests run as root."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534

WITHOUT_PRIVILEGES = (
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("setpriv")
    else ()
)
"""A command that starts another one, for which permissions count even if it is root's."""


@contextmanager
def public_folder() -> Iterator[Path]:
    """Make a folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Act as a user for whom permissions count, unlike root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def locked(path: Path, mode: int = 0) -> Iterator[None]:
    """Change the permissions of a file or folder for a while, and act as a user for whom they count."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with ordinary_user():
            yield
    finally:
        path.chmod(before)
