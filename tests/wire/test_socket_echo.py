"""The echo of the conformance suites: there when asked for, and by the rules of every socket."""

from __future__ import annotations

import pytest

from tests.wire.conftest import Serve, until
from tests.wire.rawclient import BINARY, CONTINUATION, PING, PONG, TEXT, RawClient, frame, head

ECHO = "GET /v1/test/echo HTTP/1.1"
ORIGIN = "https://app.example.com"


async def echo_client(port: int) -> RawClient:
    client = await RawClient.open(port)
    client.send(head(ECHO))
    assert (await client.response()).status == 101
    return client


async def test_echo_is_not_there_unless_asked_for(serve: Serve) -> None:
    served = await serve()
    async with await RawClient.open(served.port) as client:
        client.send(head(ECHO))
        response = await client.response()
        assert b"/v1/test/echo" in response.body  # the app's answer: it is an address like any other
    assert not served.server.door.opened_total


async def test_text_and_binary_come_back_as_what_they_were(serve: Serve) -> None:
    served = await serve(test_echo=True)
    async with await echo_client(served.port) as client:
        client.send(frame(TEXT, b"one") + frame(BINARY, b"\xfftwo") + frame(TEXT, b""))
        assert await client.frame() == (TEXT, b"one", True)
        assert await client.frame() == (BINARY, b"\xfftwo", True)
        assert await client.frame() == (TEXT, b"", True)
        client.send(frame(BINARY, b"\xe2", is_final=False) + frame(PING, b"p") + frame(CONTINUATION, b"\x28" * 200))
        assert await client.frame() == (PONG, b"p", True)
        assert await client.frame() == (BINARY, b"\xe2" + b"\x28" * 200, True)
    assert not served.recorders


FAULTS = {
    "reserved bit on a binary": (1002, frame(BINARY, b"x", rsv=4)),
    "binary within a text": (1002, frame(TEXT, b"a", is_final=False) + frame(BINARY, b"b")),
    "text within a binary": (1002, frame(BINARY, b"a", is_final=False) + frame(TEXT, b"b")),
    "binary within a binary": (1002, frame(BINARY, b"a", is_final=False) + frame(BINARY, b"b")),
    "bad utf-8": (1007, frame(TEXT, b"\xff")),
    "bad utf-8 over two fragments": (1007, frame(TEXT, b"\xe2", is_final=False) + frame(CONTINUATION, b"\x28")),
    "more than 16 MiB": (1009, frame(BINARY, b"", length=b"\xff" + (16 * 2**20 + 1).to_bytes(8, "big"))),
    "ping flood": (4429, frame(PING, b"x") * 40),
}


@pytest.mark.parametrize(("code", "data"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_is_closed_as_on_every_socket(serve: Serve, code: int, data: bytes) -> None:
    served = await serve(test_echo=True)
    async with await echo_client(served.port) as client:
        client.send(data)
        answer = await client.frame()
        while answer.opcode == PONG:
            answer = await client.frame()
        assert answer.close_code == code
        assert await client.rest() == b""
    await until(lambda: not served.server.door.sockets)


async def test_handshake_and_places_are_those_of_every_socket(serve: Serve) -> None:
    served = await serve(test_echo=True, allowed_origins=frozenset({ORIGIN}), connections_max=1)
    for extra, status in (((("Origin", "https://evil.example.com"),), 403), ((("Origin", ORIGIN),), 101)):
        async with await RawClient.open(served.port) as client:
            client.send(head(ECHO, extra=extra))
            assert (await client.response()).status == status
    await until(lambda: not served.server.door.sockets)
    async with await echo_client(served.port), await RawClient.open(served.port) as second:
        second.send(head())
        assert (await second.response()).status == 503
    async with await RawClient.open(served.port) as client:
        client.send(head("GET /v1/test/echo?token=x HTTP/1.1"))
        assert (await client.response()).status == 400
