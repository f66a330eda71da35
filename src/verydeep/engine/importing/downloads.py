"""Published weight files, fetched once: resumed where a connection broke, checked, kept in the cache.

The standard library's HTTP is enough; pooch, the usual helper, neither resumes nor checks a digest of which only the
beginning is published, as torchvision's.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from verydeep.configs.published import REPOSITORY, PublishedNet
from verydeep.engine.launching import in_group
from verydeep.engine.progress import download_bar
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder, try_lock

AT_ONCE = 1 << 20
TIMEOUT_SECONDS = 30


def weights_folder() -> Path:
    """Where downloaded weight files lie, and where a user without a network puts them."""
    return cache_folder() / "weights"


def fetch(net: PublishedNet) -> Path:
    """The file of a published net, downloaded if it is not there.

    Raises:
        VerydeepError: it cannot be downloaded, or what is there is another file.
    """
    path = weights_folder() / net.file
    if path.exists():
        check_digest(path, net)
        return path
    while True:
        with try_lock(path.with_name(path.name + ".lock")) as free:
            if free:
                if not path.exists():  # another process of this job may have fetched it meanwhile
                    complete(path.with_name(path.name + ".part"), path, net)
                return path
        if not in_group():
            raise VerydeepError(f"{net.name} is being downloaded by another process: wait for its end.")
        time.sleep(1)


def complete(partial: Path, path: Path, net: PublishedNet) -> None:
    """Fetch what is missing of a published net, check it, and let it take its place.

    Raises:
        VerydeepError: as ``fetch``.
    """
    try:
        download(net.url, partial, net.name)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        kept = f" ({partial.stat().st_size / 1e6:,.0f} MB are kept)" if partial.exists() else ""
        raise VerydeepError(
            f"{net.name} cannot be downloaded from {net.url} ({reason}){kept}: try again with a network, or put the "
            f"file {net.file} ({net.megabytes} MB) into {path.parent}."
        ) from None
    try:
        check_digest(partial, net)
    except VerydeepError as error:
        partial.unlink()
        raise VerydeepError(f"What {net.url} gave: {error}") from None
    partial.replace(path)


def download(url: str, path: Path, what: str) -> None:
    """Add to ``path`` what it lacks of the file at ``url``; from its beginning where the server cannot do parts.

    Raises:
        OSError: the server cannot be reached or refuses (URLError), or the connection breaks; what came is kept.
        HTTPException: the connection ended too soon; what came is kept.
    """
    have = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is left to fetch
            return
        raise
    with response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with path.open("r+b" if have else "wb") as file, download_bar() as progress:
            file.seek(0, os.SEEK_END)
            task = progress.add_task(f"Downloading {what}", total=total, completed=have)
            while block := response.read(AT_ONCE):
                file.write(block)
                progress.advance(task, len(block))
        if total is not None and path.stat().st_size < total:
            raise http.client.IncompleteRead(b"", total - path.stat().st_size)


def first_line(error: Exception) -> str:
    """Of what went wrong."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__


def check_digest(path: Path, net: PublishedNet) -> None:
    """Refuse a file that is not the published one.

    Raises:
        VerydeepError: its digest is another.
    """
    algorithm, _, beginning = net.digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not found.startswith(beginning):
        raise VerydeepError(
            f"{path} is not the published file of {net.name} ({algorithm} {found[:16]}..., not {beginning[:16]}...): "
            f"remove it, and get {net.url} again."
        )


def fetch_from_hub(repository: str) -> Path:
    """The folder, in the cache, of the model files of a repository on the Hugging Face Hub; offline what was fetched.

    Raises:
        VerydeepError: there is no such repository, we may not read it, or there is no network and nothing in the cache.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only those who ask for the Hub wait for it
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError  # noqa: PLC0415

    name = f"hf-hub:{repository}"
    if not REPOSITORY.fullmatch(repository):
        raise VerydeepError(f"{name} is no repository: write hf-hub:OWNER/NAME.")
    try:
        wanted = ["config.json", "model.safetensors", "classifier/*"]
        return Path(snapshot_download(repository, cache_dir=cache_folder() / "hub", allow_patterns=wanted))
    except (HFValidationError, RepositoryNotFoundError):
        raise VerydeepError(
            f"{name} is no repository that the Hub shows us: write hf-hub:OWNER/NAME, and log in where it is private."
        ) from None
    except Exception as error:  # the library lets those of its network library through, too
        raise VerydeepError(
            f"{name} cannot be fetched ({first_line(error)}): try again with a network; fetched once it works without."
        ) from None
