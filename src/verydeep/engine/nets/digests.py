"""What tells a net from all others: a hash of its description and its weights."""

import functools
import hashlib
from pathlib import Path

from verydeep.engine.importing.imported import is_name
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import CONFIG, WEIGHTS


def check_unchanged(net: Net, digest: str) -> None:
    """Refuse a net that was another one when its digest was taken.

    Raises:
        VerydeepError: it was.
    """
    if digest_of_net(net) != digest:
        raise VerydeepError(f"{net.path} changed while it was read: wait for the end of its training.")


def open_unchanged_net(path: Path, weights: Weights, digest: str, named_in: Path) -> Net:
    """The net that a file names by its path and digest.

    Raises:
        VerydeepError: it is not there any more, or is another one now.
    """
    if not path.exists() and not is_name(path.as_posix()):
        raise VerydeepError(f"{named_in} names the net {path}, which is gone: put it back, or write there where it is.")
    net = Net.open(path, weights)
    if digest_of_net(net) != digest:
        raise VerydeepError(
            f"{path} is another net than the one that {named_in.parent} was made with: restore that, or make "
            f"{named_in.parent} anew."
        )
    return net


def digest_of_net(net: Net) -> str:
    """What tells its description and its weights from those of other nets.

    Raises:
        VerydeepError: one of them is not there.
    """
    return digest_of_folder(net.folder)


def digest_of_folder(folder: Path) -> str:
    """The same of a model folder.

    Raises:
        VerydeepError: its description or its weights are not there.
    """
    digests = []
    for path in (folder / CONFIG, folder / WEIGHTS):
        try:
            status = path.stat()
        except FileNotFoundError:
            raise VerydeepError(f"{folder} has no {path.name}: its training has not saved a net yet.") from None
        digests.append(_digest_of_file(path, status.st_size, status.st_mtime_ns))
    return " ".join(digests)


@functools.lru_cache(maxsize=256)
def _digest_of_file(path: Path, _size: int, _modified: int) -> str:
    """Of what a file holds; not read again as long as its size and modification time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
