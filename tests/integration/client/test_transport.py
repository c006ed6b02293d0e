"""The transport over real sockets: what becomes of a connection that ends before it is one."""

from __future__ import annotations

import asyncio

import pytest

from syncbridge.client import picows_dial
from syncbridge.errors import Unavailable


class Nobody:
    """A `Receiver` of a connection that never is."""

    def received(self, data: bytes) -> None:
        raise AssertionError(data)

    def heard(self) -> None:
        raise AssertionError

    def closed(self, code: int | None) -> None:
        raise AssertionError(code)


SAID = {
    "nothing": b"",
    "half a line": b"HTTP/1.1 101 Swit",
    "half an answer": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_line_that_breaks_within_the_handshake_is_no_connection(said: bytes, is_reset: bool) -> None:
    """So the device tries again at once, and does not wait for a welcome."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        if is_reset:
            writer.transport.abort()
        else:
            writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="cut before the answer to the handshake was whole"):
            await picows_dial()(f"ws://127.0.0.1:{port}/v1/ws", Nobody())
