"""Downloads of published weight files into the cache: resumed after a broken connection, and checked.

The standard library's HTTP is enough. pooch, the usual helper, neither resumes nor checks a digest of which only the
beginning is published, such as torchvision's.
"""

import hashlib
import http.client
import io
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from verydeep.configs.published_nets import REPOSITORY, PublishedNet
from verydeep.disk import check_room, explain_write
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.launching import in_group
from verydeep.engine.progress import download_bar
from verydeep.errors import ResourceError, WeightsError
from verydeep.files import try_lock

BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30


def weights_folder() -> Path:
    """Return the folder of downloaded weight files, into which a user without a network puts them."""
    return cache_folder() / "weights"


def fetch(net: PublishedNet) -> Path:
    """Return the file of a published net, downloaded at the first call.

    Raises:
        ResourceError: it cannot be downloaded, or another process is downloading it.
        WeightsError: the file in the cache is another one.
    """
    path = weights_folder() / net.file
    if path.exists():
        check_digest(path, net)
        return path
    while True:
        with try_lock(path.with_name(path.name + ".lock")) as free:
            if free:
                if not path.exists():  # another process of this job may have fetched it meanwhile
                    fetch_rest(path.with_name(path.name + ".part"), path, net)
                return path
        if not in_group():
            raise ResourceError(f"Another process is downloading {net.name}: wait until it ends.")
        time.sleep(1)


def fetch_rest(partial: Path, path: Path, net: PublishedNet) -> None:
    """Download the missing part of a published net, check the file, and move it to ``path``.

    Raises:
        ResourceError: it cannot be downloaded.
        WeightsError: the downloaded file is another one.
    """
    try:
        download(net.url, partial, net.name)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        so_far = f" ({partial.stat().st_size / 1e6:,.0f} MB so far)" if partial.exists() else ""
        raise ResourceError(
            f"{net.name} cannot be downloaded from {net.url} ({reason}){so_far}: try again, or put the file {net.file} "
            f"({net.megabytes} MB) into {path.parent}."
        ) from None
    try:
        check_digest(partial, net)
    except WeightsError as error:
        partial.unlink()
        raise WeightsError(f"The file from {net.url} is not usable and was deleted: {error}") from None
    partial.replace(path)


def download(url: str, path: Path, name: str) -> None:
    """Append the missing bytes of the file at ``url`` to ``path``; start over if the server cannot send parts.

    Raises:
        OSError: the server cannot be reached or refuses (URLError), or the connection breaks; the bytes so far remain.
        HTTPException: the connection ended too early; the bytes so far remain.
        ResourceError: the disk has no room.
    """
    num_bytes = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={num_bytes}-"} if num_bytes else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file is complete
            return
        raise
    with response:
        if num_bytes and response.status != http.client.PARTIAL_CONTENT:
            num_bytes = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else num_bytes + int(length)
        check_room(path, 0 if total is None else total - num_bytes)
        with explain_write(path):
            file = path.open("r+b" if num_bytes else "wb", buffering=0)
        with file, download_bar() as progress:
            file.seek(0, os.SEEK_END)
            task = progress.add_task(f"Downloading {name}", total=total, completed=num_bytes)
            while block := response.read(BLOCK_BYTES):
                with explain_write(path):
                    write_all(file, block)
                progress.advance(task, len(block))
        if total is not None and path.stat().st_size < total:
            raise http.client.IncompleteRead(b"", total - path.stat().st_size)


def write_all(file: io.RawIOBase, block: bytes) -> None:
    """Write a block to a file without a buffer, whose end could fail once more on a full disk."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def first_line(error: Exception) -> str:
    """Return the first sentence of an error's message."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__


def check_digest(path: Path, net: PublishedNet) -> None:
    """Refuse a file that is not the published one.

    Raises:
        WeightsError: its digest differs.
    """
    algorithm, _, beginning = net.digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not found.startswith(beginning):
        raise WeightsError(
            f"{path} is not the published file of {net.name} ({algorithm} {found[:16]}..., not {beginning[:16]}...): "
            f"remove it, and download {net.url} again."
        )


def fetch_from_hub(repository: str) -> Path:
    """Return the folder, in the cache, of a repository of the Hugging Face Hub; offline as it was downloaded last.

    Raises:
        WeightsError: there is no such repository, or it may not be read.
        ResourceError: there is no internet connection, and no earlier download.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and needed only here
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError  # noqa: PLC0415

    name = f"hf-hub:{repository}"
    if not REPOSITORY.fullmatch(repository):
        raise WeightsError(f"{name} is not a repository name: write hf-hub:OWNER/NAME.")
    try:
        patterns = ["config.json", "model.safetensors", "classifier/*"]
        return Path(snapshot_download(repository, cache_dir=cache_folder() / "hub", allow_patterns=patterns))
    except (HFValidationError, RepositoryNotFoundError):
        raise WeightsError(
            f"The Hub shows no repository {name}: write hf-hub:OWNER/NAME, and log in if it is private."
        ) from None
    except Exception as error:  # the library passes on the errors of its network library
        raise ResourceError(
            f"{name} cannot be downloaded ({first_line(error)}): try again with an internet connection; "
            "later calls need none."
        ) from None
