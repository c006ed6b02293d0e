"""The benchmarks' side of the sockets: server processes to talk to, and lines that count what they hear.

The same code drives the service and the bare picows program, so what it costs falls on both alike; it runs in the
benchmark's own process, the servers in theirs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import picows

from bench.sockless import edits

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120.0
PRESENCE = b'{"type":"presence"'
ARRIVING_AT_ONCE = 8
ARRIVALS_MAX = 20


class ServerProcess:
    """A server of `bench.serving` in a process of its own; ended, at the latest killed, with its block."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self._process = process
        self.port: int = hello["port"]
        self.accounts: list[dict[str, Any]] = hello["accounts"]

    @classmethod
    @asynccontextmanager
    async def running(cls, *words: object, core: int | None = None) -> AsyncIterator[ServerProcess]:
        """``core`` is the only one that it runs on."""
        pinned = () if core is None else ("taskset", "--cpu-list", str(core))
        process = await asyncio.create_subprocess_exec(
            *(*pinned, sys.executable, "-m", "bench.serving", *map(str, words)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        try:
            yield cls(process, await _line_of(process))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def usage(self) -> dict[str, float]:
        """See `bench.serving.usage`."""
        return await self._ask(b"\n")

    async def grow(self, accounts: int, sessions_each: int, size_kib: int) -> list[dict[str, Any]]:
        """More accounts, each with a token and so many sessions."""
        told: list[dict[str, Any]] = (await self._ask(b"%d %d %d\n" % (accounts, sessions_each, size_kib)))["accounts"]
        self.accounts += told
        return told

    async def _ask(self, line: bytes) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        return await _line_of(self._process)


async def _line_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        line = await process.stdout.readline()
    assert line, "the server process ended; its own words are above"
    answer: dict[str, Any] = json.loads(line)
    return answer


class Line(picows.WSListener):
    """One connection to a server: counts entries and answers, keeps frames where it is asked to."""

    def __init__(self) -> None:
        self.heard = 0
        self.heard_bytes = 0
        self.last = b""
        self.frames: list[bytes] | None = None
        self.on_text: Callable[[bytes], None] | None = None
        self.is_gone = False
        self._first: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int, read_buffer_bytes: int = 65_536) -> Line:
        _transport, line = await picows.ws_connect(
            cls, f"ws://127.0.0.1:{port}/v1/ws", read_buffer_init_size=read_buffer_bytes, use_aiofastnet=False
        )
        assert isinstance(line, Line)
        return line

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        text = frame.get_payload_as_bytes()
        self.last = text
        self.heard_bytes += len(text)
        # Several entries may come as one message; each begins with its version.
        self.heard += text.count(b'{"version":') if text.startswith(b'{"type":"entries"') else 1
        if self.frames is not None:
            self.frames.append(text)
        if self.on_text is not None:
            self.on_text(text)
        if self._first is not None and not self._first.done() and not text.startswith(PRESENCE):
            self._first.set_result(text)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.is_gone = True

    def say(self, text: bytes) -> None:
        self._transport.send(picows.WSMsgType.TEXT, text)

    async def ask(self, *texts: bytes) -> bytes:
        """Says these; the first message that comes is the answer, but for news of who else is there."""
        self._first = asyncio.get_running_loop().create_future()
        for text in texts:
            self.say(text)
        async with asyncio.timeout(TIMEOUT_S):
            return await self._first

    def ping(self) -> None:
        """It is still there: who says nothing for three heartbeats is closed."""
        self._transport.send_ping()

    def close(self) -> None:
        self._transport.disconnect()


async def joined(port: int, token: str, device: str, session: str, **options: int) -> Line:
    """A device that follows a session of the service. It comes again where it is told to, as any device does."""
    for _ in range(ARRIVALS_MAX):
        line = await Line.open(port, **options)
        welcome = await line.ask(encode({"type": "hello", "token": token, "device": {"id": device}}))
        if b'"retry":"later"' not in welcome:
            break
        line.close()
        await asyncio.sleep(1)
    assert b'"type":"welcome"' in welcome, welcome
    answer = await line.ask(encode({"type": "join", "session": session}))
    assert b'"type":"joined"' in answer, answer[:200]
    return line


async def all_joined(many: Iterable[Coroutine[None, None, Line]]) -> list[Line]:
    """Some at once: each may wait for a database."""
    gate = asyncio.Semaphore(ARRIVING_AT_ONCE)

    async def one(arriving: Coroutine[None, None, Line]) -> Line:
        async with gate:
            return await arriving

    return await asyncio.gather(*map(one, many))


encode = msgspec.json.Encoder().encode


def pushes_of(session: str, count: int, first_seq: int, window: int) -> list[bytes]:
    """A device's next pushes; each on the version that its window lets it know."""
    frames = []
    for number, ops in enumerate(edits(count, int(time.time() * 1000))):
        seq = first_seq + number
        push: dict[str, Any] = {
            "type": "push",
            "session": session,
            "seq": seq,
            "base": max(1, seq - min(number, window - 1)),
            "ops": ops,
        }
        if ops[0]["path"] == "/playhead":
            push["intent"] = "seek"
        frames.append(encode(push))
    return frames


async def until(condition: Callable[[], bool], what: str) -> None:
    """``condition`` holds; fails when it does not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TIMEOUT_S
    while not condition():
        assert loop.time() < deadline, what
        await asyncio.sleep(0.0005)


class Group:
    """One that pushes, and four that follow it. It holds ``window`` pushes in flight until its frames are said."""

    def __init__(self, pusher: Line, followers: list[Line], window: int) -> None:
        self.pusher = pusher
        self.followers = followers
        self._window = window
        self._frames: Iterator[bytes] = iter(())
        self._expected = 0
        pusher.on_text = self._on_answer

    def begin(self, frames: list[bytes]) -> None:
        for line in (self.pusher, *self.followers):
            line.heard = line.heard_bytes = 0
        self._expected = len(frames)
        self._frames = iter(frames)
        for frame in islice(self._frames, self._window):
            self.pusher.say(frame)

    @property
    def is_done(self) -> bool:
        """Every push is answered, and every follower has heard of each."""
        return all(line.heard >= self._expected for line in (self.pusher, *self.followers))

    def missing(self) -> str:
        return f"heard {[line.heard for line in (self.pusher, *self.followers)]} of {self._expected}"

    def _on_answer(self, _text: bytes) -> None:
        frame = next(self._frames, None)
        if frame is not None:
            self.pusher.say(frame)
