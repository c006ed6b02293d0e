"""Transactions as a tick of a busy node has them, for any store: one small edit for each of 64 sessions."""

from __future__ import annotations

import asyncio
import time

import msgspec

from bench.core_states import session_state
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, SessionId, TxnId
from syncbridge.ports import Outcome, StateStore, Submission, WasCommitted

SESSIONS = 64
SNAPSHOT_EVERY = 256
AT = 1_790_000_000_000
ACCOUNT = AccountId("acc-1")


class Standing:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return AT


class Side:
    """Sessions whose states are of one size, and what its rounds took."""

    def __init__(self, store: StateStore, size_kib: int) -> None:
        self.store = store
        self.state = session_state(size_kib)
        self.size = len(msgspec.json.encode(self.state))
        self.names = [SessionId(f"ses-{size_kib}-{number}") for number in range(SESSIONS)]
        self.head = 1
        self.client_us: list[float] = []
        self.rates: list[float] = []

    def snapshot(self, session: SessionId, version: int) -> Snapshot:
        return Snapshot(
            session=session,
            account=ACCOUNT,
            type="breathing",
            epoch="epoch-1",
            version=version,
            at=AT + version,
            created_at=AT,
            state=self.state,
            size=self.size,
        )

    async def create(self) -> None:
        answered = asyncio.get_running_loop().create_future()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == SESSIONS:
                answered.set_result(None)

        for session in self.names:
            first = Entry(version=1, kind="create", at=AT + 1, ops=[{"op": "add", "path": "", "value": self.state}])
            self.store.create(self.snapshot(session, 1), first, msgspec.json.encode(first), done)
        await answered
        assert set(map(type, outcomes)) == {WasCommitted}

    def next_batch(self) -> list[Submission]:
        """One edit of each session."""
        version = self.head = self.head + 1
        batch = []
        for session in self.names:
            op = {"op": "replace", "path": "/playhead", "value": {"position": version / 4, "rate": 1.0, "at": AT}}
            entry = Entry(version=version, kind="patch", at=AT + version, device="dev-1", seq=version, ops=[op])
            txn = Txn(
                id=TxnId(f"dev-1.{version}"),
                session=session,
                account=ACCOUNT,
                epoch="epoch-1",
                expected=version - 1,
                entries=[entry],
                digests=[version * 2**20],
                status="active",
                snapshot=self.snapshot(session, version) if version % SNAPSHOT_EVERY == 0 else None,
            )
            batch.append(Submission(txn, [msgspec.json.encode(entry)]))
        return batch

    async def round(self, batches: int) -> None:
        """So many batches are committed, and what that took is on record."""
        await self.commit([self.next_batch() for _ in range(batches)])

    async def commit(self, batches: list[list[Submission]]) -> None:
        """As `round`, for batches that were made before."""
        cpu, begin = time.process_time(), time.perf_counter()
        for batch in batches:
            await committed(self.store, batch)
        took_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
        count = len(batches) * SESSIONS
        self.rates.append(count / took_s)
        self.client_us.append(cpu_s / count * 1e6)


async def committed(store: StateStore, batch: list[Submission]) -> None:
    """Every transaction of the batch is committed."""
    answered = asyncio.get_running_loop().create_future()
    left = len(batch)

    def done(outcome: Outcome) -> None:
        nonlocal left
        assert isinstance(outcome, WasCommitted)
        left -= 1
        if not left:
            answered.set_result(None)

    store.submit(batch, done)
    await answered
