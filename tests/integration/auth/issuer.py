"""An issuer outside, on a port of its own: serves its key set as it is told to, and signs tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Way = Literal["keys", "redirect", "slow", "dribble", "huge", "nonsense", "empty", "error", "compressed"]
AUDIENCE = "syncbridge"

RSA_KEY = rsa.generate_private_key(65537, 2048)
"""Made once: it takes a good part of a second."""


class Server(ThreadingHTTPServer):
    """A local HTTP server that counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.way: Way = "keys"
        self.body = b"{}"
        self.elsewhere = ""
        self.is_over = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    statuses: ClassVar[dict[str, int]] = {"redirect": 302, "error": 500}

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.path)
        if server.way == "slow":
            server.is_over.wait(10)
        body = {"huge": b" " * 300_000 + server.body, "nonsense": b"{nonsense", "empty": b'{"keys": []}'}.get(
            server.way, server.body
        )
        self.send_response(self.statuses.get(server.way, 200))
        if server.way == "redirect":
            self.send_header("Location", server.elsewhere)
        if server.way == "compressed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if server.way == "dribble":
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    if server.is_over.wait(0.05):
                        return
            else:
                self.wfile.write(body)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        return


@contextmanager
def serving() -> Iterator[Server]:
    """A server that answers until the block is left."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class OutsideIssuer:
    """Signs tokens with keys that it publishes through the server."""

    name = "https://issuer.example"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys: dict[str, tuple[str, Any]] = {
            "rs": ("RS256", RSA_KEY),
            "es": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }
        self.publish()

    def publish(self) -> None:
        """What the server answers is this issuer's public keys."""
        rows = [public_jwk(key) | {"kid": kid, "use": "sig", "alg": name} for kid, (name, key) in self.keys.items()]
        self.server.body = json.dumps({"keys": rows}).encode()

    def token(self, now_ms: int, kid: str = "rs", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token; ``...`` leaves a claim out."""
        algorithm, key = self.keys[kid]
        payload = {
            "iss": self.name,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now_ms // 1000,
            "exp": now_ms // 1000 + 600,
            "jti": "one",
        } | claims
        payload = {name: value for name, value in payload.items() if value is not ...}
        # Not by `jwt.encode`, which refuses some of what a bad issuer would write.
        return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm, {"kid": kid} | (header or {}))


def public_jwk(key: Any) -> dict[str, Any]:
    """The public half as a JWK."""
    public = key.public_key()
    family: Any = (
        RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else ECAlgorithm
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else OKPAlgorithm
    )
    return dict(family.to_jwk(public, as_dict=True))
