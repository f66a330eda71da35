"""Published files from a server on this machine: resumed, checked, kept."""

import hashlib
import http.server
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from verydeep.configs.published_nets import PUBLISHED, PublishedNet
from verydeep.engine.importing import downloads
from verydeep.engine.importing.downloads import fetch, fetch_from_hub, weights_folder
from verydeep.errors import ResourceError, VerydeepError

CONTENT = bytes(range(256)) * 5000
RECORD = "some.weights.sha256"


@dataclass
class Server:
    """A server of CONTENT, and its settings."""

    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None
    """Bytes after which it hangs up."""
    cuts: list[int] = field(default_factory=list)
    """The same for the next requests alone."""
    stalls: int = 0
    """Requests that it leaves without an end."""
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    """The same for the next requests alone."""
    retry_after: str = ""
    shift: int = 0
    """Bytes by which a rest begins elsewhere than was asked for."""
    length: int | None = None
    """The length that it announces; None: the true one."""
    redirect: str = ""
    requests: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    address: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    settings = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers["Range"]
            settings.requests.append(header)
            if settings.redirect and self.path != settings.redirect:
                self.send_response(302)
                self.send_header("Location", settings.redirect)
                self.end_headers()
                return
            if (status := settings.statuses.pop(0) if settings.statuses else settings.status) != 200:
                self.send_response(status)
                self.send_header("Retry-After", settings.retry_after)
                self.end_headers()
                return
            first = int(header.removeprefix("bytes=").rstrip("-")) if header and settings.ranges else 0
            if first and first >= len(settings.content):
                self.send_error(416)
                return
            start = first + settings.shift if first else 0
            rest = settings.content[start:]
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {start}-{len(settings.content) - 1}/{len(settings.content)}")
            self.send_header("Content-Length", str(len(rest) if settings.length is None else settings.length))
            self.end_headers()
            self.wfile.write(rest[: settings.cuts.pop(0) if settings.cuts else settings.cut_after])
            if settings.stalls:
                settings.stalls -= 1
                settings.released.wait()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        settings.address = f"http://127.0.0.1:{web.server_address[1]}/some.weights"
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield settings
        settings.released.set()
        web.shutdown()
        thread.join()


@pytest.fixture
def net(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedNet:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSES", (0, 0, 0))  # 26 seconds otherwise
    digest = hashlib.sha256(CONTENT).hexdigest()
    return replace(PUBLISHED["torchvision-vgg16"], url=server.address, digest=f"sha256:{digest[:8]}")


def test_a_file_is_fetched_once(server: Server, net: PublishedNet) -> None:
    path = fetch(net)
    assert path == weights_folder() / "some.weights" and path.read_bytes() == CONTENT
    assert fetch(net) == path
    assert server.requests == [None]
    assert {file.name for file in weights_folder().iterdir()} == {"some.weights", "some.weights.lock", RECORD}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_eight_processes_fetch_one_file(server: Server, net: PublishedNet) -> None:
    """One downloads; the others find its file, or say that it does."""
    children = []
    for _ in range(8):
        if (child := os.fork()) == 0:
            code = 1
            try:
                code = 0 if fetch(net).read_bytes() == CONTENT else 1
            except ResourceError:
                code = 2
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 2} and 0 in codes
    assert server.requests == [None]
    assert {file.name for file in weights_folder().iterdir()} == {"some.weights", "some.weights.lock", RECORD}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke(server: Server, net: PublishedNet, ranges: bool) -> None:
    """Or begins anew where the server cannot do parts; at once, or at the next call."""
    server.cuts, server.ranges = [300_000], ranges
    assert fetch(net).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]
    (weights_folder() / "some.weights").rename(weights_folder() / "some.weights.part")
    with (weights_folder() / "some.weights.part").open("r+b") as file:
        file.truncate(12_345)
    assert fetch(net).read_bytes() == CONTENT
    assert server.requests[2:] == ["bytes=12345-"]


def test_tries_have_a_limit_unless_they_bring_bytes(server: Server, net: PublishedNet) -> None:
    server.cuts = [100_000] * 10
    assert fetch(net).read_bytes() == CONTENT
    assert len(server.requests) == 11
    (weights_folder() / "some.weights").unlink()
    server.cut_after, server.requests = 0, []
    with pytest.raises(VerydeepError, match=r"cannot be downloaded .*the connection broke"):
        fetch(net)
    assert len(server.requests) == 4


def test_a_stalled_download_goes_on(server: Server, net: PublishedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.3)  # half a minute otherwise
    server.cuts, server.stalls = [200_000], 1
    assert fetch(net).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=200000-"]


@pytest.mark.parametrize("statuses", [[429, 503, 500], [502], [408]])
def test_a_busy_server_is_asked_again(server: Server, net: PublishedNet, statuses: list[int]) -> None:
    server.statuses, server.retry_after = list(statuses), "0"
    assert fetch(net).read_bytes() == CONTENT
    assert len(server.requests) == len(statuses) + 1


