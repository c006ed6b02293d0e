"""What stands in Redis when all is calm, against what clients were told: lost, doubled, overwritten unseen, forked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from syncbridge._ext import apply_patch
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Entry
from syncbridge.core.ids import JsonObject, SessionId
from syncbridge.ports import StoredLog, StoreFault, Stretch
from syncbridge.runtime.clock import ServerClock
from tests.nemesis.history import Operation, violations
from tests.nemesis.traffic import Traffic, Whole, whole_at

CONVERGED_S = 5.0


@dataclass
class Stored:
    """A log as it stands in Redis, and the state after each of its entries (``states[0]`` is of version 0)."""

    epoch: str
    entries: list[Entry]
    states: list[JsonObject]

    @property
    def whole(self) -> Whole:
        return Whole(self.epoch, len(self.entries), state_hash(self.states[-1]))


class NotStored(AssertionError):
    """Redis does not have the session's log, or not whole."""


async def stored_log(url: str, session: str) -> Stored:
    """The session's log, read past every node. Raises NotStored where it is not whole from its first entry on."""
    link = await RedisLink.open(url)
    try:
        store = RedisStore(link, ServerClock())
        entries: list[Entry] = []
        epoch = ""
        while True:
            answer: asyncio.Future[Stretch | StoreFault] = asyncio.get_running_loop().create_future()
            store.entries(SessionId(session), len(entries), 1_000, answer.set_result)
            stretch = await answer
            if isinstance(stretch, StoreFault):
                raise NotStored(f"{session}: {stretch}")
            entries += stretch.entries
            epoch = stretch.epoch
            if not stretch.entries or len(entries) >= stretch.head:
                break
    finally:
        await link.close()
    versions = [entry.version for entry in entries]
    if versions != list(range(1, len(entries) + 1)):
        raise NotStored(f"{session}: versions {versions}")
    states: list[JsonObject] = [{}]
    for entry in entries:
        states.append(_after(states[-1], entry))
    return Stored(epoch, entries, states)


async def stored_whole(url: str, session: str) -> Whole | None:
    """The session as Redis holds it: its newest snapshot and what came after; None where it is not there."""
    link = await RedisLink.open(url)
    try:
        answer: asyncio.Future[StoredLog | StoreFault] = asyncio.get_running_loop().create_future()
        RedisStore(link, ServerClock()).load(SessionId(session), 0, answer.set_result)
        log = await answer
    finally:
        await link.close()
    if isinstance(log, StoreFault):
        return None
    state = log.snapshot.state
    for entry in log.entries:
        state = _after(state, entry)
    version = log.entries[-1].version if log.entries else log.snapshot.version
    return Whole(log.snapshot.epoch, version, state_hash(state))


def _after(state: JsonObject, entry: Entry) -> JsonObject:
    changed = apply_patch(state, entry.ops)
    assert isinstance(changed, dict)
    return changed


async def converged_s(traffic: Traffic, url: str, *, deadline_s: float = 20.0) -> float:
    """How long it took from now until every device, both nodes and Redis held the same of every session.

    The nodes come last: whom one asks, looks for what it may have missed, so devices would hear it by our asking alone.
    Raises AssertionError with who held what when the time is over.
    """
    begin = time.monotonic()
    for session in traffic.sessions:
        while True:
            held = traffic.holders(session)
            is_one = len(set(held.values())) == 1 and len(held) == len(traffic.bridges)
            if is_one and (stored := await stored_whole(url, session)) in held.values():
                break
            assert time.monotonic() < begin + deadline_s, f"{session}: {held}"
            await asyncio.sleep(0.05)
        for number in range(2):
            while (told := await whole_at(traffic.person, number, session)) != stored:
                assert time.monotonic() < begin + deadline_s, f"{session}: node {number} tells {told}, not {stored}"
                await asyncio.sleep(0.05)
    return time.monotonic() - begin


