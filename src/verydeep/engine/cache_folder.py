"""The cache: downloads, posteriors, descriptors and the generated set; temporary if its folder cannot be written."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from verydeep.engine.launching import is_main
from verydeep.engine.log import Log
from verydeep.files import may_write


def cache_folder() -> Path:
    """Return the user's cache folder of the platform, or the folder that VERYDEEP_CACHE names.

    If it cannot be written, it is a temporary folder with links to all that the cache holds already.
    """
    moved = os.environ.get("VERYDEEP_CACHE")
    folder = Path(moved).expanduser() if moved else user_cache_path("verydeep", appauthor=False)
    reason = _why_unwritable(folder)
    return _temporary_cache(folder, reason) if reason else folder


def _why_unwritable(folder: Path) -> str:
    """Return why a cache folder or a folder in it cannot be written; nothing if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            if not may_write(each):
                return f"{each} may not be written"
    except FileExistsError:
        return "it is a file"
    except OSError as error:
        return error.strerror or str(error)
    return ""


@cache
def _temporary_cache(folder: Path, reason: str) -> Path:
    Log(silent=not is_main()).info(
        f"The cache {folder} cannot be written ({reason}), so nothing new is kept: set the environment variable "
        "VERYDEEP_CACHE to a folder that you can write."
    )
    temporary = Path(tempfile.mkdtemp(prefix="verydeep-cache-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    with suppress(OSError):  # what cannot be listed cannot be used
        for kind in folder.iterdir():
            if kind.is_dir():
                (temporary / kind.name).mkdir()
                for path in kind.iterdir():
                    (temporary / kind.name / path.name).symlink_to(path.absolute())
    return temporary
