"""The handshake's decision, by table; no socket. tests/wire asks the same over TCP, with the parser in front."""

from __future__ import annotations

import json

import pytest

from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.errors import OriginForbidden
from syncbridge.wire import handshake
from syncbridge.wire.handshake import (
    ORIGIN_FORBIDDEN,
    USER_AGENT_CHARS_MAX,
    Acceptance,
    HandshakeRules,
    Refusal,
    RequestHead,
    canonical_request,
    client_address,
    decide,
    path_of,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ORIGIN = b"https://app.example.com"
RULES = HandshakeRules(b"/v1/ws", frozenset({ORIGIN.decode()}))
GOOD = (
    (b"host", b"example.com"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
)

Headers = tuple[tuple[bytes, bytes], ...]


def head(
    *extra: tuple[bytes, bytes],
    without: bytes = b"",
    method: bytes = b"GET",
    target: bytes = b"/v1/ws",
    version: str = "1.1",
) -> RequestHead:
    return RequestHead(method, target, version, (*(pair for pair in GOOD if pair[0] != without), *extra))


def replaced(name: bytes, value: bytes) -> RequestHead:
    return head((name, value), without=name)


REFUSED: dict[str, tuple[RequestHead, Refusal]] = {
    "post": (head(method=b"POST"), handshake.NOT_GET),
    "http/1.0": (head(version="1.0"), handshake.NOT_GET),
    "http/2.0": (head(version="2.0"), handshake.NOT_GET),
    "body": (head((b"content-length", b"1")), handshake.HAS_BODY),
    "two lengths": (head((b"content-length", b"0"), (b"content-length", b"0")), handshake.HAS_BODY),
    "chunked": (head((b"transfer-encoding", b"chunked")), handshake.HAS_BODY),
    "no host": (head(without=b"host"), handshake.BAD_HOST),
    "two hosts": (head((b"host", b"b")), handshake.BAD_HOST),
    "empty host": (replaced(b"host", b""), handshake.BAD_HOST),
    "host with a space": (replaced(b"host", b"a b"), handshake.BAD_HOST),
    "query": (head(target=b"/v1/ws?token=x"), handshake.HAS_QUERY),
    "empty query": (head(target=b"/v1/ws?"), handshake.HAS_QUERY),
    "no upgrade, no connection": (
        RequestHead(b"GET", b"/v1/ws", "1.1", ((b"host", b"a"),)),
        handshake.UPGRADE_REQUIRED,
    ),
    "no upgrade": (head(without=b"upgrade"), handshake.BAD_UPGRADE),
    "no connection": (head(without=b"connection"), handshake.BAD_UPGRADE),
    "connection: close": (replaced(b"connection", b"close"), handshake.BAD_UPGRADE),
    "upgrade: h2c": (replaced(b"upgrade", b"h2c"), handshake.BAD_UPGRADE),
    "upgrade: websockets": (replaced(b"upgrade", b"websockets"), handshake.BAD_UPGRADE),
    "no version": (head(without=b"sec-websocket-version"), handshake.NO_VERSION),
    "two versions": (head((b"sec-websocket-version", b"13")), handshake.NO_VERSION),
    "version 8": (replaced(b"sec-websocket-version", b"8"), handshake.UPGRADE_REQUIRED),
    "version 13, 8": (replaced(b"sec-websocket-version", b"13, 8"), handshake.UPGRADE_REQUIRED),
    "no key": (head(without=b"sec-websocket-key"), handshake.BAD_KEY),
    "two keys": (head((b"sec-websocket-key", KEY)), handshake.BAD_KEY),
    "empty key": (replaced(b"sec-websocket-key", b""), handshake.BAD_KEY),
    "short key": (replaced(b"sec-websocket-key", b"AAAA"), handshake.BAD_KEY),
    "key with more padding": (replaced(b"sec-websocket-key", KEY[:21] + b"==="), handshake.BAD_KEY),
    "key with a line in it": (replaced(b"sec-websocket-key", KEY + b"\n"), handshake.BAD_KEY),
    "url-safe key": (replaced(b"sec-websocket-key", b"_" * 22 + b"=="), handshake.BAD_KEY),
    "foreign origin": (head((b"origin", b"https://evil.example.com")), handshake.ORIGIN_FORBIDDEN),
    "null origin": (head((b"origin", b"null")), handshake.ORIGIN_FORBIDDEN),
    "empty origin": (head((b"origin", b"")), handshake.ORIGIN_FORBIDDEN),
    "two good origins": (head((b"origin", ORIGIN), (b"origin", ORIGIN)), handshake.ORIGIN_FORBIDDEN),
    "origin and more": (head((b"origin", ORIGIN + b".evil.com")), handshake.ORIGIN_FORBIDDEN),
    "origin of another scheme": (head((b"origin", b"http://app.example.com")), handshake.ORIGIN_FORBIDDEN),
}


@pytest.mark.parametrize(("request_head", "refusal"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_request_is_refused_by_its_own_rule(request_head: RequestHead, refusal: Refusal) -> None:
    assert decide(request_head, RULES) == refusal


def test_null_is_no_origin_even_on_the_list() -> None:
    rules = HandshakeRules(b"/v1/ws", frozenset({"null"}))
    assert decide(head((b"origin", b"null")), rules) == handshake.ORIGIN_FORBIDDEN


ACCEPTED: dict[str, tuple[RequestHead, Acceptance]] = {
    "app": (head(), Acceptance(KEY, None, None, "")),
    "browser": (head((b"origin", ORIGIN)), Acceptance(KEY, None, ORIGIN.decode(), "")),
    "origin in capitals": (head((b"origin", ORIGIN.upper())), Acceptance(KEY, None, ORIGIN.decode(), "")),
    "firefox": (replaced(b"connection", b"keep-alive, Upgrade"), Acceptance(KEY, None, None, "")),
    "connection in two headers": (
        head((b"connection", b"upgrade"), (b"connection", b"keep-alive"), without=b"connection"),
        Acceptance(KEY, None, None, ""),
    ),
    "key with white space around": (
        replaced(b"sec-websocket-key", b" " + KEY + b"\t"),
        Acceptance(KEY, None, None, ""),
    ),
    "empty body": (head((b"content-length", b"0")), Acceptance(KEY, None, None, "")),
    "our subprotocol": (
        head((b"sec-websocket-protocol", b"chat, " + SUBPROTOCOL.encode())),
        Acceptance(KEY, SUBPROTOCOL, None, ""),
    ),
    "our subprotocol in the second header": (
        head((b"sec-websocket-protocol", b"chat"), (b"sec-websocket-protocol", SUBPROTOCOL.encode())),
        Acceptance(KEY, SUBPROTOCOL, None, ""),
    ),
    "another subprotocol": (head((b"sec-websocket-protocol", b"chat")), Acceptance(KEY, None, None, "")),
    "user agent": (head((b"user-agent", b"App/1.0 (iOS)")), Acceptance(KEY, None, None, "App/1.0 (iOS)")),
    "user agent that wants into the log": (
        head((b"user-agent", b"a\x1b[31m\xff\r\nb")),
        Acceptance(KEY, None, None, "a?[31m???b"),
    ),
    "long user agent": (head((b"user-agent", b"x" * 999)), Acceptance(KEY, None, None, "x" * USER_AGENT_CHARS_MAX)),
}


@pytest.mark.parametrize(("request_head", "acceptance"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_good_request_is_accepted_with_what_it_said(request_head: RequestHead, acceptance: Acceptance) -> None:
    assert decide(request_head, RULES) == acceptance


@pytest.mark.parametrize(
    "refusal", [value for value in vars(handshake).values() if isinstance(value, Refusal)], ids=lambda value: value.code
)
def test_answer_to_a_refusal_is_a_whole_problem_document(refusal: Refusal) -> None:
    raw_head, _, body = refusal.answer().partition(b"\r\n\r\n")
    lines = raw_head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert lines[0] == f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}"
    assert headers["content-type"] == "application/problem+json"
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["detail"]) == (
        refusal.status.value,
        refusal.code,
        refusal.sentence,
    )


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"/v1/ws", True),
        (b"/v1/ws?x", True),
        (b"/v1/ws/", False),
        (b"/v1/WS", False),
        (b"//v1/ws", False),
        (b"/v1/ws%20", False),
        (b"http://a/v1/ws", False),
        (b"", False),
    ],
)
def test_only_the_exact_path_is_the_sockets(target: bytes, answer: bool) -> None:
    assert (path_of(target) == b"/v1/ws") is answer


def test_canonical_request_is_one_that_would_be_accepted() -> None:
    lines = canonical_request(b"/v1/ws", KEY).decode().split("\r\n")
    headers = [line.split(": ", 1) for line in lines[1:-2]]
    again = RequestHead(b"GET", b"/v1/ws", "1.1", [(name.lower().encode(), value.encode()) for name, value in headers])
    assert lines[0] == "GET /v1/ws HTTP/1.1"
    assert decide(again, RULES) == Acceptance(KEY, None, None, "")


PROXIES = frozenset({"10.0.0.1", "10.0.0.2"})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [b"198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"6.6.6.6", b"198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", [b"\x1b[2J" + b"x" * 99], ("?[2J" + "x" * 99)[:64]),
    ],
)
def test_forwarded_address_counts_only_from_a_trusted_proxy(peer: str, forwarded: list[bytes], address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


def test_refusal_names_its_error_as_rest_does_and_says_what_an_operator_can_do() -> None:
    problem = json.loads(ORIGIN_FORBIDDEN.answer().partition(b"\r\n\r\n")[2])
    assert problem["type"] == "urn:syncbridge:error:origin_forbidden"
    assert problem["detail"] == OriginForbidden.meaning