def test_a_server_names_the_pause(
    server: Server, net: PublishedNet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("verydeep"), "propagate", True)  # to caplog
    server.statuses, server.retry_after = [429], "1"
    with caplog.at_level("INFO", "verydeep"):
        fetch(net)
    assert "429 Too Many Requests; trying again in 1 s" in caplog.text
    (weights_folder() / "some.weights").unlink()
    server.statuses, server.retry_after, server.requests = [429] * 9, "86400", []
    with pytest.raises(VerydeepError, match="429 Too Many Requests"):
        fetch(net)
    assert len(server.requests) == 1


def test_a_server_that_lies_gives_no_wrong_file(server: Server, net: PublishedNet) -> None:
    """About the length, too short and too long; about where a rest begins."""
    server.length = 1000
    with pytest.raises(VerydeepError, match="is not the published file"):
        fetch(net)
    server.length = len(CONTENT) + 1000  # the rest is asked for, and there is none
    assert fetch(net).read_bytes() == CONTENT
    (weights_folder() / "some.weights").unlink()
    server.length, server.cuts, server.shift = None, [300_000], 10
    assert fetch(net).read_bytes() == CONTENT


def test_a_download_without_end_is_left(server: Server, tmp_path: Path) -> None:
    server.content = bytes(9_000_000)
    downloads.download(server.address, tmp_path / "file", "it", largest=1_500_000)
    assert 1_500_000 < (tmp_path / "file").stat().st_size < 4_000_000


def test_the_rest_of_another_file_is_not_joined(server: Server, net: PublishedNet) -> None:
    """The file at the address has changed since the first part was downloaded: all of it is downloaded again."""
    partial = weights_folder() / "some.weights.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"another" * 1000)
    assert fetch(net).read_bytes() == CONTENT
    assert server.requests == ["bytes=7000-", None]


def test_redirections_are_followed_within_the_web(server: Server, net: PublishedNet) -> None:
    server.redirect = "/elsewhere.weights"
    assert fetch(net).read_bytes() == CONTENT
    (weights_folder() / "some.weights").unlink()
    server.redirect = Path(__file__).as_uri()
    with pytest.raises(VerydeepError, match="cannot be downloaded"):
        fetch(net)


def test_a_file_that_changes_after_it_was_accepted_is_refused(
    server: Server, net: PublishedNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight digits of a digest can be forged: here by a net that publishes none."""
    forged = replace(net, digest="sha256:")
    path = fetch(forged)
    record = path.with_name(RECORD)
    assert record.read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(VerydeepError, match=r"is another file than the one that was accepted first") as raised:
        fetch(forged)
    assert str(path) in str(raised.value) and RECORD in str(raised.value)
    path.unlink()
    server.content = CONTENT[1:]
    with pytest.raises(VerydeepError, match="is another file than the one that was accepted first"):
        fetch(forged)
    assert not path.exists()
    record.unlink()
    assert fetch(forged).read_bytes() == CONTENT[1:]


def test_a_download_that_ended_unnoticed_is_complete(server: Server, net: PublishedNet) -> None:
    """Killed between the last byte and the renaming."""
    partial = weights_folder() / "some.weights.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    assert fetch(net).read_bytes() == CONTENT
    assert not partial.exists()


def test_another_file_is_refused(server: Server, net: PublishedNet) -> None:
    """From the server, where it is not kept, and put there by hand, where it is."""
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(VerydeepError, match="is not the published file of torchvision-vgg16"):
        fetch(net)
    assert {file.name for file in weights_folder().iterdir()} == {"some.weights.lock"}
    mine = weights_folder() / "some.weights"
    mine.write_bytes(b"something else")
    with pytest.raises(VerydeepError, match="is not the published file") as raised:
        fetch(net)
    assert str(mine) in str(raised.value) and mine.read_bytes() == b"something else"


def test_without_a_network_the_place_for_the_file_is_reported(net: PublishedNet) -> None:
    away = replace(net, url="http://127.0.0.1:9/some.weights")
    with pytest.raises(VerydeepError, match="refused") as raised:
        fetch(away)
    assert f"put the file some.weights (553 MB) into {weights_folder()}" in str(raised.value)
    (weights_folder() / "some.weights").write_bytes(CONTENT)
    assert fetch(away).read_bytes() == CONTENT


def test_one_process_downloads_at_a_time(net: PublishedNet) -> None:
    script = f"""
import sys
from pathlib import Path
from verydeep.files import try_lock
with try_lock(Path({str(weights_folder() / "some.weights.lock")!r})) as free:
    print(free, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None and other.stdout.readline() == b"True\n"
        with pytest.raises(VerydeepError, match="Another process is downloading torchvision-vgg16"):
            fetch(net)
        other.stdin.close()
    assert fetch(net).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_reported(server: Server, net: PublishedNet, status: int) -> None:
    server.status = status
    with pytest.raises(VerydeepError, match="cannot be downloaded"):
        fetch(net)


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("no-owner/and/more", "write hf-hub:OWNER/NAME"),
        ("owner/name", "cannot be downloaded .*with an internet connection"),
    ],
)
def test_a_repository_that_cannot_be_found_is_reported(
    repository: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # read from the environment at import
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path))
    with pytest.raises(VerydeepError, match=message):
        fetch_from_hub(repository)
