"""Calls of a link as awaitables, for tests that want an answer before they go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import Script, script_of

COUNT = script_of("count", b"return redis.call('INCR', KEYS[1])")
"""A write whose answers tell how often it was done, and in which order."""
APPEND = script_of("append", b"return redis.call('RPUSH', KEYS[1], ARGV[1])")
LOOK = script_of("look", b"return redis.call('GET', KEYS[1])")


async def run(
    link: RedisLink, script: Script, key: str, *args: bytes, keys: Sequence[str] = (), is_write: bool = True
) -> Any:
    """What the script answers."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    link.run(script, [one.encode() for one in (key, *keys)], args, answer.set_result, is_write=is_write)
    return await answer


async def command(link: RedisLink, *words: str, is_write: bool = False) -> Any:
    """What the command answers; its second word is the key."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    link.command(words[1].encode(), [word.encode() for word in words], answer.set_result, is_write=is_write)
    return await answer


async def until(holds: Callable[[], Any], *, deadline_s: float = 10.0) -> None:
    """The condition holds. Raises AssertionError where it does not in time."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, "the condition does not hold in time"
        await asyncio.sleep(0.005)
