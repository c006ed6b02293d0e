"""Commits: a transaction is one script call, answered in the order of its session.

What did not simply commit may take a further look at the log (what came since the version that was expected); what is
answered of the session meanwhile waits behind it. An offer is written to its index first, and what is submitted of the
session meanwhile is sent behind it. Everything else is one trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final

import structlog

from syncbridge.adapters.cluster.keys import changed_key, outbox_key, session_keys, slot_of
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.index import Indexes
from syncbridge.adapters.cluster.log.lines import Lines
from syncbridge.adapters.cluster.log.reading import LogReader, Replaced
from syncbridge.adapters.cluster.log.recovery import Recovery, ttl_ms
from syncbridge.adapters.cluster.log.steps import Failed, Missing, Steps, drive, fault_of, is_damage, ran
from syncbridge.adapters.cluster.log.stored import (
    Damage,
    pack_kept,
    pack_snapshot,
    pack_waiting,
    seal_entry,
    snapshot_mark,
    text,
)
from syncbridge.adapters.cluster.mesh.channel import encode_entries
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import DeviceId, SessionId, TxnId
from syncbridge.limits import Retention
from syncbridge.ports import (
    Outcome,
    StoreFault,
    Submission,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
    WasRefused,
    WasUnknown,
)

CREATE: Final = TxnId("create")
_STATUSES: Final = ("active", "paused", "completed", "archived")
_OFFERS_MAX: Final = 10_000
_KEYS_MAX: Final = 20_000

_create = load("create")
_commit = load("commit")
_compare = load("compare")

_log = structlog.get_logger(__name__)

Facts = Callable[[Txn], Sequence[bytes]]
"""What other services are told of a committed transaction, each fact as it waits in the outbox."""


class Committer:
    """Creates logs and appends to them.

    ``calls`` is the order of each session's calls, which others close and open too. ``kept`` is called with
    each snapshot that came with a commit and is kept by now.
    """

    def __init__(
        self,
        link: RedisLink,
        indexes: Indexes,
        reader: LogReader,
        recovery: Recovery,
        calls: Lines,
        retention: Retention,
        *,
        facts: Facts | None,
        kept: Callable[[Snapshot], None],
    ) -> None:
        self._link = link
        self._indexes = indexes
        self._reader = reader
        self._recovery = recovery
        self._calls = calls
        self._answers = Lines()
        self._facts = facts
        self._kept = kept
        self._offers: OrderedDict[SessionId, tuple[DeviceId, int]] = OrderedDict()  # what the index was told last
        self._ttls = {status: b"%d" % ttl_ms(retention, status) for status in _STATUSES}
        self._commit_keys = lru_cache(maxsize=_KEYS_MAX)(self._make_commit_keys)
        link.on_primary_changed.append(self._offers.clear)

    def forget(self, session: SessionId) -> None:
        """The session is gone."""
        self._offers.pop(session, None)

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        """As `StateStore.create`."""
        packed = pack_snapshot(snapshot)  # raises here, to the caller, rather than leave an index without a log
        self._calls.alone(snapshot.session, lambda: self._creating(snapshot, first, body, packed), done)

    def _creating(self, snapshot: Snapshot, first: Entry, body: bytes, packed: bytes) -> Steps[Outcome]:
        session, account = snapshot.session, snapshot.account
        try:
            yield from self._indexes.list_session(session, account, self._recovery.first_look(snapshot.at))
        except (Failed, Damage) as failed:
            _log.warning("index_not_written", session=session, reason=str(failed))
            return WasRefused(CREATE, "unavailable")
        txn = Txn(CREATE, session, account, snapshot.epoch, 0, [first], [0], snapshot.status, snapshot=snapshot)
        keys = session_keys(session)
        touched = [keys.head, keys.log, keys.snap, keys.snaps, keys.gone, keys.damaged]
        args = [
            snapshot.epoch.encode(),
            account.encode(),
            b"%d" % snapshot.at,
            pack_kept(snapshot.at, snapshot.status),
            self._ttls[snapshot.status],
            seal_entry(snapshot.epoch.encode(), 1, CREATE.encode(), 0, body),
            body,
            packed,
            snapshot_mark(snapshot),
        ]
        if self._facts is not None:
            touched.append(outbox_key(slot_of(keys.head)))
            args += self._facts(txn)
        answer = yield ran(self._link, _create, touched, args)
        if answer == 1:
            self._kept(snapshot)
            return WasCommitted(CREATE)
        if isinstance(answer, Failure):
            return _failed(CREATE, answer)
        return WasForeign(CREATE)

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        """As `StateStore.submit`."""
        for submission in batch:
            txn = submission.txn
            entries = txn.entries
            if entries and (
                entries[0].version != txn.expected + 1 or entries[-1].version != txn.expected + len(entries)
            ):
                raise ValueError(
                    f"transaction {txn.id} must hold the entries from {txn.expected + 1} on, without a gap"
                )
        for submission in batch:
            txn = submission.txn
            if self._calls and txn.session in self._calls:
                self._calls.add(txn.session, partial(self._submit, submission, done))
            else:
                self._submit(submission, done)
        self._link.flush()  # the batch is all that this turn commits

    def _submit(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        txn = submission.txn
        device = txn.waiting_for
        if device is not None and self._offers.get(txn.session) != (device, txn.waiting_until):
            self._submit_offer(submission, device, done)
            return
        self._send(submission, done)

    def _send(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        txn = submission.txn
        if not (txn.entries or txn.claims or txn.held):
            self._compare(submission, done)
            return
        touched = self._commit_keys(txn.session)
        self._link.run(_commit, touched, self.arguments(submission), partial(self._answered, submission, done))

    def _compare(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        """Who only asks whether the head is where they believe writes nothing, and waits for no replica."""
        txn = submission.txn
        keys = session_keys(txn.session)
        args = [txn.epoch.encode(), b"%d" % txn.expected, b"%d" % txn.expected_at]
        answered = partial(self._answered, submission, done)
        self._link.run(_compare, [keys.head, keys.gone], args, answered, is_write=False)

    def _submit_offer(self, submission: Submission, device: DeviceId, done: Callable[[Outcome], None]) -> None:
        """The index knows of the offer before the log does."""
        txn = submission.txn
        session = txn.session
        self._calls.close(session)

        def listed() -> Steps[StoreFault | None]:
            listing = self._indexes.list_offer(session, txn.account, device, txn.waiting_until)
            try:
                return (yield from fault_of(listing))
            except Exception:  # noqa: BLE001 - our own fault: it is logged, and others are not held up
                _log.exception("offer_not_listed", session=session, txn=txn.id)
                return StoreFault("unavailable")

        def go_on(fault: StoreFault | None) -> None:
            try:
                if fault is None:
                    self._offers[session] = (device, txn.waiting_until)
                    self._offers.move_to_end(session)
                    if len(self._offers) > _OFFERS_MAX:
                        self._offers.popitem(last=False)
                    self._send(submission, done)
                else:
                    self._answers.add(session, lambda: done(WasRefused(txn.id, "unavailable")))
            finally:
                self._calls.open(session)

        drive(listed(), go_on)

    def _make_commit_keys(self, session: SessionId) -> list[bytes]:
        keys = session_keys(session)
        touched = [keys.head, keys.log, keys.snap, keys.snaps, keys.gone]
        if self._facts is not None:
            slot = slot_of(keys.head)
            touched += [outbox_key(slot), changed_key(slot)]
        return touched

    def arguments(self, submission: Submission) -> list[bytes]:
        """The arguments of commit.lua, in its order."""
        txn, bodies = submission.txn, submission.bodies
        entries, digests, snapshot = txn.entries, txn.digests, txn.snapshot
        epoch, txn_id, first = txn.epoch.encode(), txn.id.encode(), txn.expected + 1
        is_told = self._facts is not None and bool(entries)
        at = entries[-1].at if entries else 0
        args = [
            epoch,
            b"%d" % txn.expected,
            txn_id,
            b"%d" % at,
            pack_kept(at, txn.status),
            self._ttls[txn.status],
            pack_waiting(txn.waiting_for, txn.waiting_until),
            encode_entries(txn.epoch, first, txn.id, digests, bodies, previous_at=txn.expected_at) if entries else b"",
            b"%d %d %d %d %d" % (len(entries), len(txn.held), len(txn.claims), snapshot is not None, is_told),
            b"%d" % txn.expected_at,
        ]
        for version, (digest, body) in enumerate(zip(digests, bodies, strict=True), first):
            args += (seal_entry(epoch, version, txn_id, digest, body), body)
        for claims in (txn.held, txn.claims):
            for device, connection in claims.items():
                args += (device.encode(), connection.encode())
        if snapshot is not None:
            args += (pack_snapshot(snapshot), snapshot_mark(snapshot))
        if is_told and self._facts is not None:
            args += (txn.session.encode(), txn.account.encode(), *self._facts(txn))
        return args

    def _answered(self, submission: Submission, done: Callable[[Outcome], None], answer: Answer) -> None:
        session = submission.txn.session
        if self._answers and session in self._answers:
            self._answers.add(session, partial(self._settle, submission, done, answer))
        else:
            self._settle(submission, done, answer)

    def _settle(self, submission: Submission, done: Callable[[Outcome], None], answer: Answer) -> None:
        txn = submission.txn
        if answer == 1:
            done(WasCommitted(txn.id))
            if txn.snapshot is not None:
                self._kept(txn.snapshot)  # what follows from that, nobody waits for
            return
        session = txn.session
        self._answers.close(session)

        def go_on(outcome: Outcome) -> None:
            try:
                done(outcome)
            finally:
                self._answers.open(session)

        drive(self._explained_or_unknown(txn, answer), go_on)

    def _explained_or_unknown(self, txn: Txn, answer: Answer) -> Steps[Outcome]:
        """As `_explained`; a fault of our own leaves the outcome unknown, and the session's line is opened again."""
        try:
            return (yield from self._explained(txn, answer))
        except Exception:  # noqa: BLE001 - our own fault: it is logged, and the session goes on
            _log.exception("outcome_not_explained", session=txn.session, txn=txn.id)
            return WasUnknown(txn.id)

    def _explained(self, txn: Txn, answer: Answer) -> Steps[Outcome]:
        """What a transaction is told that did not simply commit; what that takes is read."""
        if isinstance(answer, Failure) and not is_damage(answer):
            return _failed(txn.id, answer)
        try:
            if not isinstance(answer, list):
                raise Damage(getattr(answer, "text", "the log answered something else"))
            match answer:
                case [2, version]:
                    return (yield from self._conflict(txn, version))
                case [4, *devices]:
                    return WasFenced(txn.id, [DeviceId(text(device)) for device in devices])
                case [5, version]:
                    return WasBehind(txn.id, version)
                case [6, reason]:
                    raise Damage(text(reason))
                case _:
                    return WasForeign(txn.id)
        except (Missing, Replaced):
            return WasForeign(txn.id)
        except Failed as failed:
            return WasRefused(txn.id, failed.fault.code)
        except Damage as damage:
            return (yield from self._set_aside(txn, str(damage)))

    def _conflict(self, txn: Txn, version: int) -> Steps[Outcome]:
        """What came since, where the transaction was made on an entry that stands. Raises as `LogReader.since`."""
        known = 1 if txn.expected and txn.expected_at else 0
        entries, digests, txns = yield from self._reader.since(txn.session, txn.epoch, txn.expected - known, version)
        if known and entries[0].at != txn.expected_at:
            return WasForeign(txn.id)
        return WasConflict(txn.id, entries[known:], digests[known:], txns[known:])

    def _set_aside(self, txn: Txn, reason: str) -> Steps[Outcome]:
        """The damaged log is out of the way. Who pushes holds it, and is asked to put back what it holds."""
        try:
            yield from self._recovery.set_aside(txn.session, reason)
        except (Failed, Damage):
            return WasRefused(txn.id, "state_damaged")
        return WasBehind(txn.id, 0)


def _failed(txn: TxnId, failure: Failure) -> Outcome:
    return WasUnknown(txn) if failure.kind == "unknown" else WasRefused(txn, "unavailable")
