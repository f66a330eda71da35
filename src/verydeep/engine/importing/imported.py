"""Nets that are no folder of ours: a weight file, a published name, a repository on the Hub. Each becomes one, once."""

import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from verydeep.configs.published import PUBLISHED
from verydeep.engine.importing.conversion import convert_file
from verydeep.engine.importing.downloads import fetch, fetch_from_hub
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder
from verydeep.models.weights.native import CONFIG, WEIGHTS, is_model_folder

VERSION = 2
"""Changes whenever the same file would become another net than before."""

HUB, TIMM = "hf-hub:", "timm/"
TIMM_LICENSE = "BSD-3-Clause"
"""Of torchvision's nets, which timm's are copies of."""


def is_name(text: str) -> bool:
    """Whether this names a net by what is published, and not by a path."""
    return text in PUBLISHED or text.startswith((HUB, TIMM))


def import_net(name: Path) -> Path:
    """The model folder, in the cache, of a net that is no folder here; made if it is asked for the first time.

    Raises:
        VerydeepError: there is no such file or published net, it cannot be fetched, or as ``convert_file``.
    """
    text = name.as_posix()
    if name.is_file():
        if name.name == WEIGHTS and is_model_folder(name.parent):
            return name.parent
        return converted_once(name, name_for(name))
    if text in PUBLISHED:
        folder = models_folder() / text
        return folder if (folder / CONFIG).exists() else converted_once(fetch(PUBLISHED[text]), text)
    if text.startswith((HUB, TIMM)):
        repository = text.removeprefix(HUB)
        folder = fetch_from_hub(repository)
        if not (folder / WEIGHTS).exists():
            raise VerydeepError(f"{text} holds no {WEIGHTS}: give a repository that verydeep or timm wrote.")
        if is_model_folder(folder):
            return folder
        license_name = TIMM_LICENSE if repository.startswith(TIMM) else None
        return converted_once(folder / WEIGHTS, f"{repository.replace('/', '-')}-{folder.name[:8]}", license_name)
    raise VerydeepError(
        f"There is no run, model folder or weight file {name}: give the path that `verydeep train` printed, or a net "
        "that is published, as oxford-vgg16 (verydeep convert --help names them)."
    )


def models_folder() -> Path:
    """Where converted nets are kept."""
    return cache_folder() / f"models-{VERSION}"


def name_for(path: Path) -> str:
    """What the conversion of a file is called: another once the file has changed."""
    status = path.stat()
    told = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return f"{path.stem}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def converted_once(path: Path, name: str, license_name: str | None = None) -> Path:
    """The conversion of a file, kept under a name; several processes may ask for the same one at once."""
    folder = models_folder() / name
    if (folder / CONFIG).exists():
        return folder
    converted = convert_file(path)
    for note in (f"{converted.config.provenance.format}, kept in {folder}", *converted.notes):
        print(f"{path.name}: {note}", file=sys.stderr)
    if license_name is not None:
        about = replace(converted.config.provenance, license=license_name)
        converted = replace(converted, config=replace(converted.config, provenance=about))
    own = folder.with_name(f"{name}.{os.getpid()}.tmp")
    converted.save(own)
    try:
        own.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(own, ignore_errors=True)
        if not (folder / CONFIG).exists():
            raise
    return folder
