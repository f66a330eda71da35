"""Folders that verydeep wrote, which are no photographs of a class: runs, nets, classifiers and archives."""

import json
import re
from pathlib import Path

from verydeep.data.folders.listing import has_own_images, list_subfolders
from verydeep.errors import DataError

_FILES = ("run.json", "config.json", "classifier.json", "manifest.json")
_KINDS = {
    "verydeep-run": "a run",
    "verydeep": "a net",
    "verydeep-classifier": "a classifier",
    "verydeep-descriptors": "an archive",
}
"""Value of ``model_type`` in one of the files -> what the folder is."""
_HEAD = re.compile(rb'\s*\{\s*"model_type": "([a-z-]+)"')


def describe_product(folder: Path) -> str | None:
    """Return "is a run of verydeep", or "holds a run of verydeep" where all folders in it are verydeep's; else None."""
    try:
        if kind := _name_kind(folder):
            return f"is {kind} of verydeep"
        if has_own_images(folder):
            return None
        kinds = [_name_kind(folder / name) for name in list_subfolders(folder)]
    except (DataError, OSError):  # what cannot be read is reported when it is opened
        return None
    return f"holds {kinds[0]} of verydeep" if kinds and all(kinds) else None


def list_classifier_nets(folder: Path) -> list[str]:
    """Return the paths or names of the nets of a classifier; none where they cannot be read."""
    try:
        nets = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))["nets"]
        return [str(net["path"]) for net in nets]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _name_kind(folder: Path) -> str | None:
    for name in _FILES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                head = _HEAD.match(file.read(100))
            if head and (kind := _KINDS.get(head[1].decode())):
                return kind
    return None
