"""The command line as a client: a token goes to the service that was named, and nowhere else."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from syncbridge.cli.failures import Failed
from syncbridge.cli.remote import call, download

pytestmark = pytest.mark.serial


class Elsewhere(BaseHTTPRequestHandler):
    """Sends whoever asks for /v1/... on to /elsewhere, and remembers what came there."""

    came: list[str | None]

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.came.append(self.headers["Authorization"])
            self.send_response(200)
        else:
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing is said."""


@pytest.fixture
def redirecting() -> Iterator[str]:
    """The address of a peer that redirects."""
    Elsewhere.came = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_redirect_is_told_and_no_token_follows_it(redirecting: str) -> None:
    with pytest.raises(Failed, match="302"):
        download(redirecting, "/v1/me/export", token="secret", into=io.BytesIO())
    with pytest.raises(Failed, match="302"):
        call(redirecting, "POST", "/v1/auth/token", body={"password": "secret"})
    assert Elsewhere.came == []
