"""Sessions, entries and transactions to store, and the calls that wait for their answers."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, DeviceId, SessionId, TxnId
from syncbridge.ports import (
    Outcome,
    StateStore,
    StoredHead,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    Swept,
    WasBehind,
    WasConflict,
    WasForeign,
)
from tests.conformance.harness import Harness

ACCOUNT = AccountId("ada")
EPOCH = "epoch-1"
STARTED_AT = 1_790_000_000_000


def session_named(name: str) -> SessionId:
    return SessionId(f"session-{name}")


def snapshot_of(session: SessionId, version: int = 1, *, epoch: str = EPOCH, **fields: Any) -> Snapshot:
    """The snapshot at `version`, whose state names the version."""
    fields.setdefault("at", STARTED_AT + version)
    fields.setdefault("account", ACCOUNT)
    return Snapshot(
        session=session,
        type="breathing",
        epoch=epoch,
        version=version,
        created_at=STARTED_AT,
        state={"version": version},
        size=14,
        **fields,
    )


def entry_at(version: int, mark: object = None, at: int = 0) -> Entry:
    ops = [{"op": "add", "path": "/version", "value": version}, {"op": "add", "path": "/mark", "value": mark}]
    return Entry(version=version, kind="patch", at=at or STARTED_AT + version, device="phone", seq=version, ops=ops)


def change(session: SessionId, expected: int, count: int = 1, *, name: str = "", **fields: Any) -> Submission:
    """A transaction of `count` entries after `expected`; two of another `name` are two transactions."""
    mark, at = fields.pop("mark", name), fields.pop("at", 0)
    entries = [entry_at(version, mark, at) for version in range(expected + 1, expected + count + 1)]
    fields.setdefault("epoch", EPOCH)
    fields.setdefault("account", ACCOUNT)
    txn = Txn(
        id=TxnId(f"{name or 'txn'}-{expected + 1}"),
        session=session,
        expected=expected,
        entries=entries,
        digests=[entry.version * 2**40 + 1 for entry in entries],
        status=fields.pop("status", "active"),
        **fields,
    )
    return Submission(txn, [msgspec.json.encode(entry) for entry in entries])


def ahead(store: StateStore, txn: str, head: int) -> Outcome:
    """What a transaction is told that expects more than there is (head 0: no log, which nobody deleted).

    Where several nodes write, the store may have lost what one of them holds, and is given it back.
    """
    return WasBehind(TxnId(txn), head) if store.is_shared else WasForeign(TxnId(txn))


def create(harness: Harness, session: SessionId, **fields: Any) -> Outcome:
    outcomes: list[Outcome] = []
    first = Entry(version=1, kind="create", at=STARTED_AT + 1, ops=[{"op": "add", "path": "", "value": {"version": 1}}])
    harness.store.create(snapshot_of(session, **fields), first, msgspec.json.encode(first), outcomes.append)
    harness.wait(lambda: bool(outcomes))
    assert len(outcomes) == 1
    return outcomes[0]


def submit(harness: Harness, *batch: Submission) -> list[Outcome]:
    """The outcomes, in the order of the answers; exactly one for each."""
    outcomes: list[Outcome] = []
    harness.store.submit(batch, outcomes.append)
    harness.wait(lambda: len(outcomes) >= len(batch))
    assert len(outcomes) == len(batch)
    return outcomes


def unsigned(outcome: Outcome) -> Outcome:
    """The outcome without whose entries came since: only a store that nodes share has to say it."""
    return replace(outcome, txns=[]) if isinstance(outcome, WasConflict) else outcome


def load(harness: Harness, session: SessionId, reach: int = 0) -> StoredLog | StoreFault:
    answers: list[StoredLog | StoreFault] = []
    harness.store.load(session, reach, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def loaded(harness: Harness, session: SessionId, reach: int = 0) -> StoredLog:
    log = load(harness, session, reach)
    assert isinstance(log, StoredLog), log
    return log


def state_at(harness: Harness, session: SessionId, version: int) -> StoredLog | StoreFault:
    answers: list[StoredLog | StoreFault] = []
    harness.store.state_at(session, version, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def entries(harness: Harness, session: SessionId, after: int, count_max: int = 1_000) -> Stretch | StoreFault:
    answers: list[Stretch | StoreFault] = []
    harness.store.entries(session, after, count_max, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def stretch(harness: Harness, session: SessionId, after: int, count_max: int = 1_000) -> Stretch:
    read = entries(harness, session, after, count_max)
    assert isinstance(read, Stretch), read
    return read


def version_at(harness: Harness, session: SessionId, at_ms: int) -> int | StoreFault:
    answers: list[int | StoreFault] = []
    harness.store.version_at(session, at_ms, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def delete(harness: Harness, session: SessionId) -> StoreFault | None:
    answers: list[StoreFault | None] = []
    harness.store.delete(session, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def sweep(harness: Harness, now_ms: int, count_max: int = 50) -> Swept:
    harness.settle_age()
    answers: list[Swept] = []
    harness.store.sweep(now_ms, count_max, answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def waiting(harness: Harness, device: str, account: AccountId = ACCOUNT) -> list[SessionId]:
    answers: list[list[SessionId]] = []
    harness.store.waiting_offers(account, DeviceId(device), answers.append)
    harness.wait(lambda: bool(answers))
    return answers[0]


def walk(harness: Harness, after: str = "", count_max: int = 50, account: AccountId | None = None) -> list[StoredHead]:
    answers: list[list[StoredHead] | StoreFault] = []
    harness.store.walk(after, count_max, answers.append, account)
    harness.wait(lambda: bool(answers))
    (heads,) = answers
    assert isinstance(heads, list)
    return heads
