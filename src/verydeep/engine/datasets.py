"""DATA as the command line takes it: a folder of photographs, or the word ``generated``."""

import hashlib
import os
from pathlib import Path
from typing import Any

from verydeep.data.generated_set import COUNTS, VERSION, generate, is_generated
from verydeep.data.layout import open_split
from verydeep.data.split import Split
from verydeep.engine.progress import progress_bar
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder

GENERATED = "generated"
VAL_FRACTION = 0.2


def data_folder(data: str) -> Path:
    """The folder that DATA means; the generated set is made on its first use, in the cache."""
    if data != GENERATED:
        return Path(data)
    root = cache_folder() / f"generated-{VERSION}"
    if not is_generated(root):
        with progress_bar() as progress:
            task = progress.add_task("Making the generated set", total=sum(COUNTS.values()), note="")
            for done in generate(root):
                progress.update(task, completed=done)
    return root


def data_name(data: str) -> str:
    """What a run's folder calls its data."""
    return GENERATED if data == GENERATED else Path(data).resolve().name


def check_outside_data(place: Path, part: Split) -> None:
    """Refuse to leave pictures below class folders, where the next command would take them for a class.

    Raises:
        VerydeepError: the place is below the folder of a part, whose classes are folders.
    """
    root = part.root.resolve()
    places = (place.resolve(), Path(os.path.abspath(place)))  # noqa: PTH100 - where a link lies counts, too
    if part.labels is not None and any(each.is_relative_to(root) for each in places):
        raise VerydeepError(
            f"{place} would lie among the photographs of {part.root} and be taken for a class: choose another folder, "
            "by --out, or --runs of reproduce."
        )


def fingerprint(split: Split) -> str:
    """Names the list of files of a part, so that a changed folder, or another part, is noticed."""
    return hashlib.sha256("\n".join((split.root.name, *split.files)).encode()).hexdigest()[:16]


def open_data_split(data: str, name: str, settings: dict[str, Any] | None = None) -> Split:
    """One part of DATA, a flat folder being split as ``settings`` (``val_fraction``, ``seed``) of a run say.

    Raises:
        VerydeepError: the folder or the part does not exist, or its layout is not known.
    """
    settings = settings or {}
    return open_split(
        data_folder(data),
        name,
        seed=int(settings.get("seed", 0)),
        val_fraction=float(settings.get("val_fraction", VAL_FRACTION)),
    )
