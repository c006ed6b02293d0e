"""A real server on a free port, with handlers that keep what they were told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
import uvloop

from syncbridge.net.handler import SocketHandler, Upgrade
from syncbridge.net.options import ServerOptions, TlsFiles
from syncbridge.net.outlet import Outlet
from syncbridge.net.server import Server
from tests.wire.rawclient import TIMEOUT_S, RawClient

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


class Recorder:
    """A handler that echoes every message and keeps what happened."""

    def __init__(self, upgrade: Upgrade) -> None:
        self.upgrade = upgrade
        self.texts: list[bytes] = []
        self.closes: list[tuple[int | None, str]] = []
        self.drained_count = 0
        self.heard_count = 0
        self.is_echo = True
        self.outlet: Outlet | None = None
        self.closed = asyncio.Event()

    def on_open(self, outlet: Outlet) -> None:
        assert self.outlet is None
        self.outlet = outlet

    def on_text(self, frame: bytes) -> None:
        assert not self.closes
        self.texts.append(frame)
        if self.is_echo and self.outlet is not None:
            self.outlet.send(frame)

    def on_heard(self) -> None:
        self.heard_count += 1

    def on_drained(self) -> None:
        self.drained_count += 1

    def on_close(self, code: int | None, reason: str) -> None:
        self.closes.append((code, reason))
        self.closed.set()


class Served:
    """A running server and every handler that it made."""

    def __init__(self) -> None:
        self.server: Server
        self.recorders: list[Recorder] = []
        self.release = asyncio.Event()

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def last(self) -> Recorder:
        return self.recorders[-1]

    def make_handler(self, upgrade: Upgrade) -> SocketHandler:
        recorder = Recorder(upgrade)
        self.recorders.append(recorder)
        return recorder

    async def assert_alive(self) -> None:
        """A new client is served."""
        async with await RawClient.upgraded(self.port) as probe:
            assert await probe.echo("probe") == "probe"


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """`condition` holds; fails when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # whatever a test looks at has no event of its own
            await asyncio.sleep(0.002)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``await serve(option=value, ...)`` starts a server; it is stopped after the test."""
    running: list[Served] = []

    async def start(**options: object) -> Served:
        served = Served()

        async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            """Answers with the path; ``/slow`` waits for `served.release`; ``/late`` has said its head before.

            ``/long`` answers with 4 MiB.
            """
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            assert scope["type"] == "http"
            size = 0
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return
                size += len(message["body"])
                if not message["more_body"]:
                    break
            if scope["path"] == "/slow":
                await served.release.wait()
            body = json.dumps({"path": scope["path"], "size": size}).encode()
            if scope["path"] == "/long":
                body += b" " * (4 * 1024 * 1024)
            length = (b"content-length", b"%d" % len(body))
            status = 404 if scope["path"].startswith("/v1/ws") else 200
            await send({"type": "http.response.start", "status": status, "headers": [length], "trailers": False})
            if scope["path"] == "/late":
                await served.release.wait()
            await send({"type": "http.response.body", "body": body, "more_body": False})

        served.server = Server(app, served.make_handler, ServerOptions(**{"port": 0, **options}))  # type: ignore[arg-type]  # rows of a table
        await served.server.start()
        running.append(served)
        return served

    yield start
    for served in running:
        served.release.set()
        await served.server.stop()


class Certificate:
    """A certificate for 127.0.0.1 by a fresh authority, as files and as the client's trust."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.files = TlsFiles(folder / "certificate.pem", folder / "key.pem")
        self.renew()
        self.trust = ssl.create_default_context()
        self.authority.configure_trust(self.trust)

    def renew(self) -> None:
        """The files hold a new certificate of the same authority."""
        issued = self.authority.issue_cert("127.0.0.1")
        assert self.files.keyfile is not None
        issued.private_key_pem.write_to_path(self.files.keyfile)
        issued.cert_chain_pems[0].write_to_path(self.files.certfile)


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)
