"""One session: a deterministic machine, events in, effects out.

Theory. The machine folds the log, and every change goes through the same narrow place: what needs the head waits in
one queue; when no commit is in flight, the whole queue is worked off against the log as it would become (`_pump`),
and goes to the store as one transaction. Nothing that rests on it is said before the store has answered:

========== ==================================== ===============================================================
state      means                                leaves by
========== ==================================== ===============================================================
LOADING    the log is being read; all waits     Loaded -> LIVE; LoadFailed -> GONE, everybody is told
LIVE       no commit, or one, is in flight      Unload (nobody follows), Deleted -> GONE; EpochChanged -> LOADING
MENDING    the store lost the end of the log    PutBackDone -> LIVE; PutBackFailed -> LOADING
           and is given it; all waits
GONE       deleted, failed or unloaded          never; whatever comes is answered `not_found`
========== ==================================== ===============================================================

What the store answers, and what follows from it, is told in `core.outcomes`; what other nodes committed in
`core.recovery`; who is there in `core.attendance`.

Exactly once. A device numbers its pushes; the log remembers each device's last ones, so a repeat is answered with
the first answer. Refused pushes are remembered in memory only: asked again after a restart they are judged again,
which is sound, for nobody was told "applied".

Invariants
    a push is acknowledged only after its entry is committed;
    every member gets the versions after its joined position in order, each once (as entry or ack), or a catch-up;
    ``fence`` grows by one at each handoff and never falls; there is at most one active device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from syncbridge import errors
from syncbridge.core import attendance, outcomes, recovery
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.answers import error_about, reject_of
from syncbridge.core.batch import Batch
from syncbridge.core.effects import AnyEffect
from syncbridge.core.entry import Txn
from syncbridge.core.events import AnyEvent
from syncbridge.core.ids import ConnectionId, SessionId, TxnId
from syncbridge.core.ledger import Ledger
from syncbridge.core.log import SessionLog
from syncbridge.core.members import Members
from syncbridge.core.messages import Left
from syncbridge.core.session_state import SessionState
from syncbridge.core.session_types import SESSION_TYPES, SessionType
from syncbridge.core.work import WORKERS
from syncbridge.limits import Limits


class SessionMachine:
    """See the module's text; `receive` is the only verb.

    ``new_txn_id`` gives a fresh unique id at each call; ``types`` are the session types known here; ``is_shared``:
    other nodes write the same logs. ``waits_since_ms`` is when the first of the queue was asked.
    """

    __slots__ = (
        "backoff_ms",
        "batch",
        "is_forked",
        "is_shared",
        "is_watching",
        "joining",
        "kind",
        "ledger",
        "limits",
        "log",
        "lost_races",
        "members",
        "new_txn_id",
        "queue",
        "seen",
        "session",
        "since_snapshot",
        "state",
        "types",
        "waits_since_ms",
    )

    def __init__(
        self,
        session: SessionId,
        limits: Limits,
        new_txn_id: Callable[[], str],
        types: dict[str, SessionType] | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        self.session = session
        self.is_shared = is_shared
        self.limits = limits
        self.new_txn_id = new_txn_id
        self.types = SESSION_TYPES if types is None else types
        self.kind: SessionType = self.types["custom"]
        self.state: SessionState | None = None
        self.log: SessionLog | None = None
        self.members = Members()
        self.ledger = Ledger()
        self.queue: deque[AnyEvent] = deque()
        self.waits_since_ms = 0
        self.seen: deque[on.EntriesSeen] = deque(maxlen=recovery.SEEN_WAITING_MAX)
        self.joining: set[ConnectionId] = set()
        self.batch: Batch | None = None
        self.lost_races = 0
        self.is_forked = False
        self.is_watching = False
        self.backoff_ms = 0
        self.since_snapshot = 0

    @property
    def version(self) -> int:
        """The last committed version; 0 before the log is loaded."""
        if self.batch is not None:
            return self.batch.mark.version
        return 0 if self.log is None else self.log.version

    @property
    def is_idle(self) -> bool:
        """Nobody follows, nothing waits."""
        return not self.members.by_connection and not self.queue and self.batch is None

    def holds(self, version: int, txn: str) -> bool:
        """The transaction whose first entry is at ``version`` is in the log, or on its way from here."""
        batch, log = self.batch, self.log
        if batch is not None and batch.txn is not None and batch.txn.id == txn:
            return True
        return log is not None and log.txns.get(version) == txn

    def receive(self, event: AnyEvent, now_ms: int) -> list[AnyEffect]:
        """What is to be done about ``event``; never raises for what a peer did."""
        if self.state is None:
            self.state = SessionState.LOADING
            return [do.Load(), *self.receive(event, now_ms)]
        kind = type(event)
        if kind in WORKERS:
            return self._enqueue(event, now_ms)
        if self.state is SessionState.GONE:
            return []
        return _HANDLERS[kind](self, event, now_ms)

    # -- the narrow place ---------------------------------------------------------------------------------------

    def _enqueue(self, event: AnyEvent, now_ms: int) -> list[AnyEffect]:
        if self.state is SessionState.GONE:
            return self.refuse(event, errors.NotFound())
        if self.is_shared and isinstance(event, on.PushReceived) and event.connection in self.joining:
            # It did not wait for `joined`. Until the claim is in the store, another claim may still come before it.
            return self.refuse(event, errors.Unavailable())
        if type(event) in _SAID_ONCE:
            # However long it takes, one of a kind from each waits: the newest, for an older connection may be gone.
            self.queue = deque(waiting for waiting in self.queue if _news(waiting) != _news(event))
        elif len(self.queue) >= self.limits.queue_entries_max:
            busy = errors.Busy("too much waits on this session; send it again later")
            return [do.Measured("limit_hit", 1, "queue_entries_max"), *self.refuse(event, busy)]
        if self.is_shared and isinstance(event, on.MemberJoined):
            self.joining.add(event.connection)
        if not self.queue:
            self.waits_since_ms = now_ms
        self.queue.append(event)
        if self.state is SessionState.LIVE and self.batch is None:
            return self.pump(now_ms)
        return []

    def pump(self, now_ms: int) -> list[AnyEffect]:
        """Work off the queue against the log; commit what it comes to, or say at once what changes nothing."""
        said: list[AnyEffect] = []
        while self.queue and self.batch is None:
            said += self._work(self.queue, now_ms)
        if self.batch is None:
            said += self.rest(now_ms)
        return said

    def work_known(self, count: int, now_ms: int, only: frozenset[type] | None = None) -> list[AnyEffect]:
        """So many at the head of the queue, or ``only`` these of them, are worked off by the log as it stands.

        What appends nothing is said at once.

        To be called when the log is as new as the store's was after they were asked: nothing that was acknowledged
        before any of them is missing, and what came since may as well have come after it. So whoever only reads is
        answered after one question, however often the head moves on meanwhile.
        """
        since_ms = self.waits_since_ms
        head = [self.queue.popleft() for _ in range(count)]
        known = deque(event for event in head if only is None or type(event) in only)
        said = self._work(known, now_ms, is_known=True) if known else []
        others = [event for event in head if only is not None and type(event) not in only]
        self.queue.extendleft(reversed([*known, *others]))
        self.waits_since_ms = since_ms
        return said

    def _work(self, waiting: deque[AnyEvent], now_ms: int, *, is_known: bool = False) -> list[AnyEffect]:
        """As many of them as one transaction may hold are worked off."""
        log = self.log
        assert log is not None
        batch = Batch(self, log, now_ms, since_ms=self.waits_since_ms, is_known=is_known)
        while waiting and len(batch.entries) < self.limits.txn_entries_max:
            event = waiting.popleft()
            batch.events.append(event)
            WORKERS[type(event)](batch, event)
        batch.finish()
        self.waits_since_ms = now_ms  # of what is left, for which one transaction had no room
        if batch.is_for_store:
            return self._commit(batch, now_ms)
        self.joining.difference_update(batch.joined_by)
        return batch.effects

    def _commit(self, batch: Batch, now_ms: int) -> list[AnyEffect]:
        log = self.log
        assert log is not None
        self.batch = batch
        self.since_snapshot += len(batch.entries)
        offer = log.offer
        snapshot = None
        if batch.wants_snapshot or self.since_snapshot >= self.limits.snapshot_entries_max:
            snapshot = log.snapshot()
            self.since_snapshot = 0
        batch.txn = Txn(
            id=TxnId(self.new_txn_id()),
            session=self.session,
            account=log.account,
            epoch=log.epoch,
            expected=batch.mark.version,
            entries=batch.entries,
            digests=batch.digests,
            status=log.status,
            waiting_for=offer.target if offer is not None else None,
            waiting_until=offer.expires_at if offer is not None else 0,
            snapshot=snapshot,
            claims=batch.claims,
            held=batch.held,
            expected_at=batch.mark.updated_at if self.is_shared else 0,
        )
        if self.is_watching:
            return [do.Commit(batch.txn)]
        # One timer for many commits: it looks at whatever is in flight when it fires.
        self.is_watching = True
        return [do.Commit(batch.txn), do.SetTimer("store", batch.since_ms + self.limits.store_timeout_ms)]

    def go_on(self, now_ms: int) -> list[AnyEffect]:
        """Whatever waited is worked, now that it can be; nothing where it cannot."""
        if self.state is not SessionState.LIVE or self.batch is not None:
            return []
        return self.pump(now_ms) if self.queue else self.rest(now_ms)

    def back_off(self) -> int:
        """How long to wait before the store is asked again: twice as long as the last time, within bounds."""
        limits = self.limits
        self.backoff_ms = min(max(limits.retry_first_ms, self.backoff_ms * 2), limits.retry_last_ms)
        return self.backoff_ms

    def rest(self, now_ms: int) -> list[AnyEffect]:
        """Timers that hold while nothing is in flight."""
        if self.is_idle and self.state is SessionState.LIVE:
            return [do.SetTimer("idle", now_ms + self.limits.session_idle_unload_ms)]
        return []

    def take_back(self) -> int:
        """The batch in flight never happened: its events stand at the head of the queue again; how many."""
        batch, log = self.batch, self.log
        assert batch is not None
        assert log is not None
        log.rollback(batch.mark)
        batch.undo()
        # A device that went away meanwhile sends again what it got no answer to, on its next connection.
        again = [event for event in batch.events if getattr(event, "connection", None) not in batch.gone]
        self.queue.extendleft(reversed(again))
        self.waits_since_ms = batch.since_ms
        self.batch = None
        return len(again)

    # -- trouble ------------------------------------------------------------------------------------------------

    def refuse(self, event: AnyEvent, fault: errors.SyncBridgeError) -> list[AnyEffect]:
        """The answer that says that nothing was done about a queued event."""
        if isinstance(event, on.PushReceived):
            reject = reject_of(fault, event.message, self.version, self.limits.retry_last_ms)
            return [do.Send(event.connection, reject)]
        request = getattr(event, "request", None)
        if request is not None:
            return [do.Reply(request, None, fault.code, fault.message)]
        connection: ConnectionId | None = getattr(event, "connection", None)
        if connection is None or isinstance(event, on.MemberDrained | on.DeviceArrived):
            return []
        answer = error_about(fault, event, self.session)
        if isinstance(event, on.MemberJoined):
            # It may be a member by an earlier join: its connection forgets the session, so the session forgets it.
            said = attendance.forget(self, connection)
            return [do.Send(connection, answer), do.DropMember(connection), *said]
        return [do.Send(connection, answer)]

    def give_up(self, now_ms: int, but: frozenset[type] = frozenset()) -> list[AnyEffect]:
        """Whatever waits, ``but`` these, is answered `unavailable`; a push may come again and is applied once."""
        waiting = list(self.queue)
        self.queue = deque(event for event in waiting if type(event) in _SAID_ONCE | but)
        self.waits_since_ms = now_ms
        said: list[AnyEffect] = []
        for event in waiting:
            if type(event) not in but:
                said += self.refuse(event, errors.Unavailable())
        return said

    def end(self, reason: str) -> list[AnyEffect]:
        self.state = SessionState.GONE
        said: list[AnyEffect] = []
        if self.is_shared and self.log is not None:
            here = {member.device for member in self.members.by_connection.values()}
            said += [do.Absent(device, self.log.heard.get(device, 0)) for device in sorted(here)]
        gone = self.members.clear()
        for connection in gone:
            said += [do.Send(connection, Left(self.session, reason)), do.DropMember(connection)]
        return [*said, do.Unload()]

    def _on_deleted(self, event: on.Deleted, _now_ms: int) -> list[AnyEffect]:
        waiting = [*(self.batch.events if self.batch is not None else ()), *self.queue]
        self.batch, self.queue = None, deque()
        said: list[AnyEffect] = []
        for one in waiting:
            said += self.refuse(one, errors.NotFound())
        return said + self.end(event.reason)

    # -- what does not need the head ----------------------------------------------------------------------------

    def _on_timer(self, event: on.TimerFired, now_ms: int) -> list[AnyEffect]:
        match event.name:
            case "store":
                return outcomes.on_store_silent(self, now_ms)
            case "resubmit":
                if self.batch is None or self.batch.txn is None or self.state is not SessionState.LIVE:
                    return []
                return [do.Commit(self.batch.txn)]
            case "recover":
                return recovery.on_timer(self)
            case "heard":
                return attendance.on_heard_timer(self, now_ms)
            case "offer":
                return self._enqueue(on.OfferExpired(), now_ms)
            case "idle":
                return self._unload() if self.is_idle and self.state is SessionState.LIVE else []
            case _:
                return []

    def _unload(self) -> list[AnyEffect]:
        log = self.log
        assert log is not None
        self.state = SessionState.GONE
        # Who was heard when is only in memory; a later take needs it to say where a dead source was.
        said: list[AnyEffect] = [do.WriteSnapshot(log.snapshot())] if log.heard else []
        return [*said, do.Unload()]


_SAID_ONCE = frozenset({on.MemberDrained, on.DeviceArrived, on.OfferExpired})
"""Nobody is answered about these, so nobody says them again: they are not refused, they wait."""


def _news(event: AnyEvent) -> tuple[type, str]:
    return type(event), getattr(event, "device", "") or getattr(event, "connection", "")


_HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    **outcomes.HANDLERS,
    **recovery.HANDLERS,
    **attendance.HANDLERS,
    on.Deleted: SessionMachine._on_deleted,
    on.TimerFired: SessionMachine._on_timer,
}
"""Every event that does not wait for the head; the others are in `core.work.WORKERS`."""
