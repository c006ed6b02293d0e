"""What a session and a connection weigh, by what a process grew: of a node, and of Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from bench.core_states import session_state
from bench.speaking import Group, Line, all_joined, encode, joined, pushes_of, until
from bench.worlds import World

SETTLE_S = 0.5
SIZE_KIB = 2
READ_BUFFER_BYTES = 4096
LARGE_KIB = 20


class NodeMemory(msgspec.Struct, frozen=True):
    """KiB of a node's resident memory; nobody pushes."""

    world: str
    connection_kib: float
    """A device that follows a session which another device follows already."""
    session_kib: float
    """A session of `SIZE_KIB` that somebody follows, without that connection."""
    arrival_us: float
    """Processor time of a device that says hello for the first time and joins."""
    return_us: float
    """Of one that comes back."""


class RedisMemory(msgspec.Struct, frozen=True):
    """KiB of Redis' memory."""

    session_kib: float
    """A session of `SIZE_KIB` when it is made: its head, its first entry, its snapshot, its place in the indexes."""
    state_kib: float
    """Each KiB more that the state has."""
    entry_kib: float
    """Each entry of the log."""


async def node_memory(world: World, sessions: int) -> NodeMemory:
    """By two steps: so many sessions with a device each, then a second device for each of them."""
    node = world.nodes[0]
    accounts = await node.grow(sessions, 1, SIZE_KIB)
    lines: list[Line] = []
    grown = [await _resident_kib(world)]
    spent_us: list[float] = []
    for device in ("first", "second", "second"):
        if len(spent_us) == 2:
            for line in lines[sessions:]:
                line.close()
            await asyncio.sleep(SETTLE_S)  # they are gone on the other side as well
        before = world.spent().nodes
        lines += await _arrive(world, accounts, device)
        spent_us.append((world.spent().nodes - before) / sessions * 1e6)
        grown.append(await _resident_kib(world))
    for line in lines:
        line.close()
    connection = (grown[2] - grown[1]) / sessions
    session = (grown[1] - grown[0]) / sessions - connection
    return NodeMemory(world.name, connection, session, spent_us[1], spent_us[2])


async def _arrive(world: World, accounts: list[dict[str, Any]], *devices: str) -> list[Line]:
    port = world.nodes[0].port
    return await all_joined(
        joined(port, account["token"], device, account["sessions"][0], read_buffer_bytes=READ_BUFFER_BYTES)
        for account in accounts
        for device in devices
    )


async def _resident_kib(world: World) -> float:
    await asyncio.sleep(SETTLE_S)  # what the last ones left to do is done; nothing tells when
    return (await world.nodes[0].usage())["rss_kib"]


async def redis_memory(world: World, sessions: int, entries: int) -> RedisMemory:
    """By what Redis says that it uses: sessions of two sizes, then ``entries`` more of each of the small ones."""
    node = world.nodes[0]
    used = [_used_kib(world)]
    small = await node.grow(sessions, 1, SIZE_KIB)
    used.append(_used_kib(world))
    await node.grow(sessions, 1, LARGE_KIB)
    used.append(_used_kib(world))
    lines = await _arrive(world, small, "pusher")
    groups = [Group(line, [], 4) for line in lines]
    await asyncio.sleep(SETTLE_S)
    before = _used_kib(world)
    for group, account in zip(groups, small, strict=True):
        group.begin(pushes_of(account["sessions"][0], entries, 1, 4))
    await until(lambda: all(group.is_done for group in groups), "a push was not answered")
    after = _used_kib(world)
    for line in lines:
        line.close()
    small_kib, large_kib = (used[1] - used[0]) / sessions, (used[2] - used[1]) / sessions
    sizes = [len(encode(session_state(size))) / 1024 for size in (SIZE_KIB, LARGE_KIB)]
    return RedisMemory(
        session_kib=small_kib,
        state_kib=(large_kib - small_kib) / (sizes[1] - sizes[0]),
        entry_kib=(after - before) / sessions / entries,
    )


def _used_kib(world: World) -> float:
    return float(world.redis_info("memory")["used_memory_dataset"]) / 1024


class IdleCost(msgspec.Struct, frozen=True):
    """Microseconds of processor time a second that a connected device costs which does nothing: pings, presence."""

    node_us: float
    redis_us: float


async def idle_cost(world: World, sessions: int, seconds: float) -> IdleCost:
    """Two devices each, over a time in which each is pinged; what the node spends for nobody is taken off."""
    node = world.nodes[0]
    accounts = await node.grow(sessions, 1, SIZE_KIB)
    alone = await _spent_over(world, seconds / 3)
    lines = await _arrive(world, accounts, "first", "second")
    await asyncio.sleep(SETTLE_S)
    connected = await _spent_over(world, seconds)
    for line in lines:
        line.close()
    node_us, redis_us = (max(0.0, there - here) / len(lines) for here, there in zip(alone, connected, strict=True))
    return IdleCost(node_us, redis_us)


async def _spent_over(world: World, seconds: float) -> tuple[float, float]:
    """Microseconds a second: the nodes', Redis'."""
    before = world.spent()
    await asyncio.sleep(seconds)
    spent = world.spent() - before
    return spent.nodes / seconds * 1e6, spent.redis / seconds * 1e6
