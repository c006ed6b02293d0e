"""What the bad lines of these tests do to bytes, and what they never do."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from tests.nemesis.relay import Relay
from tests.nemesis.stage import until


async def test_nothing_overtakes_what_left_before_it_when_a_line_becomes_fast_again() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
        writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(listen, "127.0.0.1", 0))
        relay = Relay(server.sockets[0].getsockname()[1], random.Random(1), delay_s=0.2)
        await stack.enter_async_context(relay)
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"slow\n")
        await until(lambda: relay.late == 1)
        relay.delay_s = 0.0
        writer.write(b"fast\n")
        await until(lambda: len(heard) == 2)
        writer.close()
        await until(lambda: not relay._lines)
    assert heard == [b"slow\n", b"fast\n"]
