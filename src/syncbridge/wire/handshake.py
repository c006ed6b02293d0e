"""The opening handshake as one pure decision: a request's head in, an acceptance or a refusal out.

The rules are RFC 6455 section 4.2.1 read strictly, and three of our own:

- the socket's address takes no query, because a token there ends up in every log on the way;
- a browser's `Origin` must be on the list; an app that is no browser sends none and is let in;
- the subprotocol is spoken in any case, and named in the answer when it was offered.

A refusal is a status and fixed sentences. Nothing that the peer sent comes back to it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.errors import OriginForbidden

USER_AGENT_CHARS_MAX: Final = 200

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_HOST = re.compile(rb"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """One request's line and headers; `headers` are (lower-case name, value) in the order they came."""

    method: bytes
    target: bytes
    version: str
    headers: Sequence[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order, without the white space around it."""
        return [value.strip(b" \t") for key, value in self.headers if key == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """The comma-separated tokens of all headers of that name, in order (RFC 9110 section 5.6.1)."""
        return [token for value in self.values(name) for part in value.split(b",") if (token := part.strip(b" \t"))]


@dataclass(frozen=True, slots=True)
class HandshakeRules:
    """`allowed_origins` are whole origins as a browser sends them, lower case: ``https://app.example.com``."""

    path: bytes
    allowed_origins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered and ended: `code` for a program, `sentence` for a person."""

    status: HTTPStatus
    code: str
    sentence: str
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self) -> bytes:
        """The whole HTTP response: problem details (RFC 9457), and the connection ends after it."""
        body = json.dumps(
            {
                "type": f"urn:syncbridge:error:{self.code}",
                "title": self.status.phrase,
                "status": self.status.value,
                "code": self.code,
                "detail": self.sentence,
            }
        ).encode()
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "content-type: application/problem+json",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
            "",
            "",
        ]
        return "\r\n".join(lines).encode("ascii") + body


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the answer and the layers above need of an accepted request; `key` is the peer's nonce, base64."""

    key: bytes
    subprotocol: str | None
    origin: str | None
    user_agent: str


def _bad(sentence: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_handshake", sentence)


MALFORMED: Final = _bad("The request is not valid HTTP/1.1.")
NOT_GET: Final = _bad("A socket is opened with GET and HTTP/1.1.")
HAS_BODY: Final = _bad("A request that opens a socket has no body.")
BAD_HOST: Final = _bad("Exactly one Host header is needed.")
BAD_UPGRADE: Final = _bad("Connection: Upgrade and Upgrade: websocket belong together.")
BAD_KEY: Final = _bad("Exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed.")
NO_VERSION: Final = _bad("Exactly one Sec-WebSocket-Version is needed.")
HAS_QUERY: Final = _bad("The address of the socket takes no query; the token goes into the first message.")
HEAD_TOO_LARGE: Final = _bad("The head of the request is too large.")
UPGRADE_REQUIRED: Final = Refusal(
    HTTPStatus.UPGRADE_REQUIRED,
    "upgrade_required",
    "This address speaks WebSocket, version 13.",
    (("upgrade", "websocket"), ("sec-websocket-version", "13")),
)
ORIGIN_FORBIDDEN: Final = Refusal(HTTPStatus.FORBIDDEN, OriginForbidden.code, OriginForbidden.meaning)
BUSY: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "The node is at its limit; reconnect later.", (("retry-after", "1"),)
)
RESTARTING: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "restarting", "The node restarts; reconnect and resume.", (("retry-after", "1"),)
)
INTERNAL: Final = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "An error of ours; it is logged.")


def path_of(target: bytes) -> bytes:
    """A request's target without its query, byte for byte: nothing is decoded, so an address has one spelling."""
    return target.partition(b"?")[0]


def decide(head: RequestHead, rules: HandshakeRules) -> Acceptance | Refusal:
    """The answer to a request for the socket's address.

    Order    the form of the request first, then its version, then who asks: a foreign page learns nothing more.
    Danger   `head.headers` must come from a strict HTTP parser: bare LF, NUL and folded lines are refused there.
    """
    return _fault_of(head) or _accept(head, rules)


def _fault_of(head: RequestHead) -> Refusal | None:
    upgrade = [token.lower() for token in head.tokens(b"upgrade")]
    connection = [token.lower() for token in head.tokens(b"connection")]
    hosts = head.values(b"host")
    lengths = head.values(b"content-length")
    versions = head.values(b"sec-websocket-version")
    if head.method != b"GET" or head.version != "1.1":
        return NOT_GET
    if head.values(b"transfer-encoding") or (lengths and lengths != [b"0"]):
        return HAS_BODY
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return BAD_HOST
    if b"?" in head.target:
        return HAS_QUERY
    if not upgrade and b"upgrade" not in connection:
        return UPGRADE_REQUIRED
    if b"websocket" not in upgrade or b"upgrade" not in connection:
        return BAD_UPGRADE
    if len(versions) != 1:
        return NO_VERSION
    if versions[0] != b"13":
        return UPGRADE_REQUIRED
    return None


def _accept(head: RequestHead, rules: HandshakeRules) -> Acceptance | Refusal:
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_nonce(keys[0]):
        return BAD_KEY
    origins = head.values(b"origin")
    origin = origins[0].decode("latin-1").lower() if origins else None
    # "null" is what a sandboxed frame or a file sends: no origin at all, so never one on the list.
    if len(origins) > 1 or origin == "null" or (origin is not None and origin not in rules.allowed_origins):
        return ORIGIN_FORBIDDEN
    agents = head.values(b"user-agent")
    return Acceptance(
        key=keys[0],
        subprotocol=SUBPROTOCOL if SUBPROTOCOL.encode() in head.tokens(b"sec-websocket-protocol") else None,
        origin=origin,
        user_agent=printable(agents[0])[:USER_AGENT_CHARS_MAX] if agents else "",
    )


def _is_nonce(key: bytes) -> bool:
    if not _KEY.fullmatch(key):
        return False
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def printable(value: bytes) -> str:
    """ASCII that can go into a log line: whatever else was sent shows as a question mark."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in value)


def canonical_request(path: bytes, key: bytes) -> bytes:
    """The head that is replayed to the frame layer for an accepted request.

    It is written anew and not copied: the frame layer then sees exactly what was judged, in the one form that it
    takes (it refuses Firefox's ``Connection: keep-alive, Upgrade``), and keeps no stranger's headers in memory.
    """
    return (
        b"GET %b HTTP/1.1\r\nHost: socket\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % (path, key)
    )


def client_address(peer: str, forwarded_for: Iterable[bytes], trusted_proxies: frozenset[str]) -> str:
    """The address that a limit or a log line is about.

    The peer's own, unless it is a trusted proxy: then the last hop of ``X-Forwarded-For`` that is not one. What
    stands before that hop was written by the client and means nothing.
    """
    if peer not in trusted_proxies:
        return peer
    hops = [hop.strip().decode("latin-1") for value in forwarded_for for hop in value.split(b",")]
    for hop in reversed(hops):
        if hop not in trusted_proxies:
            return printable(hop.encode("latin-1"))[:64] if hop else peer
    return peer
