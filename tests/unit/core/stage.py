"""A stage for one session: the real machine, a store and a clock in the test's hand, devices with their inboxes."""

from __future__ import annotations

import itertools
from typing import Any, TypeVar

import msgspec

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.digest import push_digest
from syncbridge.core.entry import Entry, Intent, Position, Snapshot, Txn
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, HandoffId, RequestId, SessionId, TxnId
from syncbridge.core.log import founding
from syncbridge.core.session import SessionMachine
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.limits import Limits
from syncbridge.ports import Incident

NOW_MS = 1_700_000_000_000
ACCOUNT = AccountId("anna")
ROSTER = tuple(m.DeviceInfo(name, name.title()) for name in ("phone", "tv", "laptop", "watch"))

_Message = TypeVar("_Message", bound=m.ServerMessage)


class Stage:
    """`phone` created the session and is active. The store answers at once unless ``holds`` is set."""

    def __init__(
        self,
        kind: str = "breathing",
        *,
        limits: Limits | None = None,
        state: Any = None,
        is_shared: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.is_shared = is_shared
        self.now_ms = NOW_MS
        self.holds = False
        self.held: list[Txn] = []
        self.txns: list[Txn] = []
        self.replies: dict[str, do.Reply] = {}
        self.timers: dict[str, int] = {}
        self.inbox: dict[str, list[m.ServerMessage]] = {}
        self.effects: list[do.AnyEffect] = []
        self.incidents: list[Incident] = []
        self.seq: dict[str, int] = {}
        self.offer_left_ms: int | None = None  # what the store's clock says of a waiting offer
        self.session = SessionId("s1")
        first = SESSION_TYPES[kind].initial_state() if state is None else state
        self.snapshot, _ = founding(
            first,
            session=self.session,
            account=ACCOUNT,
            kind=kind,
            title="",
            epoch="e1",
            device="phone",
            now_ms=self.now_ms,
        )
        self._ids = itertools.count(1)
        self.machine = self._fresh_machine()

    def _fresh_machine(self) -> SessionMachine:
        return SessionMachine(self.session, self.limits, lambda: f"t{next(self._ids)}", is_shared=self.is_shared)

    # -- the log as the store has it ----------------------------------------------------------------------------

    @property
    def stored(self) -> list[Entry]:
        return [entry for txn in self.txns for entry in txn.entries]

    @property
    def playhead(self) -> Any:
        log = self.machine.log
        assert log is not None
        return log.state["playhead"]

    @property
    def state(self) -> Any:
        log = self.machine.log
        assert log is not None
        return log.state

    @property
    def active(self) -> str | None:
        log = self.machine.log
        assert log is not None
        return log.active

    def crash(self) -> None:
        """The process dies: memory is gone, what the store answered for is not; connections are gone."""
        self.machine = self._fresh_machine()
        self.held.clear()
        self.timers.clear()
        self.inbox = {device: [] for device in self.inbox}

    # -- driving ------------------------------------------------------------------------------------------------

    def happens(self, event: Any) -> None:
        """The event reaches the machine; effects are performed, the store's answers follow at once or are held."""
        todo = [event]
        while todo:
            for effect in self.machine.receive(todo.pop(0), self.now_ms):
                self.effects.append(effect)
                match effect:
                    case do.Load():
                        entries = self.stored
                        digests = [digest for txn in self.txns for digest in txn.digests]
                        txns = [str(txn.id) for txn in self.txns for _ in txn.entries] if self.machine.is_shared else []
                        todo.append(on.Loaded(self.snapshot, entries, digests, txns, self.offer_left_ms))
                    case do.Commit(txn=txn):
                        if self.holds:
                            self.held.append(txn)
                        else:
                            self.txns.append(txn)
                            todo.append(on.Committed(txn.id))
                    case do.Send(connection=connection, message=message):
                        self.inbox.setdefault(str(connection), []).append(message)
                    case do.SendToDevice(device=device, message=message):
                        self.inbox.setdefault(str(device), []).append(message)
                    case do.Broadcast(message=message, connections=connections):
                        for connection in connections:
                            self.inbox.setdefault(str(connection), []).append(message)
                    case do.Deliver(entries=entries, connections=connections):
                        for connection in connections:
                            self.inbox.setdefault(str(connection), []).append(
                                m.EntriesMessage(self.session, list(entries))
                            )
                    case do.SetTimer(name=name, at_ms=at_ms):
                        self.timers[name] = at_ms
                    case do.Reply(request=request):
                        self.replies[str(request)] = effect
                    case do.Noted(kind=kind, device=device, code=code, detail=detail):
                        self.incidents.append(Incident(self.session, self.now_ms, device, kind, code, detail))
                    case _:
                        pass

    def commits(self, txn: Txn | None = None) -> None:
        """The store answers the held transaction: it is in the log."""
        txn = txn or self.held.pop(0)
        self.txns.append(txn)
        self.happens(on.Committed(txn.id))

    def passes(self, ms: int) -> None:
        """Time passes; timers that run out fire, in order."""
        until = self.now_ms + ms
        while True:
            due = sorted((at, name) for name, at in self.timers.items() if at <= until)
            if not due:
                break
            at, name = due[0]
            del self.timers[name]
            self.now_ms = max(self.now_ms, at)
            self.happens(on.TimerFired(name))
        self.now_ms = until

    # -- devices (a connection is named after its device) ----------------------------------------------------------

    def joins(self, device: str, *, version: int | None = None, epoch: str = "e1", seq: int | None = None) -> m.Joined:
        position = None if version is None else Position(epoch, version)
        join = m.Join(self.session, position, seq)
        self.inbox[device] = []
        self.happens(on.MemberJoined(ConnectionId(device), ACCOUNT, DeviceId(device), ROSTER, join))
        return self.last(device, m.Joined)

    def leaves(self, device: str, *, heard_at: int | None = None) -> None:
        heard = self.now_ms if heard_at is None else heard_at
        self.happens(on.MemberLeft(ConnectionId(device), heard, is_gone=True))

    def pushes(
        self,
        device: str,
        ops: list[dict[str, Any]],
        *,
        base: int,
        seq: int | None = None,
        intent: Intent = "edit",
        at: int | None = None,
        fence: int | None = None,
        epoch: str | None = None,
        settled: int | None = None,
    ) -> m.Ack | m.Reject:
        """The answer; ``seq`` goes on by itself unless given."""
        if seq is None:
            seq = self.seq[device] = self.seq.get(device, 0) + 1
        push = m.Push(self.session, seq, base, ops, intent, fence, at, epoch, settled)
        self.happens(on.PushReceived(ConnectionId(device), DeviceId(device), push, push_digest(push)))
        if self.holds:
            return m.Reject(self.session, seq, "held", "same", "", 0)
        for answer in reversed(self.inbox[device]):
            if isinstance(answer, m.Ack | m.Reject):
                assert answer.seq == seq
                return answer
        raise AssertionError(f"push {seq} of {device} got no answer")

    def moves(
        self,
        device: str,
        position: float,
        *,
        rate: float = 1,
        intent: Intent,
        base: int | None = None,
        at: int | None = None,
        seq: int | None = None,
    ) -> m.Ack | m.Reject:
        """A push of the playhead; ``at`` goes into both the anchor and the push."""
        value = {"position": position, "rate": rate, "at": self.now_ms if at is None else at}
        ops = [{"op": "replace", "path": "/playhead", "value": value}]
        base = self.machine.version if base is None else base
        return self.pushes(device, ops, base=base, intent=intent, at=at, seq=seq)

    def offers(self, device: str, to: str, handoff: str = "h1", *, expires_ms: int | None = None) -> None:
        offer = m.HandoffOffer(self.session, to, expires_ms)
        self.happens(on.OfferReceived(ConnectionId(device), DeviceId(device), offer, HandoffId(handoff)))

    def readies(self, device: str, handoff: str = "h1", *, heard_at: int | None = None) -> None:
        ready = m.HandoffReady(self.session, handoff)
        self.happens(on.ReadyReceived(ConnectionId(device), DeviceId(device), ready, heard_at))

    def takes(self, device: str, handoff: str = "h2", *, heard_at: int | None = None) -> None:
        take = m.HandoffTake(self.session)
        self.happens(on.TakeReceived(ConnectionId(device), DeviceId(device), take, HandoffId(handoff), heard_at))

    def declines(self, device: str, handoff: str = "h1") -> None:
        decline = m.HandoffDecline(self.session, handoff)
        self.happens(on.DeclineReceived(ACCOUNT, ConnectionId(device), DeviceId(device), decline))

    def cancels(self, device: str, handoff: str = "h1") -> None:
        cancel = m.HandoffCancel(self.session, handoff)
        self.happens(on.CancelReceived(ConnectionId(device), DeviceId(device), cancel))

    def asks(self, event: Any) -> do.Reply:
        self.happens(event)
        return self.replies[str(event.request)]

    def entry(self, version: int, *, device: str = "", seq: int = 0, **fields: Any) -> Entry:
        """An entry as another node would commit it."""
        return Entry(
            version=version, kind=fields.pop("kind", "patch"), at=self.now_ms, device=device, seq=seq, **fields
        )

    # -- reading ------------------------------------------------------------------------------------------------

    def last(self, device: str, kind: type[_Message]) -> _Message:
        """The newest message of a kind in the device's inbox."""
        for message in reversed(self.inbox.get(device, [])):
            if isinstance(message, kind):
                return message
        raise AssertionError(f"{device} got no {kind.__name__}: {self.inbox.get(device)}")

    def all(self, device: str, kind: type[_Message]) -> list[_Message]:
        return [message for message in self.inbox.get(device, []) if isinstance(message, kind)]

    def versions_told(self, device: str) -> list[int]:
        """Every version the device was told, in the order told, joined positions excluded."""
        told: list[int] = []
        for message in self.inbox.get(device, []):
            if isinstance(message, m.EntriesMessage):
                told += [entry.version for entry in message.entries]
            elif isinstance(message, m.Ack):
                told.append(message.version)
        return told


def request(name: str = "r1") -> RequestId:
    return RequestId(name)


def conflict(stage: Stage, entries: list[Entry]) -> None:
    """The store answers the held transaction: others were faster."""
    txn = stage.held.pop(0)
    others = Txn(
        id=TxnId("other"),
        session=stage.session,
        account=ACCOUNT,
        epoch="e1",
        expected=txn.expected,
        entries=entries,
        digests=[0] * len(entries),
        status="active",
    )
    stage.txns.append(others)
    txns = [str(others.id)] * len(entries) if stage.machine.is_shared else []
    stage.happens(on.Conflicted(txn.id, entries, [0] * len(entries), txns))


def orders(stage: Stage, kind: type) -> list[Any]:
    return [effect for effect in stage.effects if isinstance(effect, kind)]


def on_disk(txn: Any, entry: Entry) -> Any:
    """The transaction as the store has it: with this entry."""
    return msgspec.structs.replace(txn, id=TxnId("other"), entries=[entry], digests=[0])


def fold(snapshot: Snapshot, entries: list[Entry], limits: Limits) -> Any:
    """The state that a fresh reader of the log comes to."""
    from syncbridge.core.log import SessionLog

    log = SessionLog(snapshot, limits)
    for entry in entries:
        log.append(entry, 0)
    return log.state
