"""The end of a connection on our side, on the standard library's own loop."""

from __future__ import annotations

import asyncio
import socket
import struct

from syncbridge.net.parting import part

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class _Watched(asyncio.Protocol):
    """Knows when its connection is gone."""

    def __init__(self) -> None:
        self.gone = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(exc)


def test_parting_from_a_peer_that_reset_the_connection_unseen_ends_it_and_raises_nothing() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
            transport, watched = await loop.connect_accepted_socket(_Watched, ours)
            assert isinstance(transport, asyncio.Transport)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            peer.close()  # and the loop has not turned: it does not know yet
            deadline = part(transport, loop, timeout_ms=60_000)
            assert await asyncio.wait_for(watched.gone, 5) is None
            deadline.cancel()

    asyncio.run(run())  # not the loop that the service has: uvloop's own shutdown never raises


def test_parting_from_a_peer_that_is_there_shuts_our_side_alone() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            ours, _ = listening.accept()
            transport, watched = await loop.connect_accepted_socket(_Watched, ours)
            assert isinstance(transport, asyncio.Transport)
            deadline = part(transport, loop, timeout_ms=60_000)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            assert not watched.gone.done()
            writer.close()
            await asyncio.wait_for(watched.gone, 5)
            deadline.cancel()

    asyncio.run(run())
