"""Downloads of published weight files into the cache: tried again, resumed after a broken connection, and checked.

The standard library's HTTP is enough. pooch, the usual helper, neither resumes nor checks a digest of which only the
beginning is published, such as torchvision's. As eight hexadecimal digits can be forged, the SHA-256 of the file that
was accepted first is kept next to it, and compared later.
"""

import http.client
import io
import os
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

from verydeep.configs.published_nets import REPOSITORY, PublishedNet
from verydeep.disk import check_room, explain_write
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.importing.conversion import hash_file
from verydeep.engine.launching import in_group
from verydeep.engine.log import Log
from verydeep.engine.progress import download_bar
from verydeep.errors import ResourceError, WeightsError
from verydeep.files import atomic_write_text, try_lock

BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
PAUSES = (1, 5, 20)
"""Seconds before each further try, unless the server names a longer time."""
LONGEST_PAUSE = 120
"""Seconds that a server may ask to wait."""
BUSY = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
"""Answers after which a request may succeed, apart from errors of the server (5xx)."""
FAILURES = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
RECORD = ".sha256"
"""Ending of the name of the file with the SHA-256 of what was accepted first."""


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
        record_digest(path, check_digest(path, net))
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
    if partial.is_symlink():
        partial.unlink()
    was_begun = partial.exists()
    try:
        try_download(net, partial)
    except FAILURES as error:
        so_far = f" ({partial.stat().st_size / 1e6:,.0f} MB so far)" if partial.exists() else ""
        raise ResourceError(
            f"{net.name} cannot be downloaded from {net.url} ({describe_failure(error)}){so_far}: try again, or put "
            f"the file {net.file} ({net.megabytes} MB) into {path.parent}."
        ) from None
    try:
        record_digest(path, check_digest(partial, net))
    except WeightsError as error:
        partial.unlink()
        if was_begun:  # perhaps of another file than the rest
            fetch_rest(partial, path, net)
            return
        raise WeightsError(f"The file from {net.url} is not usable and was deleted: {error}") from None
    partial.replace(path)


def try_download(net: PublishedNet, path: Path) -> None:
    """Download the missing bytes of a published net; after a failure that may pass, go on where it broke.

    Tries that bring bytes do not count, so that a bad connection suffices for a large file.

    Raises:
        OSError: as ``download`` raises it in the last try.
        HTTPException: so, too.
    """
    pauses = iter(PAUSES)
    while True:
        before = path.stat().st_size if path.exists() else 0
        try:
            download(net.url, path, net.name, largest=2 * 10**6 * net.megabytes)
            return
        except FAILURES as error:
            if path.exists() and path.stat().st_size > before:
                pauses = iter(PAUSES)
            if not may_pass(error) or (pause := next(pauses, None)) is None:
                raise
            seconds = max(pause, requested_pause(error))
            Log().info(f"{net.name}: {describe_failure(error)}; trying again in {seconds:g} s.")
            time.sleep(seconds)


def may_pass(error: Exception) -> bool:
    """Whether another try may succeed: not after a refusal, or where nothing answers at all."""
    if isinstance(error, urllib.error.HTTPError):
        return (error.code in BUSY or error.code >= 500) and requested_pause(error) <= LONGEST_PAUSE
    return not isinstance(error, urllib.error.URLError) or isinstance(error.reason, TimeoutError | ConnectionResetError)


def requested_pause(error: Exception) -> float:
    """Return the seconds that a server asks to wait; 0 if it does not, or gives a date."""
    seconds = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
    return float(seconds) if seconds.isdecimal() and len(seconds) < 9 else 0.0


def describe_failure(error: Exception) -> str:
    """Return the reason of a failure in a few words."""
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__


class _KeepHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from https to http, where anybody could answer."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https:" if req.type == "https" else ("https:", "http:")):
            raise urllib.error.URLError(f"redirected to {newurl:.200}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, path: Path, name: str, largest: int) -> None:
    """Append the missing bytes of the file at ``url`` to ``path``; start over if the server cannot send parts.

    Args:
        url: http or https.
        path: of the file, which need not exist.
        name: for the progress bar.
        largest: bytes at which the file is another one.

    Raises:
        OSError: the server cannot be reached or refuses (URLError), or the connection breaks; the bytes so far remain.
        HTTPException: the connection ended too early; the bytes so far remain.
        ResourceError: the disk has no room.
    """
    num_bytes = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={num_bytes}-"} if num_bytes else {})
    try:
        response = urllib.request.build_opener(_KeepHttps).open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file is complete
            return
        raise
    with response:
        is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {num_bytes}-")
        if response.status == http.client.PARTIAL_CONTENT and not is_rest:
            path.unlink(missing_ok=True)
            raise http.client.HTTPException("the server sent another part of the file")
        if response.status != http.client.PARTIAL_CONTENT:
            num_bytes = 0
        length = response.length
        total = None if length is None else min(num_bytes + length, largest)
        check_room(path, 0 if total is None else total - num_bytes)
        with explain_write(path):
            file = path.open("r+b" if num_bytes else "wb", buffering=0)
        with file, download_bar() as progress:
            file.seek(0, os.SEEK_END)
            task = progress.add_task(f"Downloading {name}", total=total, completed=num_bytes)
            while file.tell() <= largest and (block := response.read1(BLOCK_BYTES)):
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


def check_digest(path: Path, net: PublishedNet) -> str:
    """Return the SHA-256 of a file; refuse one that is not the published one.

    Raises:
        WeightsError: its published digest differs.
    """
    algorithm, _, beginning = net.digest.partition(":")
    found = hash_file(path)
    if not found[algorithm].startswith(beginning):
        raise WeightsError(
            f"{path} is not the published file of {net.name} ({algorithm} {found[algorithm][:16]}..., not "
            f"{beginning[:16]}...): remove it, and download {net.url} again."
        )
    return found["sha256"]


def record_digest(path: Path, sha256: str) -> None:
    """Keep the SHA-256 of a file that is accepted for the first time; later refuse another one.

    Raises:
        WeightsError: it differs from that of the file which was accepted first.
    """
    record = path.with_name(path.name + RECORD)
    first = record.read_text("ascii", errors="replace").strip() if record.exists() else ""
    if not first:
        with suppress(ResourceError), atomic_write_text(record) as file:  # a check more, which may be missing
            file.write(f"{sha256}\n")
    elif first != sha256:
        raise WeightsError(
            f"{path} is another file than the one that was accepted first (sha256 {sha256[:16]}..., not {first[:16]}"
            f"...): remove it; if you trust it more, remove {record.name} next to it."
        )


def check_hub_name(repository: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        WeightsError: the name is not OWNER/NAME.
    """
    if not REPOSITORY.fullmatch(repository):
        raise WeightsError(f"hf-hub:{repository} is not a repository name: write hf-hub:OWNER/NAME.")


def fetch_from_hub(repository: str) -> Path:
    """Return the folder, in the cache, of a repository of the Hugging Face Hub; offline as it was downloaded last.

    Raises:
        WeightsError: there is no such repository, or it may not be read.
        ResourceError: there is no internet connection, and no earlier download.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and needed only here
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError  # noqa: PLC0415

    check_hub_name(repository)
    name = f"hf-hub:{repository}"
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
