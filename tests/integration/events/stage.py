"""Real sessions to tell of: a store with commits of every kind, and records with devices that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from syncbridge.adapters.embedded import SqliteStore
from syncbridge.adapters.embedded.outbox import JournalOutbox
from syncbridge.core.entry import Entry, HandoffNote, Status, Txn
from syncbridge.core.ids import AccountId, DeviceId, HandoffId, SessionId, TxnId
from syncbridge.ports import Clock, Outcome, StateStore, Submission, WasCommitted
from tests.conformance.logs import ACCOUNT, EPOCH, STARTED_AT, snapshot_of

READY_MS = 5_000
Condition = Callable[[], bool]


def open_store(path: Path, clock: Clock, **options: Any) -> SqliteStore:
    loop = asyncio.get_running_loop()

    def post(call: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(call)

    return SqliteStore(path, clock, post, **options)


def outbox_of(store: SqliteStore, clock: Clock) -> JournalOutbox:
    return JournalOutbox(store.worker, clock, ready_ms=READY_MS)


async def create(store: StateStore, session: SessionId, *, account: AccountId = ACCOUNT) -> None:
    """The session is on disk, at version 1."""
    first = Entry(1, "create", STARTED_AT + 1, ops=[{"op": "add", "path": "", "value": {"version": 1}}])
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    store.create(snapshot_of(session, account=account), first, msgspec.json.encode(first), done.set_result)
    assert isinstance(await done, WasCommitted)


async def commit(store: StateStore, session: SessionId, *entries: Entry, account: AccountId = ACCOUNT) -> None:
    """The entries are on disk, in one transaction."""
    txn = Txn(
        id=TxnId(f"t-{entries[0].version}"),
        session=session,
        account=account,
        epoch=EPOCH,
        expected=entries[0].version - 1,
        entries=list(entries),
        digests=[0] * len(entries),
        status="active",
    )
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    store.submit([Submission(txn, [msgspec.json.encode(entry) for entry in entries])], done.set_result)
    assert isinstance(await done, WasCommitted)


def edit(version: int) -> Entry:
    ops = [{"op": "add", "path": "/version", "value": version}]
    return Entry(version, "patch", STARTED_AT + version, "phone", version, ops)


def pause(version: int) -> Entry:
    return Entry(version, "status", STARTED_AT + version, "phone", status="paused" if version % 2 else "active")


def offer(version: int, *, waits_ms: int = 600_000) -> Entry:
    at = STARTED_AT + version
    note = HandoffNote(HandoffId(f"h{version}"), "offer", DeviceId("phone"), DeviceId("tv"), at + waits_ms)
    return Entry(version, "offer", at, "phone", handoff=note)


def handoff(version: int) -> Entry:
    note = HandoffNote(HandoffId(f"h{version}"), "take", DeviceId("phone"), DeviceId("tv"))
    return Entry(version, "handoff", STARTED_AT + version, "tv", fence=version, active="tv", handoff=note)


def withdrawal(version: int) -> Entry:
    note = HandoffNote(HandoffId(f"h{version}"), "offer", DeviceId("phone"), DeviceId("tv"), reason="declined")
    return Entry(version, "withdraw", STARTED_AT + version, "tv", handoff=note)


def clash(version: int) -> Entry:
    entry = edit(version)
    rows: list[dict[str, object]] = [{"path": "/version", "policy": "last", "winner": "ours"}]
    return msgspec.structs.replace(entry, conflicts=rows)


def restore(version: int) -> Entry:
    return Entry(version, "restore", STARTED_AT + version, "phone", ops=edit(version).ops)


def ending(version: int, status: Status) -> Entry:
    return Entry(version, "status", STARTED_AT + version, "phone", status=status)
