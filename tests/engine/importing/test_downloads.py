"""Published files from a server on this machine: resumed, checked, kept."""

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from verydeep.configs.published_nets import PUBLISHED, PublishedNet
from verydeep.engine.importing.downloads import fetch, fetch_from_hub, weights_folder
from verydeep.errors import VerydeepError

CONTENT = bytes(range(256)) * 5000


@dataclass
class Server:
    """A server of CONTENT, and its settings."""

    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None
    """Bytes after which it hangs up."""
    status: int = 200
    requests: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    address: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    settings = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers["Range"]
            settings.requests.append(header)
            if settings.status != 200:
                self.send_error(settings.status)
                return
            first = int(header.removeprefix("bytes=").rstrip("-")) if header and settings.ranges else 0
            if first and first >= len(settings.content):
                self.send_error(416)
                return
            rest = settings.content[first:]
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest if settings.cut_after is None else rest[: settings.cut_after])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        settings.address = f"http://127.0.0.1:{web.server_address[1]}/some.weights"
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield settings
        web.shutdown()
        thread.join()


@pytest.fixture
def net(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedNet:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    return replace(PUBLISHED["torchvision-vgg16"], url=server.address, digest=f"sha256:{digest[:8]}")


def test_a_file_is_fetched_once(server: Server, net: PublishedNet) -> None:
    path = fetch(net)
    assert path == weights_folder() / "some.weights" and path.read_bytes() == CONTENT
    assert fetch(net) == path
    assert server.requests == [None]
    assert {file.name for file in weights_folder().iterdir()} == {"some.weights", "some.weights.lock"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke(server: Server, net: PublishedNet, ranges: bool) -> None:
    """Or begins anew where the server cannot do parts."""
    server.cut_after, server.ranges = 300_000, ranges
    with pytest.raises(VerydeepError, match=r"cannot be downloaded .*\(0 MB so far\)"):
        fetch(net)
    kept = (weights_folder() / "some.weights.part").stat().st_size
    assert kept == 300_000
    server.cut_after = None
    assert fetch(net).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


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