@dataclass
class Verdict:
    """What was wrong, by the promise it breaks; and how much was looked at."""

    operations: int
    acked: int
    unknown: int
    disorder: list[str]
    lost: list[str]
    doubled: list[str]
    unseen: list[str]
    listed: int = 0
    """Values that a merge overwrote and a row of `conflicts` tells of."""

    @property
    def faults(self) -> list[str]:
        return [*self.disorder, *self.lost, *self.doubled, *self.unseen]


async def judged(traffic: Traffic, url: str) -> Verdict:
    """The verdict on everything that was done in the traffic's sessions."""
    verdict = Verdict(0, 0, 0, [], [], [], [])
    for session, history in traffic.histories.items():
        stored = await stored_log(url, session)
        writes = [one for one in history if one.kind == "write"]
        verdict.listed += sum(len(entry.conflicts) for entry in stored.entries)
        verdict.operations += len(history)
        verdict.acked += sum(one.outcome == "ok" for one in writes)
        verdict.unknown += sum(one.outcome == "unknown" for one in history)
        verdict.disorder += [f"{session}: {text}" for text in violations(history)]
        verdict.lost += [f"{session}: {text}" for text in lost(stored, writes)]
        verdict.doubled += [f"{session}: {text}" for text in doubled(stored, writes)]
        bases = {(device, seq): base for (name, device, seq), base in traffic.wire.bases.items() if name == session}
        verdict.unseen += [f"{session}: {text}" for text in overwritten_unseen(stored, bases)]
    return verdict


def lost(stored: Stored, writes: list[Operation]) -> Iterator[str]:
    """Writes that were acknowledged as an entry that does not hold them."""
    for one in writes:
        if one.outcome != "ok":
            continue
        is_there = one.version <= len(stored.entries) and _written(stored.entries[one.version - 1]) == one.value
        if not is_there or one.epoch != stored.epoch:
            yield f"lost: {one} of epoch {one.epoch}"


def doubled(stored: Stored, writes: list[Operation]) -> Iterator[str]:
    """Writes that took effect twice, or though they were refused; a counter that is not the sum of the writes."""
    times: dict[str, int] = {}
    for entry in stored.entries:
        value = _written(entry)
        if value:
            times[value] = times.get(value, 0) + 1
    for one in writes:
        count = times.pop(one.value, 0)
        if count > 1 or (count and one.outcome == "fail"):
            yield f"doubled: {one}, {one.outcome}, is {count} times in the log"
    for value in times:
        yield f"doubled: the log holds {value!r}, which nobody wrote"
    total = sum(1 for entry in stored.entries if _written(entry))
    if stored.states[-1]["totals"]["n"] != total:
        yield f"doubled: the counter is {stored.states[-1]['totals']['n']} after {total} writes"
    marks = [mark["id"] for mark in stored.states[-1]["marks"]]
    if len(marks) != len(set(marks)) or any(mark not in json.dumps(_marks(stored)) for mark in marks):
        yield f"doubled: the list is {marks}"


def overwritten_unseen(stored: Stored, bases: dict[tuple[str, int], int]) -> Iterator[str]:
    """Values of another device that an entry replaced, which its device had not seen, and which no row lists."""
    author: dict[str, Entry] = {}
    for entry in stored.entries:
        value = _written(entry)
        before = stored.states[entry.version - 1].get("settings", {}).get("last", "")
        base = bases.get((entry.device, entry.seq))
        over = author.get(before)
        if value and base is not None and over is not None and over.device != entry.device and over.version > base:
            rows = [row for row in entry.conflicts if row.get("path") == "/settings/last"]
            if before not in json.dumps(rows):
                yield f"unseen: entry {entry.version} made on {base} replaced {before!r} of {over.version}; rows {rows}"
        if value:
            author[value] = entry


def _written(entry: Entry) -> str:
    """What the entry writes to the register; "" where it does not."""
    if entry.kind == "create":
        return ""
    values = [op["value"] for op in entry.ops if op.get("path") == "/settings/last"]
    return str(values[-1]) if values else ""


def _marks(stored: Stored) -> list[Any]:
    ops = [op for entry in stored.entries for op in entry.ops if "value" in op]
    return [op["value"] for op in ops if str(op.get("path", "")).startswith("/marks")]
