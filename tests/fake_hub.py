"""The Hugging Face Hub in a thread of this process, as far as uploads need it.

After the Hub's own interface: repositories are created, a card's head is validated, files are uploaded by Git LFS or
within the commit, and one commit makes them visible.
"""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_" + "a" * 34


@dataclass
class FakeHub:
    """Contents and settings of the server."""

    address: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    """By repository."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> path -> committed content."""
    failing: dict[str, int] = field(default_factory=dict)
    """Part of a request's path -> status of the answer."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Contents in LFS, by SHA-256."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content of the answer."""
        for part, status in self.failing.items():
            if part in path:
                return status, {"error": "as the test wants it"}
        if path.startswith("/storage/"):
            return self.store(path.removeprefix("/storage/"), body)
        if path.endswith("/commit/main"):
            return self.commit(path.removeprefix("/api/models/").removesuffix("/commit/main"), body)
        values = json.loads(body or b"{}")
        if path == "/api/repos/create":
            return self.create(f"{values['organization']}/{values['name']}", values)
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            modes = [{"path": each["path"], "uploadMode": mode_of(each["path"]), "shouldIgnore": False, "oid": None}
                     for each in values["files"]]  # fmt: skip
            return 200, {"files": modes}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self.upload_action(each) for each in values["objects"]]}
        name = path.removeprefix("/api/models/")
        if method == "GET" and name in self.private:
            return 200, {"id": name, "private": self.private[name], "sha": "0" * 40, "siblings": []}
        return 404, {"error": "not found"}

    def create(self, name: str, values: dict[str, Any]) -> tuple[int, Any]:
        assert values.get("type", "model") == "model"
        url = {"url": f"{self.address}/{name}", "name": name}
        if name in self.private:
            return 409, {"error": "You already created this model repo", **url}
        self.private[name] = values.get("visibility") == "private" or bool(values.get("private"))
        return 200, url

    def upload_action(self, values: dict[str, Any]) -> dict[str, Any]:
        """Where LFS wants one object."""
        place = {"href": f"{self.address}/storage/{values['oid']}", "header": {}}
        return {"oid": values["oid"], "size": values["size"], "actions": {"upload": place}}

    def store(self, digest: str, body: bytes) -> tuple[int, Any]:
        if hashlib.sha256(body).hexdigest() != digest:
            return 422, {"error": "the digest does not agree"}
        self.stored[digest] = body
        return 200, {}

    def commit(self, name: str, body: bytes) -> tuple[int, Any]:
        files = {}
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
                assert len(files[value["path"]]) == value["size"]
        self.files.setdefault(name, {}).update(files)
        commit = {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.address}/{name}/commit/1"}
        return 200, {**commit, "hookOutput": ""}


def mode_of(path: str) -> str:
    """How the Hub wants a file."""
    return "lfs" if path.endswith(".safetensors") else "regular"


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A Hub on the loopback address that knows one token."""
    hub = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = read_body(self)
            hub.requests.append(f"{self.command} {self.path}")
            knows = self.headers["Authorization"] == f"Bearer {TOKEN}" or self.path.startswith("/storage/")
            status, answer = hub.answer(self.command, self.path, body) if knows else (401, {"error": "who are you?"})
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = respond

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


def read_body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    """Of a length that was announced, or in chunks."""
    if handler.headers["Transfer-Encoding"] == "chunked":
        parts = []
        while size := int(handler.rfile.readline(), 16):
            parts.append(handler.rfile.read(size))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(parts)
    return handler.rfile.read(int(handler.headers["Content-Length"] or 0))
