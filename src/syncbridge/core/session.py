"""One session: a deterministic machine, events in, effects out.

Theory. The machine folds the log, and every change goes through the same narrow place: what needs the head waits in
one queue; when no commit is in flight, the whole queue is worked off against the log as it would become (`_pump`),
and goes to the store as one transaction. Nothing that rests on it is said before the store has answered:

========== ==================================== ===============================================================
state      means                                leaves by
========== ==================================== ===============================================================
LOADING    the log is being read; all waits     Loaded -> LIVE; LoadFailed -> GONE, everybody is told
LIVE       no commit, or one, is in flight      Unload (nobody follows), Deleted -> GONE; EpochChanged -> LOADING
GONE       deleted, failed or unloaded          never; whatever comes is answered `not_found`
========== ==================================== ===============================================================

============== ===================================================================================================
answer         what the machine does
============== ===================================================================================================
Committed      says what the batch earned: acks, entries, joins, replies, in the order of the queue
Conflicted     takes the batch back, adopts what others committed, works the same queue again (bounded)
OutcomeUnknown submits the very same transaction again, after a while that doubles
EpochChanged   takes the batch back and loads the log again; members get a snapshot
============== ===================================================================================================

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
from enum import Enum
from typing import Any

import msgspec

from syncbridge import errors
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.answers import ASKED_BY_MEMBERS, error_about, reject_of
from syncbridge.core.batch import Batch
from syncbridge.core.effects import AnyEffect
from syncbridge.core.entry import Txn
from syncbridge.core.events import AnyEvent
from syncbridge.core.ids import ConnectionId, SessionId, TxnId
from syncbridge.core.ledger import Ledger
from syncbridge.core.log import SessionLog
from syncbridge.core.members import Members
from syncbridge.core.messages import Left, SignalMessage
from syncbridge.core.session_types import SESSION_TYPES, SessionType
from syncbridge.core.work import WORKERS
from syncbridge.limits import Limits


class SessionState(Enum):
    """Whether the log is being read, in use, or let go."""

    LOADING = "loading"
    LIVE = "live"
    GONE = "gone"


class SessionMachine:
    """See the module's text; `receive` is the only verb.

    ``new_txn_id`` gives a fresh unique id at each call; ``types`` are the session types known here.
    """

    __slots__ = (
        "_backoff_ms",
        "_batch",
        "_conflicts",
        "_is_watching",
        "_queue",
        "_since_snapshot",
        "kind",
        "ledger",
        "limits",
        "log",
        "members",
        "new_txn_id",
        "session",
        "state",
        "types",
    )

    def __init__(
        self,
        session: SessionId,
        limits: Limits,
        new_txn_id: Callable[[], str],
        types: dict[str, SessionType] | None = None,
    ) -> None:
        self.session = session
        self.limits = limits
        self.new_txn_id = new_txn_id
        self.types = SESSION_TYPES if types is None else types
        self.kind: SessionType = self.types["custom"]
        self.state: SessionState | None = None
        self.log: SessionLog | None = None
        self.members = Members()
        self.ledger = Ledger()
        self._queue: deque[AnyEvent] = deque()
        self._batch: Batch | None = None
        self._conflicts = 0
        self._is_watching = False
        self._backoff_ms = 0
        self._since_snapshot = 0

    @property
    def version(self) -> int:
        """The last committed version; 0 before the log is loaded."""
        if self._batch is not None:
            return self._batch.mark.version
        return 0 if self.log is None else self.log.version

    @property
    def is_idle(self) -> bool:
        """Nobody follows, nothing waits."""
        return not self.members.by_connection and not self._queue and self._batch is None

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
            return self._refuse(event, errors.NotFound())
        if type(event) in _SAID_ONCE:
            # However long it takes, one of a kind from each waits: the newest, for an older connection may be gone.
            self._queue = deque(waiting for waiting in self._queue if _news(waiting) != _news(event))
        elif len(self._queue) >= self.limits.queue_entries_max:
            busy = errors.Busy("too much waits on this session; send it again later")
            return [do.Measured("limit_hit", 1, "queue_entries_max"), *self._refuse(event, busy)]
        self._queue.append(event)
        if self.state is SessionState.LIVE and self._batch is None:
            return self._pump(now_ms)
        return []

    def _pump(self, now_ms: int) -> list[AnyEffect]:
        """Work off the queue against the log; commit what it comes to, or say at once what changes nothing."""
        log = self.log
        assert log is not None
        said: list[AnyEffect] = []
        while self._queue and self._batch is None:
            batch = Batch(self, log, now_ms)
            while self._queue and len(batch.entries) < self.limits.txn_entries_max:
                event = self._queue.popleft()
                batch.events.append(event)
                WORKERS[type(event)](batch, event)
            batch.finish()
            if batch.entries:
                said += self._commit(batch, now_ms)
            else:
                said += batch.effects
        if self._batch is None:
            said += self._rest(now_ms)
        return said

    def _commit(self, batch: Batch, now_ms: int) -> list[AnyEffect]:
        log = self.log
        assert log is not None
        self._batch = batch
        self._since_snapshot += len(batch.entries)
        offer = log.offer
        snapshot = None
        if batch.wants_snapshot or self._since_snapshot >= self.limits.snapshot_entries_max:
            snapshot = log.snapshot()
            self._since_snapshot = 0
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
        )
        if self._is_watching:
            return [do.Commit(batch.txn)]
        # One timer for many commits: it looks at whatever is in flight when it fires.
        self._is_watching = True
        return [do.Commit(batch.txn), do.SetTimer("store", now_ms + self.limits.store_timeout_ms)]

    def _rest(self, now_ms: int) -> list[AnyEffect]:
        """Timers that hold while nothing is in flight."""
        if self.is_idle and self.state is SessionState.LIVE:
            return [do.SetTimer("idle", now_ms + self.limits.session_idle_unload_ms)]
        return []

    def _take_back(self) -> None:
        """The batch in flight never happened: its events stand at the head of the queue again."""
        batch, log = self._batch, self.log
        assert batch is not None
        assert log is not None
        log.rollback(batch.mark)
        batch.undo()
        # A device that went away meanwhile sends again what it got no answer to, on its next connection.
        again = [event for event in batch.events if getattr(event, "connection", None) not in batch.gone]
        self._queue.extendleft(reversed(again))
        self._batch = None

    # -- the store's answers ------------------------------------------------------------------------------------

    def _on_loaded(self, event: on.Loaded, now_ms: int) -> list[AnyEffect]:
        if self.state is not SessionState.LOADING:
            return []
        log = SessionLog(event.snapshot, self.limits)
        try:
            for entry, digest in zip(event.entries, event.digests, strict=True):
                if entry.version != log.version + 1:
                    raise errors.StateDamaged(f"entry {entry.version} follows {log.version}")
                log.append(entry, digest)
        except errors.SyncBridgeError:
            return self._on_load_failed(on.LoadFailed(errors.StateDamaged.code), now_ms)
        log.trim()
        is_same_log = self.log is not None and self.log.epoch == log.epoch
        if self.log is not None and is_same_log:
            log.works = self.log.works  # what devices had made is no less true of the log read again
        elif self.log is not None:
            self.members.forget_positions()
        self.log = log
        self.kind = self.types.get(log.kind) or self.types["custom"]
        self.state = SessionState.LIVE
        self._since_snapshot = len(event.entries)
        said: list[AnyEffect] = []
        for connection in list(self.members.by_connection):
            said += Batch(self, log, now_ms).catch_up(connection, "missed" if is_same_log else "epoch")
        if log.offer is not None:
            said.append(do.SetTimer("offer", log.offer.expires_at))
        return said + (self._pump(now_ms) if self._queue else self._rest(now_ms))

    def _on_load_failed(self, event: on.LoadFailed, now_ms: int) -> list[AnyEffect]:
        if self.state is not SessionState.LOADING:
            return []
        fault = errors.by_code()[event.code]()
        said: list[AnyEffect] = []
        waiting: list[Any] = list(self._queue)
        self._queue.clear()
        for event_ in waiting:
            if isinstance(fault, errors.NotFound) and self._is_unjoined(event_):
                said.append(do.Send(event_.connection, error_about(errors.NotJoined(), event_, self.session)))
            else:
                said += self._refuse(event_, fault)
        return said + self._end(fault.code)

    def _is_unjoined(self, event: Any) -> bool:
        """It takes a member to ask this, and that is none: answered as where the session is somebody else's."""
        return type(event) in ASKED_BY_MEMBERS and event.connection not in self.members.by_connection

    def _on_committed(self, event: on.Committed, now_ms: int) -> list[AnyEffect]:
        batch, log = self._batch, self.log
        if batch is None or batch.txn is None or batch.txn.id != event.txn or log is None:
            return []
        self._batch = None
        self._conflicts = self._backoff_ms = 0
        log.trim()
        said = batch.said()
        said += self._pump(now_ms) if self._queue else self._rest(now_ms)
        return said

    def _on_conflicted(self, event: on.Conflicted, now_ms: int) -> list[AnyEffect]:
        batch = self._batch
        if batch is None or batch.txn is None or batch.txn.id != event.txn:
            return []
        self._take_back()
        self._conflicts += 1
        said: list[AnyEffect] = [do.Measured("retry", self._conflicts)]
        said += self._adopt(event.entries, event.digests)
        if self.state is not SessionState.LIVE:
            return said
        if self._conflicts > self.limits.retry_conflicts_max:
            self._conflicts = 0
            said += self._give_up()
        return said + self._pump(now_ms)

    def _on_unknown(self, event: on.OutcomeUnknown, now_ms: int) -> list[AnyEffect]:
        if self._batch is None or self._batch.txn is None or self._batch.txn.id != event.txn:
            return []
        limits = self.limits
        self._backoff_ms = min(max(limits.retry_first_ms, self._backoff_ms * 2), limits.retry_last_ms)
        return [do.SetTimer("resubmit", now_ms + self._backoff_ms)]

    def _on_epoch_changed(self, event: on.EpochChanged, now_ms: int) -> list[AnyEffect]:
        if self._batch is None or self._batch.txn is None or self._batch.txn.id != event.txn:
            return []
        self._take_back()
        self.state = SessionState.LOADING
        self.members.hold()
        return [do.Load()]

    def _on_entries_seen(self, event: on.EntriesSeen, now_ms: int) -> list[AnyEffect]:
        if self.state is not SessionState.LIVE or self._batch is not None:
            return []  # the commit's own answer, or the load, tells
        return self._adopt(event.entries, event.digests)

    def _adopt(self, entries: list[Any], digests: list[int]) -> list[AnyEffect]:
        """Entries that others committed; a gap means that the log must be read again."""
        log = self.log
        assert log is not None
        fresh = []
        for entry, digest in zip(entries, digests, strict=True):
            if entry.version <= log.version:
                continue
            if entry.version != log.version + 1:
                self.state = SessionState.LOADING
                self.members.hold()
                return [do.Load()]
            log.append(entry, digest)
            fresh.append(entry)
        log.trim()
        self._since_snapshot += len(fresh)
        there = self.members.receivers()
        self.members.advance(log.version)
        said: list[AnyEffect] = [do.Deliver(fresh, there)] if fresh and there else []
        if log.offer is not None and fresh:
            said.append(do.SetTimer("offer", log.offer.expires_at))
        return said

    # -- trouble ------------------------------------------------------------------------------------------------

    def _refuse(self, event: AnyEvent, fault: errors.SyncBridgeError) -> list[AnyEffect]:
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
            self.members.leave(connection)
            if self._batch is not None:
                self._batch.gone.add(connection)
            return [do.Send(connection, answer), do.DropMember(connection)]
        return [do.Send(connection, answer)]

    def _give_up(self) -> list[AnyEffect]:
        """Whatever waits is answered `unavailable`; a push may be sent again and is still applied once."""
        waiting = list(self._queue)
        self._queue = deque(event for event in waiting if type(event) in _SAID_ONCE)
        said: list[AnyEffect] = []
        for event in waiting:
            said += self._refuse(event, errors.Unavailable())
        return said

    def _on_store_silent(self, now_ms: int) -> list[AnyEffect]:
        batch, timeout_ms = self._batch, self.limits.store_timeout_ms
        if batch is None:
            self._is_watching = False
            return []
        if now_ms - batch.now_ms < timeout_ms:
            return [do.SetTimer("store", batch.now_ms + timeout_ms)]
        said: list[AnyEffect] = []
        for event in batch.events:
            if not isinstance(event, on.MemberJoined):
                said += self._refuse(event, errors.Unavailable())
        said += self._give_up()
        return [*said, do.SetTimer("store", now_ms + timeout_ms)]

    def _end(self, reason: str) -> list[AnyEffect]:
        self.state = SessionState.GONE
        gone = self.members.clear()
        said: list[AnyEffect] = []
        for connection in gone:
            said += [do.Send(connection, Left(self.session, reason)), do.DropMember(connection)]
        return [*said, do.Unload()]

    def _on_deleted(self, event: on.Deleted, _now_ms: int) -> list[AnyEffect]:
        waiting = [*(self._batch.events if self._batch is not None else ()), *self._queue]
        self._batch, self._queue = None, deque()
        said: list[AnyEffect] = []
        for one in waiting:
            said += self._refuse(one, errors.NotFound())
        return said + self._end(event.reason)

    # -- what does not need the head ----------------------------------------------------------------------------

    def _on_member_left(self, event: on.MemberLeft, now_ms: int) -> list[AnyEffect]:
        self._queue = deque(
            waiting for waiting in self._queue if getattr(waiting, "connection", None) != event.connection
        )
        if self._batch is not None:
            self._batch.gone.add(event.connection)
        device = self.members.leave(event.connection)
        if device is None:
            return self._rest(now_ms) if self._batch is None else []
        log = self.log
        if log is not None:
            log.heard[device] = max(log.heard.get(device, 0), event.heard_at)
        # Who is active by a commit in flight is not so yet, and must not be said.
        holder = self._batch.mark if self._batch is not None else log
        said = self.members.presence(self.session, device, holder.active if holder is not None else None)
        said.append(do.Noted("left", device, event.cause, {"heard_at": event.heard_at}))
        batch = self._batch
        if batch is not None and log is not None and any(type(there) is on.MemberJoined for there in batch.events):
            # A join in flight, its own or another's, is about to say that it is here.
            batch.effects += self.members.presence(self.session, device, log.active)
        return said + (self._rest(now_ms) if self._batch is None else [])

    def _on_member_lagging(self, event: on.MemberLagging, _now_ms: int) -> list[AnyEffect]:
        self.members.lag(event.connection)
        return []

    def _on_roster_changed(self, event: on.RosterChanged, _now_ms: int) -> list[AnyEffect]:
        news: list[AnyEffect] = []
        if self.log is not None and self.log.account == event.account:
            news = self.members.renew(self.session, event.roster, self.log.active)
        # A join brings the roster of the time when it was said: one that waits must not bring an old one back.
        self._queue = deque(_with_roster(waiting, event) for waiting in self._queue)
        if self._batch is not None:
            self._batch.events = [_with_roster(waiting, event) for waiting in self._batch.events]
        return news

    def _on_signal(self, event: on.SignalReceived, _now_ms: int) -> list[AnyEffect]:
        if event.connection not in self.members.by_connection:
            return []
        others = [there for there in self.members.by_connection if there != event.connection]
        signal = SignalMessage(self.session, event.device, event.message.data)
        return [do.Broadcast(signal, others, is_droppable=True)] if others else []

    def _on_timer(self, event: on.TimerFired, now_ms: int) -> list[AnyEffect]:
        match event.name:
            case "store":
                return self._on_store_silent(now_ms)
            case "resubmit":
                if self._batch is None or self._batch.txn is None:
                    return []
                return [do.Commit(self._batch.txn)]
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


def _with_roster(waiting: AnyEvent, news: on.RosterChanged) -> AnyEvent:
    if isinstance(waiting, on.MemberJoined) and waiting.account == news.account:
        return msgspec.structs.replace(waiting, roster=news.roster)
    return waiting


_HANDLERS: dict[type, Callable[[SessionMachine, Any, int], list[AnyEffect]]] = {
    on.Loaded: SessionMachine._on_loaded,
    on.LoadFailed: SessionMachine._on_load_failed,
    on.Committed: SessionMachine._on_committed,
    on.Conflicted: SessionMachine._on_conflicted,
    on.OutcomeUnknown: SessionMachine._on_unknown,
    on.EpochChanged: SessionMachine._on_epoch_changed,
    on.EntriesSeen: SessionMachine._on_entries_seen,
    on.MemberLeft: SessionMachine._on_member_left,
    on.MemberLagging: SessionMachine._on_member_lagging,
    on.RosterChanged: SessionMachine._on_roster_changed,
    on.SignalReceived: SessionMachine._on_signal,
    on.Deleted: SessionMachine._on_deleted,
    on.TimerFired: SessionMachine._on_timer,
}
"""Every event that does not wait for the head; the others are in `core.work.WORKERS`."""
