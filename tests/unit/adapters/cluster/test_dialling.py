"""Which servers are let in by what they say of themselves, and what an operator is told of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hiredis import Reader

from syncbridge.adapters.cluster.link.dialling import CannotConnect
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.rules import Rules

RULES = Rules(connect_ms=2_000)
LIKE_REDIS_6 = {b"AUTH": b"+OK", b"HELLO": b"+OK", b"CLIENT": b"+OK"}
"""What such a server understands of a greeting; scripts that use newer words do not compile there."""

pytestmark = pytest.mark.serial

Answered = Callable[[list[bytes]], bytes]


def told(*lines: str, knows: dict[bytes, bytes]) -> Answered:
    """A server whose INFO has these lines."""

    def answered(words: list[bytes]) -> bytes:
        if words[0] == b"INFO":
            text = "\r\n".join(("# Server", *lines, "role:master", "run_id:1", "")).encode()
            return b"$%d\r\n%b" % (len(text), text)
        return knows.get(words[0], b"-ERR unknown command")

    return answered


@asynccontextmanager
async def server(answered: Answered) -> AsyncIterator[int]:
    """The port on which it listens."""
    open_writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        parser = Reader()
        while received := await reader.read(65_536):
            parser.feed(received)
            while (words := parser.gets()) is not False:
                writer.write(answered(words) + b"\r\n")

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in open_writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("scheme", "lines", "knows", "version"),
    [
        ("redis", ("redis_version:6.2.14", "redis_mode:standalone"), LIKE_REDIS_6, "6.2.14"),
        ("redis", ("redis_version:6.3.4", "executable:/usr/bin/keydb-server"), LIKE_REDIS_6, "6.3.4"),
        ("redis+cluster", ("redis_version:5.0.14", "redis_mode:cluster"), {}, "5.0.14"),
    ],
    ids=["redis 6", "keydb", "redis 5, where HELLO is unknown"],
)
async def test_a_server_that_is_too_old_is_named_with_what_it_is_and_what_is_needed(
    scheme: str, lines: tuple[str, ...], knows: dict[bytes, bytes], version: str
) -> None:
    async with server(told(*lines, knows=knows)) as port:
        with pytest.raises(CannotConnect) as refused:
            await RedisLink.open(f"{scheme}://127.0.0.1:{port}", rules=RULES, timeout_s=0.5)
    assert str(refused.value) == (
        f"127.0.0.1:{port} says that it is Redis {version}, and Redis 7 or newer is needed: upgrade it, "
        "or name another server in redis_url"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("redis_version:7.0.15",),
        ("redis_version:7.2.4", "server_name:valkey", "valkey_version:8.1.0"),
        ("redis_version:10.0.0",),
        ("redis_version:255.255.255",),
        (),
    ],
    ids=["redis 7", "valkey 8", "redis of another day", "a development build", "one that does not tell"],
)
async def test_a_server_that_is_new_enough_is_let_in(lines: tuple[str, ...]) -> None:
    async with server(told(*lines, knows=LIKE_REDIS_6 | {b"SCRIPT": b"+OK"})) as port:
        link = await RedisLink.open(f"redis://127.0.0.1:{port}", rules=RULES)
        assert link.is_healthy()
        await link.close()
