"""The server of the page: on this machine alone, without any request to another one."""

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from verydeep.errors import OptionError, ResourceError, require_extra

HOST = "127.0.0.1"

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'self'"
"""What a browser may load: from this server alone, whatever the page asks for."""

GOODBYE_SECONDS = 2
"""Time in which open connections may end."""


@contextmanager
def private_gradio() -> Iterator[None]:
    """Make gradio keep uploads in a temporary folder, which is deleted at the end, and send nothing to anyone.

    Raises:
        ResourceError: gradio is missing.
    """
    folder = Path(tempfile.mkdtemp(prefix="verydeep-demo-"))
    settings = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": str(folder),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with require_extra("The demonstration", "gradio", "demo"):
            import gradio  # noqa: F401, PLC0415 - reads the settings
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_port(port: int) -> Iterator[socket.socket]:
    """Open a port of this machine; 0 is a free one.

    Raises:
        OptionError: the port is in use, or may not be used.
    """
    with socket.socket() as listening:
        if os.name == "posix":  # elsewhere two servers could share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            reason = error.strerror or error
            raise OptionError(f"`port={port}` cannot be used ({reason}): choose another one, or 0.", "port") from None
        yield listening


@contextmanager
def serve(page: Any, listening: socket.socket, max_bytes: int, style: str, head: str) -> Iterator[str]:
    """Serve a page of gradio in a thread; yield its address.

    Args:
        page: ``gr.Blocks``
        listening: the open port.
        max_bytes: of an uploaded file.
        style: CSS of the page.
        head: HTML for the head of the page.

    Raises:
        ResourceError: the server does not start.
    """
    import gradio  # noqa: PLC0415
    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415

    port = listening.getsockname()[1]
    theme = gradio.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
    app = gradio.mount_gradio_app(
        FastAPI(openapi_url=None), page, "/", HOST, port, footer_links=[], run_history=False,
        max_file_size=max_bytes, show_error=False, ssr_mode=False, enable_monitoring=False, pwa=False,
        mcp_server=False, theme=theme, css=style, head=head,
    )  # fmt: skip
    config = uvicorn.Config(
        guard(app, port), log_level="error", timeout_graceful_shutdown=GOODBYE_SECONDS, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        if not server.started:
            raise ResourceError("The server of the page has not started: update gradio, uvicorn and fastapi.")
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join(2 * GOODBYE_SECONDS)


Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Any], Callable[[Message], Any]], Any]


def guard(app: App, port: int) -> App:
    """Return a server that answers requests to this machine's own names alone, and forbids pages to load from others.

    Another site that gives its own name the address 127.0.0.1 could read photographs otherwise.
    """
    names = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def respond(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        if scope["type"] == "http" and dict(scope["headers"]).get(b"host") not in names:
            await send({"type": "http.response.start", "status": 421, "headers": []})
            await send({"type": "http.response.body", "body": b"This page is at 127.0.0.1 alone."})
            return
        await app(scope, receive, send_with_policy)

    return respond


def wait_for_end() -> None:
    """Wait for Ctrl-C, or in a process of the command line for SIGTERM."""
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
