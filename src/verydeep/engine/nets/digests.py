"""Digests that identify a net: a hash of its configuration and its weights."""

import functools
import hashlib
from pathlib import Path

from verydeep.engine.importing.imported import is_name
from verydeep.engine.nets.folders import Weights, stamp_files
from verydeep.engine.nets.net import Net
from verydeep.errors import WeightsError
from verydeep.models.weights.model_folder import CONFIG, WEIGHTS


def check_unchanged(net: Net, digest: str) -> None:
    """Refuse a net whose files have changed since its digest was taken.

    Raises:
        WeightsError: they have.
    """
    if digest_of_net(net) != digest:
        raise WeightsError(f"{net.path} changed while it was read: wait until its training has ended.")


def open_unchanged_net(path: Path, weights: Weights, digest: str, named_in: Path) -> Net:
    """Open the net that a file names by its path and digest.

    Raises:
        WeightsError: the net is missing, or is another one now.
    """
    if not path.exists() and not is_name(path.as_posix()):
        raise WeightsError(
            f"{named_in} names the net {path}, which does not exist: put it back, or write its new path into that file."
        )
    net = Net.open(path, weights)
    if digest_of_net(net) != digest:
        raise WeightsError(
            f"{path} is not the net that {named_in.parent} was made with: restore that net, or make {named_in.parent} "
            "again."
        )
    return net


def digest_of_net(net: Net) -> str:
    """Return the digest of a net.

    Raises:
        WeightsError: a file is missing, or has changed since the model was read into memory.
    """
    digest = digest_of_folder(net.folder)
    if net.in_memory and net.stamps != stamp_files(net.folder):
        raise WeightsError(f"{net.path} has changed since it was loaded: load it again.")
    return digest


def digest_of_folder(folder: Path) -> str:
    """Return the digest of the net of a model folder.

    Raises:
        WeightsError: a file is missing.
    """
    stamps = zip((CONFIG, WEIGHTS), stamp_files(folder), strict=True)
    return " ".join(_digest_of_file(folder / name, *stamp) for name, stamp in stamps)


@functools.lru_cache(maxsize=256)
def _digest_of_file(path: Path, _size: int, _modified: int) -> str:
    """Return the hash of a file; it is not read again while its size and modification time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
