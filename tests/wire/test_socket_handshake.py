"""The opening handshake over real sockets: one row a case, the exact status, and a probe client after each."""

from __future__ import annotations

import asyncio
import json

import pytest

from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.net.handler import SocketHandler, Upgrade
from tests.wire.conftest import Serve, Served, until
from tests.wire.rawclient import ACCEPT, KEY, TEXT, RawClient, frame, head

ORIGIN = "https://app.example.com"


def browser(*headers: tuple[str, str]) -> bytes:
    """A handshake with these headers and no other, in this order."""
    return "\r\n".join(
        ["GET /v1/ws HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""],
    ).encode()


FIREFOX = browser(
    ("Host", "127.0.0.1:8080"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "*/*"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Sec-WebSocket-Version", "13"),
    ("Origin", ORIGIN),
    ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ("Sec-WebSocket-Key", KEY),
    ("Connection", "keep-alive, Upgrade"),
    ("Cookie", "theme=dark"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "websocket"),
    ("Sec-Fetch-Site", "same-site"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    ("Upgrade", "websocket"),
)
CHROME = browser(
    ("Host", "127.0.0.1:8080"),
    ("Connection", "Upgrade"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    ),
    ("Upgrade", "websocket"),
    ("Origin", ORIGIN),
    ("Sec-WebSocket-Version", "13"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-US,en;q=0.9"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ("Sec-WebSocket-Protocol", SUBPROTOCOL),
)

ACCEPTED = {
    "plain": head(),
    "keep-alive beside upgrade": head(connection="keep-alive, Upgrade"),
    "all that Firefox sends": FIREFOX,
    "all that Chrome sends": CHROME,
    "case": head(upgrade="WebSocket", connection="UPGRADE"),
    "allowed origin": head(extra=(("Origin", ORIGIN),)),
    "empty content-length": head(extra=(("Content-Length", "0"),)),
    "extension offered, not taken": head(extra=(("Sec-WebSocket-Extensions", "permessage-deflate"),)),
}

REFUSED = {
    "http/1.0": (400, head("GET /v1/ws HTTP/1.0")),
    "post": (400, head("POST /v1/ws HTTP/1.1")),
    "post with a body": (400, head("POST /v1/ws HTTP/1.1", extra=(("Content-Length", "3"),)) + b"abc"),
    "body": (400, head(extra=(("Content-Length", "3"),)) + b"abc"),
    "chunked body": (400, head(extra=(("Transfer-Encoding", "chunked"),)) + b"0\r\n\r\n"),
    "no host": (400, head(without="Host")),
    "two hosts": (400, head(extra=(("Host", "other"),))),
    "empty host": (400, head(host="")),
    "no key": (400, head(without="Sec-WebSocket-Key")),
    "two keys": (400, head(extra=(("Sec-WebSocket-Key", KEY),))),
    "key not base64": (400, head(sec_websocket_key="!" * 24)),
    "key of 15 bytes": (400, head(sec_websocket_key="AAAAAAAAAAAAAAAAAAAA")),
    "key of 17 bytes": (400, head(sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAAA=")),
    "key without padding": (400, head(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ")),
    "bare line feeds": (400, head().replace(b"\r\n", b"\n")),
    "one bare line feed": (400, head().replace(b"websocket\r\n", b"websocket\n")),
    "nul in a value": (400, head(host="a\0b")),
    "folded header": (400, head().replace(b"websocket\r\n", b"websocket\r\n more\r\n")),
    "no http at all": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
    "head too large in one header": (400, head(extra=(("X-Pad", "x" * 40_000),))),
    "head too large in many": (400, head(extra=(("X-Pad", "x" * 1_000),) * 40)),
    "long target": (400, head("GET /v1/ws?" + "x" * 40_000 + " HTTP/1.1")),
    "token in the url": (400, head("GET /v1/ws?token=secret-canary HTTP/1.1")),
    "any query": (400, head("GET /v1/ws? HTTP/1.1")),
    "two versions": (400, head(extra=(("Sec-WebSocket-Version", "13"),))),
    "no version": (400, head(without="Sec-WebSocket-Version")),
    "version 8": (426, head(sec_websocket_version="8")),
    "version 7": (426, head(sec_websocket_version="7")),
    "version 14": (426, head(sec_websocket_version="14")),
    "version 013": (426, head(sec_websocket_version="013")),
    "no upgrade at all": (426, b"GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n"),
    "upgrade without connection": (400, head(connection="keep-alive")),
    "upgrade to something else": (400, head(upgrade="h2c")),
    "foreign origin": (403, head(extra=(("Origin", "https://evil.example.com"),))),
    "null origin": (403, head(extra=(("Origin", "null"),))),
    "two origins": (403, head(extra=(("Origin", ORIGIN), ("Origin", ORIGIN)))),
    "origin with another port": (403, head(extra=(("Origin", ORIGIN + ":8443"),))),
    "other path": (404, head("GET /v1/ws/ HTTP/1.1")),
    "escaped path": (404, head("GET /v1/w%73 HTTP/1.1")),
}


@pytest.mark.parametrize("request_head", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_good_handshake_opens_a_socket(serve: Serve, request_head: bytes) -> None:
    served = await serve(allowed_origins=frozenset({ORIGIN}))
    async with await RawClient.open(served.port) as client:
        client.send(request_head)
        response = await client.response()
        assert response.status == 101
        assert response.headers["sec-websocket-accept"] == ACCEPT
        assert "sec-websocket-extensions" not in response.headers
        assert await client.echo("hello") == "hello"


@pytest.mark.parametrize(("status", "request_head"), REFUSED.values(), ids=REFUSED.keys())
async def test_bad_handshake_gets_its_status_and_the_server_goes_on(
    serve: Serve, status: int, request_head: bytes
) -> None:
    served = await serve(allowed_origins=frozenset({ORIGIN}))
    async with await RawClient.open(served.port) as client:
        client.send(request_head)
        response = await client.response()
        assert response.status == status
        assert b"secret-canary" not in response.body
        if status != 404:
            assert json.loads(response.body)["status"] == status
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""
        if status == 426:
            assert response.headers["sec-websocket-version"] == "13"
            assert response.headers["upgrade"] == "websocket"
    assert not served.recorders
    await served.assert_alive()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        ((SUBPROTOCOL,), SUBPROTOCOL),
        (("chat, " + SUBPROTOCOL,), SUBPROTOCOL),
        (("chat", SUBPROTOCOL), SUBPROTOCOL),
        (("chat",), None),
    ],
)
async def test_subprotocol_is_named_when_it_was_offered(
    serve: Serve, offered: tuple[str, ...], chosen: str | None
) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(head(extra=tuple(("Sec-WebSocket-Protocol", value) for value in offered)))
        response = await client.response()
        assert response.status == 101
        assert response.headers.get("sec-websocket-protocol") == chosen
        assert served.last.upgrade.subprotocol == chosen


async def test_what_came_with_the_handshake_is_read(serve: Serve) -> None:
    served = await serve()
    texts = [b"one", b"two" * 20_000, b"three"]
    async with await RawClient.open(served.port) as client:
        client.send(head() + b"".join(frame(TEXT, text) for text in texts))
        assert (await client.response()).status == 101
        assert [(await client.frame()).payload for _ in texts] == texts


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_handshake_in_pieces_is_the_same_handshake(serve: Serve, size: int) -> None:
    served = await serve()
    data = head() + frame(TEXT, b"first")
    async with await RawClient.open(served.port) as client:
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.response()).status == 101
        assert (await client.frame()).payload == b"first"


async def test_silence_is_cut_after_the_handshake_timeout(serve: Serve) -> None:
    served = await serve(handshake_timeout_ms=60)
    async with await RawClient.open(served.port) as client:
        assert await client.rest() == b""
    assert served.server.door.refusals["request_timeout"] == 1


async def test_dribble_is_cut_after_the_handshake_timeout(serve: Serve) -> None:
    served = await serve(handshake_timeout_ms=80)
    async with await RawClient.open(served.port) as client:
        ended = asyncio.ensure_future(client.rest())
        for byte in head()[:-1] * 20:
            if ended.done():
                break
            client.send(bytes((byte,)))
            await asyncio.sleep(0.005)
        assert await ended == b""
    assert served.server.door.refusals["request_timeout"] == 1
    await served.assert_alive()


async def test_second_request_that_dribbles_is_cut_too(serve: Serve) -> None:
    served = await serve(handshake_timeout_ms=500)
    async with await RawClient.open(served.port) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).status == 200
        client.send(b"GET /b HT")
        assert await client.rest() == b""
    assert served.server.door.refusals["request_timeout"] == 1


async def test_body_that_dribbles_is_cut(serve: Serve) -> None:
    served = await serve(request_timeout_ms=60)
    async with await RawClient.open(served.port) as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert await client.rest() == b""


async def test_oldest_newcomer_gives_way_when_the_places_are_taken(serve: Serve) -> None:
    served = await serve(handshakes_max=3)
    silent = [await RawClient.open(served.port) for _ in range(3)]
    await until(lambda: served.server.door.newcomers_count == 3)
    await served.assert_alive()
    assert await silent[0].rest() == b""
    assert served.server.door.refusals["handshakes_max"] == 1
    for client in silent:
        await client.__aexit__()


async def test_more_sockets_than_the_limit_are_told_that_the_node_is_busy(serve: Serve) -> None:
    served = await serve(connections_max=2)
    async with await RawClient.upgraded(served.port), await RawClient.upgraded(served.port):
        async with await RawClient.open(served.port) as third:
            third.send(head())
            response = await third.response()
            assert (response.status, response.headers["retry-after"]) == (503, "1")
        async with await RawClient.open(served.port) as rest:
            rest.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await rest.response()).status == 200
    await until(lambda: not served.server.door.sockets)
    await served.assert_alive()


async def test_more_connections_than_both_limits_are_dropped(serve: Serve) -> None:
    served = await serve(connections_max=1, handshakes_max=2)
    clients = [await RawClient.upgraded(served.port)]
    for path in (b"/slow", b"/slow"):
        clients.append(await RawClient.open(served.port))
        clients[-1].send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    await until(lambda: len(served.server.door.connections) == 3 and served.server.door.newcomers_count == 0)
    async with await RawClient.open(served.port) as fourth:
        assert await fourth.rest() == b""
    assert served.server.door.refusals["connections_max"] == 1
    for client in clients:
        await client.__aexit__()


async def test_crash_while_a_handler_is_made_is_500_without_its_text(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(self: Served, upgrade: Upgrade) -> SocketHandler:
        raise RuntimeError("canary-5150")

    with monkeypatch.context() as patch:
        patch.setattr(Served, "make_handler", crash)
        served = await serve()
        async with await RawClient.open(served.port) as client:
            client.send(head())
            response = await client.response()
    assert response.status == 500
    assert b"canary" not in response.body
    assert "canary-5150" in caplog.text


async def test_trusted_proxy_names_the_client_and_nobody_else_does(serve: Serve) -> None:
    forwarded = (("X-Forwarded-For", "198.51.100.7, 203.0.113.9"),)
    for proxies, expected in ((frozenset({"127.0.0.1"}), "203.0.113.9"), (frozenset[str](), "127.0.0.1")):
        served = await serve(trusted_proxies=proxies)
        async with await RawClient.open(served.port) as client:
            client.send(head(extra=forwarded))
            assert (await client.response()).status == 101
            assert served.last.upgrade.client_address == expected
