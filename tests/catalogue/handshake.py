"""Bad handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time

from tests.catalogue.rows import Row
from tests.catalogue.service import ORIGIN
from tests.catalogue.stage import Send, Stage, answer, handshake, of, request
from tests.wire.rawclient import KEY, RawClient, head

FAMILY = "Handshake"
BAD = "400 bad_handshake; closed"
CUT_BETWEEN_S = (4.0, 30.0)
"""Of 5 s: a busy machine may be late, but what is not cut stays 45 s and more."""


def cut(dribble: bytes = b"", *, tls: bool = False) -> Send:
    """A connection that sends nothing, or a byte a second: how it ends."""

    async def send(stage: Stage) -> str:
        port = stage.service.tls_port if tls else stage.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begin = time.monotonic()
        ended = asyncio.ensure_future(reader.read())
        try:
            for byte in dribble:
                writer.write(bytes((byte,)))
                await asyncio.wait([ended], timeout=1)
                if ended.done():
                    break
            async with asyncio.timeout(CUT_BETWEEN_S[1]):
                try:
                    rest = await ended
                except ConnectionResetError:
                    rest = b""
        finally:
            writer.transport.abort()
        took_s = time.monotonic() - begin
        assert CUT_BETWEEN_S[0] < took_s < CUT_BETWEEN_S[1], took_s
        return "cut after 5 s" if not rest else f"answered {rest[:40]!r}"

    return send


def tls_hello() -> bytes:
    """The first flight of a TLS client, cut in the middle."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()[:100]


async def crowd(stage: Stage) -> str:
    """600 silent connections at once: the oldest give way, and the next honest handshake is served."""
    clients = [await RawClient.open(stage.port) for _ in range(600)]
    try:
        async with await RawClient.upgraded(stage.port):
            pass
        ended = [client for client in clients if client.reader.at_eof() or client.writer.is_closing()]
        async with asyncio.timeout(30):
            while len(ended) < 88:
                await asyncio.sleep(0.01)
                ended = [client for client in clients if client.reader.at_eof() or client.writer.is_closing()]
        assert clients[0] in ended
        assert clients[-1] not in ended
    finally:
        for client in clients:
            client.writer.transport.abort()
    return "the oldest past 512 are cut; an honest one is served"


async def scrubbed(stage: Stage) -> str:
    """A token in the URL: refused, and nowhere in the log."""
    async with await RawClient.open(stage.port) as client:
        client.send(head("GET /v1/ws?token=canary-in-the-url HTTP/1.1"))
        outcome = await answer(client)
    async with await RawClient.open(stage.port) as client:
        client.send(b"GET /v1/me?access_token=canary-in-the-url HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.response()
    stage.notes["never_logged"] = "canary-in-the-url"
    return outcome


async def crashed(stage: Stage) -> str:
    """Our own code breaks while the socket is made."""
    async with await RawClient.open(stage.port) as client:
        client.send(head(extra=(("User-Agent", "crash"),)))
        response = await client.response()
    assert b"planted" not in response.body
    return f"{response.status}{of(json.loads(response.body))}; closed"


def _rows(*rows: tuple[str, str, str, Send]) -> list[Row]:
    return [Row(FAMILY, *row) for row in rows]


ROWS = [
    *_rows(
        ("HTTP/1.0", "HTTP/1.0", BAD, request("GET /v1/ws HTTP/1.0")),
        ("POST", "POST", BAD, request("POST /v1/ws HTTP/1.1")),
        ("body", "a body of three bytes", BAD, handshake(head(extra=(("Content-Length", "3"),)) + b"abc")),
        ("body", "a chunked body", BAD, handshake(head(extra=(("Transfer-Encoding", "chunked"),)) + b"0\r\n\r\n")),
        ("missing or double Host", "no Host", BAD, request(without="Host")),
        ("missing or double Host", "two Hosts", BAD, request(extra=(("Host", "other"),))),
        ("missing or double or malformed key", "no key", BAD, request(without="Sec-WebSocket-Key")),
        ("missing or double or malformed key", "two keys", BAD, request(extra=(("Sec-WebSocket-Key", KEY),))),
        ("missing or double or malformed key", "a key that is no base64", BAD, request(sec_websocket_key="!" * 24)),
        ("missing or double or malformed key", "a key of 15 bytes", BAD, request(sec_websocket_key="A" * 20)),
        ("bare LF", "line feeds alone", BAD, handshake(head().replace(b"\r\n", b"\n"))),
        ("bare LF", "one bare line feed", BAD, handshake(head().replace(b"websocket\r\n", b"websocket\n"))),
        ("NUL", "NUL in a value", BAD, request(host="a\0b")),
        ("NUL", "NUL in a name", BAD, handshake(head().replace(b"Upgrade: ", b"Upgr\0de: "))),
        ("oversized headers", "one header of 40 kB", BAD, request(extra=(("X-Pad", "x" * 40_000),))),
        ("oversized headers", "40 headers of 1 kB", BAD, request(extra=(("X-Pad", "x" * 1_000),) * 40)),
        ("oversized headers", "a target of 40 kB", BAD, request("GET /v1/ws/" + "x" * 40_000 + " HTTP/1.1")),
        ("version other than 13", "version 8", "426 upgrade_required; closed", request(sec_websocket_version="8")),
        ("version other than 13", "version 14", "426 upgrade_required; closed", request(sec_websocket_version="14")),
        ("version other than 13", "two versions", BAD, request(extra=(("Sec-WebSocket-Version", "13"),))),
        ("Firefox", "Connection: keep-alive, Upgrade", "101", request(connection="keep-alive, Upgrade")),
        ("foreign, null or doubled Origin", "an allowed Origin", "101", request(extra=(("Origin", ORIGIN),))),
        (
            "foreign, null or doubled Origin",
            "a foreign Origin",
            "403 origin_forbidden; closed",
            request(extra=(("Origin", "https://evil.example.com"),)),
        ),
        (
            "foreign, null or doubled Origin",
            "Origin: null",
            "403 origin_forbidden; closed",
            request(extra=(("Origin", "null"),)),
        ),
        (
            "foreign, null or doubled Origin",
            "an allowed Origin twice",
            "403 origin_forbidden; closed",
            request(extra=(("Origin", ORIGIN), ("Origin", ORIGIN))),
        ),
        ("token in the URL", "a token in the URL", BAD, scrubbed),
        (
            "capped in number",
            "600 connections that say nothing",
            "the oldest past 512 are cut; an honest one is served",
            crowd,
        ),
    ),
    Row(FAMILY, "silence", "nothing", "cut after 5 s", cut(), is_slow=True),
    Row(FAMILY, "one byte a second", "one byte a second", "cut after 5 s", cut(head()[:20]), is_slow=True),
    Row(FAMILY, "half-open TLS", "half a TLS ClientHello", "cut after 5 s", cut(tls_hello(), tls=True), is_slow=True),
    Row(FAMILY, "half-open TLS", "nothing on the TLS port", "cut after 5 s", cut(tls=True), is_slow=True),
    Row(FAMILY, "a crash in our own code", "a good handshake, and our own code breaks", "500 internal; closed", crashed,
        plant="handler-crashes"),
]  # fmt: skip
