"""Nets that are not model folders: weight files, published nets, repositories on the Hub. Each is converted once."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from verydeep.configs.published_nets import PUBLISHED, TIMM, UNSETTLED, find_terms
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.importing.conversion import convert_file
from verydeep.engine.importing.downloads import fetch, fetch_from_hub
from verydeep.engine.launching import is_main
from verydeep.engine.log import Log
from verydeep.errors import WeightsError
from verydeep.files import temporary_folder
from verydeep.models.weights.model_folder import CONFIG, WEIGHTS, is_model_folder
from verydeep.paths import real_path

VERSION = 3
"""The version of conversion, which changes whenever the same file would become another net than before."""

HUB = "hf-hub:"


def is_name(text: str) -> bool:
    """Whether the text names a published net or a repository, and is not a path."""
    return text in PUBLISHED or text.startswith((HUB, TIMM))


def import_net(source: Path) -> Path:
    """Return the model folder, in the cache, of a weight file, published net or repository; converted once.

    Raises:
        WeightsError: there is no such net, or the file cannot be converted.
        ResourceError: it cannot be downloaded.
    """
    text = source.as_posix()
    if source.is_file():
        if source.name == WEIGHTS and is_model_folder(source.parent):
            return source.parent
        return convert_once(source, name_conversion(source))
    if text in PUBLISHED:
        folder = converted_nets_folder() / text
        if (folder / CONFIG).exists():
            return folder
        state_terms(text)
        return convert_once(fetch(PUBLISHED[text]), text)
    if text.startswith((HUB, TIMM)):
        repository = text.removeprefix(HUB)
        folder = fetch_from_hub(repository)
        if not (folder / WEIGHTS).exists():
            raise WeightsError(f"{text} has no {WEIGHTS}: give a repository of verydeep or timm.")
        if is_model_folder(folder):
            return folder
        timm_net = repository if repository.startswith(TIMM) else None
        return convert_once(folder / WEIGHTS, f"{repository.replace('/', '-')}-{folder.name[:8]}", timm_net)
    raise WeightsError(
        f"There is no run, model folder or weight file {source}: give the path that `verydeep train` printed, or a "
        "published net such as oxford-vgg16 (`verydeep convert --help` lists them)."
    )


def converted_nets_folder() -> Path:
    """Return the folder of converted nets."""
    return cache_folder() / f"models-{VERSION}"


def name_conversion(path: Path) -> str:
    """Return the folder name of a file's conversion; it changes with the file."""
    status = path.stat()
    identity = f"{real_path(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    return f"{path.stem}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]}"


def state_terms(name: str) -> None:
    """Say, before its first use, who made a published net and how it may be used."""
    Log(silent=not is_main()).info(f"{name}: {find_terms(name)}")


def convert_once(path: Path, name: str, timm_net: str | None = None) -> Path:
    """Return the conversion of a file in the cache, made at the first call; several processes may call at once.

    Args:
        path: the file.
        name: of the conversion's folder.
        timm_net: the name of the net, if it is one of timm's.
    """
    folder = converted_nets_folder() / name
    if (folder / CONFIG).exists():
        return folder
    if timm_net is not None:
        state_terms(timm_net)
    converted, log = convert_file(path), Log(silent=not is_main())
    for note in (f"{converted.config.provenance.format}, converted to {folder}", *converted.notes):
        log.info(f"{path.name}: {note}")
    if timm_net is not None:
        about = replace(converted.config.provenance, license=UNSETTLED, published_net=timm_net)
        converted = replace(converted, config=replace(converted.config, provenance=about))
    with temporary_folder(folder) as temporary:
        converted.save(temporary / name)
        try:
            (temporary / name).rename(folder)
        except OSError:
            if not (folder / CONFIG).exists():  # another process was not first, either
                raise
    return folder
