"""A bad line to a server: it is slow, or breaks in the middle of whatever is being said."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Relay:
    """A TCP relay on a port of its own to another port; what it does to the bytes may change at any time.

    ``delay_s`` is how long each byte is under way, ``cut_bytes_max`` how many bytes from the server a connection takes
    at most before it is reset: any number up to it, so at any place of any message. 0: none. ``source`` is the address
    that it speaks from, where that matters.
    """

    target: int
    chance: random.Random
    host: str = "127.0.0.1"
    source: str = "127.0.0.1"
    delay_s: float = 0.0
    cut_bytes_max: int = 0
    port: int = 0
    cuts: int = 0
    late: int = 0
    """How many pieces were delayed."""
    _lines: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _is_over: bool = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._is_over = True
        for writer in list(self._writers):
            writer.transport.abort()
        # Each ends by that. One that is still connecting is not cancelled: its socket would be nobody's.
        await asyncio.gather(*self._lines, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_over:
            writer.transport.abort()
            return
        self._writers.add(writer)
        line = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        ways: list[asyncio.Task[None]] = []
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.target, local_addr=(self.source, 0))
            budget = self.chance.randrange(self.cut_bytes_max) if self.cut_bytes_max else None
            spawn = asyncio.get_running_loop().create_task
            ways = [spawn(self._pour(reader, far_writer, None)), spawn(self._pour(far_reader, writer, budget))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            return  # nobody listens there now: the device finds its connection reset
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for one in (writer, far_writer):
                if one is not None:
                    one.transport.abort()
            self._writers.discard(writer)

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        """Returns when a side closed, or the budget is spent."""
        loop = asyncio.get_running_loop()
        under_way: deque[bytes] = deque()

        def arrive() -> None:
            _write(writer, under_way.popleft())

        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if budget is not None and len(data) >= budget:
                    writer.write(data[:budget])
                    await writer.drain()
                    self.cuts += 1
                    return
                budget = None if budget is None else budget - len(data)
                if self.delay_s or under_way:
                    # Not a sleep: what follows is under way at the same time. Nothing overtakes what left before it,
                    # for each turn brings the oldest, also when the delay became less meanwhile.
                    self.late += 1
                    under_way.append(data)
                    loop.call_later(self.delay_s, arrive)
                else:
                    writer.write(data)
                    await writer.drain()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)
