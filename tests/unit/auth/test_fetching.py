"""A key set is fetched in a bounded time, whatever is at its address; nothing of what it says goes into the log."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from syncbridge.auth.fetching import FetchFailed, fetch

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
pytestmark = pytest.mark.serial


@pytest.fixture
def one_thread() -> Any:
    """The only thread that there is to fetch with."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """The address of a peer that treats each connection so."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1")
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"


async def good(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GOOD)
    await writer.drain()


async def dribbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head that never ends, a byte now and then, until the other end goes."""
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.02)


async def test_peer_that_dribbles_holds_no_thread_past_the_timeout(one_thread: ThreadPoolExecutor) -> None:
    async with served(dribbles) as slow, served(good) as fine:
        with pytest.raises(FetchFailed) as failed:
            await fetch(slow, one_thread, timeout_ms=200)
        assert failed.value.outcome == "timeout"
        assert await fetch(fine, one_thread, timeout_ms=5_000) == b"{}"


async def test_peer_that_dribbles_behind_a_slow_name_holds_no_thread_either(
    one_thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time is over before there is a socket that could be shut.
    looked_up, answered = threading.Event(), socket.getaddrinfo
    is_slow = threading.Event()

    def look_up(*words: Any, **named: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and not is_slow.is_set():
            is_slow.set()
            looked_up.wait(5)
        return answered(*words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with served(dribbles) as slow, served(good) as fine:
        with pytest.raises(FetchFailed):
            await fetch(slow, one_thread, timeout_ms=200)
        looked_up.set()
        assert await fetch(fine, one_thread, timeout_ms=2_000) == b"{}"


async def test_fetch_that_is_cancelled_holds_no_thread(one_thread: ThreadPoolExecutor) -> None:
    asked = asyncio.Event()

    async def asked_and_dribbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await dribbles(reader, writer)

    async with served(asked_and_dribbles) as slow, served(good) as fine:
        fetching = asyncio.ensure_future(fetch(slow, one_thread, timeout_ms=60_000))
        await asyncio.wait_for(asked.wait(), 5)
        fetching.cancel()
        await asyncio.wait([fetching])
        assert await fetch(fine, one_thread, timeout_ms=2_000) == b"{}"


async def test_failure_does_not_repeat_what_the_peer_said(one_thread: ThreadPoolExecutor) -> None:
    async def chats(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SECRET " * 1_000 + b"\r\n\r\n")
        await writer.drain()

    async with served(chats) as peer:
        with pytest.raises(FetchFailed) as failed:
            await fetch(peer, one_thread, timeout_ms=5_000)
    assert (failed.value.outcome, "SECRET" in str(failed.value)) == ("unreachable", False)


@pytest.mark.parametrize("host", ["a..b.example", f"{'a' * 64}.example"])
async def test_name_that_is_none_is_a_failure_like_any(one_thread: ThreadPoolExecutor, host: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        await fetch(f"https://{host}/keys", one_thread, timeout_ms=5_000)
    assert failed.value.outcome == "unreachable"
