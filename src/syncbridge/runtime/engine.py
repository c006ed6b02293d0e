"""The engine: events to machines, orders to the outside, run to completion.

One deque. The engine takes an event, calls the machine it is for, performs the effects in their order; what is known
at once (a machine's word to another, an answer of the store that comes before its call returns) joins the same
deque. So between two events of a session there is no lock, no task and no await, and a session sees its events in
the order in which they happened.

Commits of one turn of the loop go to the store as one batch: the first one asks for a call after this turn, which
takes all that came until then.

Nothing here knows a loop, a socket or a clock: `call_soon`, `call_at`, the outlets and the ports are given.

When a machine raises, we are wrong, not the peer: that session's machine is dropped with a log line that holds its
last events (types and ids), its devices are told `left` with reason `internal` and join anew, and everybody else
notices nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from syncbridge.core.connection_events import AnyConnectionEvent, Dismissed, SessionLost
from syncbridge.core.effects import (
    Absent,
    Broadcast,
    Commit,
    Deliver,
    DropMember,
    Load,
    Measured,
    Noted,
    Present,
    PutBack,
    ReadRoster,
    Relay,
    Reply,
    Send,
    SendToDevice,
    SetTimer,
    Unload,
    WriteSnapshot,
)
from syncbridge.core.events import (
    AnyEvent,
    Deleted,
    DeviceArrived,
    EntriesSeen,
    Event,
    HeadSeen,
    Loaded,
    LoadFailed,
    MemberDrained,
    MemberLagging,
    MemberLeft,
    PushReceived,
    PutBackDone,
    PutBackFailed,
    RosterChanged,
    SeenElsewhere,
    TimerFired,
)
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, RequestId, SessionId
from syncbridge.core.messages import Ack, HandoffPrepare, Left
from syncbridge.core.playhead import of_state
from syncbridge.core.session_types import SESSION_TYPES, SessionType
from syncbridge.limits import Limits
from syncbridge.ports import (
    Alone,
    Clock,
    FlightRecorder,
    Forked,
    Gatekeeper,
    Held,
    Incident,
    Mesh,
    SessionDirectory,
    StateStore,
    StoredLog,
    StoreFault,
    Telemetry,
)
from syncbridge.ports import PutBack as LogPutBack
from syncbridge.runtime.commits import Commits
from syncbridge.runtime.driver import ConnectionDriver
from syncbridge.runtime.hub import Hub
from syncbridge.runtime.pace import AckWaits, is_timed
from syncbridge.runtime.sessions import LiveSession, told, where
from syncbridge.runtime.timers import CallAt, CallSoon
from syncbridge.wire.codec import MessageDecoder, encode_message

_logger = logging.getLogger("syncbridge.runtime")

DELTA_SAMPLE: Final = 64
"""One push in so many is timed for `state_delta_duration_seconds`."""


class Engine:
    """Runs every machine of this node.

    Duties of the caller   every method is called in the thread that `call_soon` and `call_at` run in.
    Blocking               no call blocks; `post_*` returns after everything that is known at once has happened.
    Failures               an exception out of a machine, or out of performing its orders, ends that one machine.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Clock,
        call_soon: CallSoon,
        call_at: CallAt,
        store: StateStore,
        gatekeeper: Gatekeeper,
        directory: SessionDirectory,
        telemetry: Telemetry,
        recorder: FlightRecorder,
        new_id: Callable[[], str],
        types: dict[str, SessionType] | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.call_at = call_at
        self.store = store
        self.mesh: Mesh = mesh or Alone()
        self.gatekeeper = gatekeeper
        self.new_id = new_id
        self.types = SESSION_TYPES if types is None else types
        self.decoder = MessageDecoder(limits)
        self.hub = Hub()
        self.is_draining = False
        self.now_ms = clock.now_ms()
        self.telemetry = telemetry
        self.ack_waits = AckWaits(telemetry, call_soon)
        self._recorder = recorder
        self._queue: deque[tuple[Callable[[Any, Any], None], Any, Any]] = deque()
        self._is_running = False
        self._pushes = 0
        self._sessions: dict[SessionId, LiveSession] = {}
        self._commits = Commits(store, call_soon, directory, telemetry, self._post_living)
        self._asked: dict[RequestId, tuple[SessionId, Callable[[Reply], None]]] = {}
        self._performers: dict[type[Any], Callable[[LiveSession, Any], None]] = {
            Load: self._load,
            Commit: lambda live, effect: self._commits.add(live, effect.txn),
            PutBack: self._put_back,
            Send: self._send,
            SendToDevice: self._send_to_device,
            Deliver: self._deliver,
            Broadcast: self._broadcast,
            Relay: self._relay,
            Present: self._present,
            Absent: lambda live, effect: self.mesh.absent(live.session, effect.device, effect.heard_at),
            ReadRoster: lambda live, _effect: self.gatekeeper.read_roster(live.account),
            DropMember: self._drop_member,
            SetTimer: self._set_timer,
            Reply: lambda _live, effect: self._answer(effect),
            Measured: lambda _live, effect: self.telemetry.measured(effect.name, effect.value, effect.label),
            Noted: self._note_incident,
            Unload: lambda live, _effect: self._drop(live),
            WriteSnapshot: lambda _live, effect: self.store.write_snapshot(effect.snapshot),
        }

    # -- what is happening --------------------------------------------------------------------------------------

    @property
    def live_sessions(self) -> int:
        return len(self._sessions)

    @property
    def commits_in_flight(self) -> int:
        """Transactions whose outcome is not known yet, submitted or about to be."""
        return self._commits.in_flight

    @property
    def is_quiet(self) -> bool:
        """Nothing that a device pushed waits for its answer."""
        return not self._commits.in_flight and not self._queue

    def session(self, session: SessionId) -> LiveSession | None:
        """The session as it lives here, to look at; None where it is not in memory."""
        return self._sessions.get(session)

    def active_heard_at(self, account: AccountId, session: SessionId) -> int | None:
        """When the session's active device was last read from; None where it has no connection here."""
        live = self._sessions.get(session)
        log = None if live is None else live.machine.log
        return None if log is None or log.active is None else self.heard_at(account, DeviceId(log.active))

    def heard_at(self, account: AccountId, device: DeviceId) -> int | None:
        driver = self.hub.of_device(account, device)
        return None if driver is None else driver.heard_at

    # -- what comes in ------------------------------------------------------------------------------------------

    def connect(self, client_address: str = "") -> ConnectionDriver:
        """A handler for one new socket; the address is for the log."""
        return ConnectionDriver(self, ConnectionId(self.new_id()), client_address)

    def post_session(self, session: SessionId, event: AnyEvent) -> None:
        """The session's machine has judged ``event``, or will when those before it are done; loaded where needed."""
        self._queue.append((self._step_session, session, event))
        if not self._is_running:
            self._run()

    def post_connection(self, driver: ConnectionDriver, event: AnyConnectionEvent) -> None:
        self._queue.append((self._step_connection, driver, event))
        if not self._is_running:
            self._run()

    def ask(self, session: SessionId, event: AnyEvent, request: RequestId, done: Callable[[Reply], None]) -> None:
        """``done`` is called once with the answer to the request in ``event``, unless `forget` comes first."""
        self._asked[request] = (session, done)
        self.post_session(session, event)

    def forget(self, request: RequestId) -> None:
        """Nobody waits for this answer any more; the request may still take effect."""
        self._asked.pop(request, None)

    def announce(self, driver: ConnectionDriver, account: AccountId, device: DeviceId) -> None:
        """The device is found by ``driver``, an older connection of it is closed, and its waiting offers are told."""
        self.mesh.arrive(account, device, driver.connection)
        older = self.hub.announced(driver, account, device)
        if older is not None:
            self.post_connection(older, Dismissed("device_replaced"))
        self.tell_waiting(driver, account, device)

    def tell_waiting(self, driver: ConnectionDriver, account: AccountId, device: DeviceId) -> None:
        """The offers that wait for the device are told, once each, when the store has said which."""

        def arrived(sessions: list[SessionId]) -> None:
            if driver.outlet is not None:
                for session in filter(driver.machine.reaches, sessions):
                    self.post_session(session, DeviceArrived(driver.connection, device))

        self.store.waiting_offers(account, device, arrived)

    def keep_heard(self) -> int:
        """Where a playhead runs, the store holds when each device was last heard; how many sessions that were.

        Only memory knew it, and after a restart it says how far a dead source may have come.
        """
        kept = 0
        for live in self._sessions.values():
            log = live.machine.log
            anchor = None if log is None else of_state(log.state)
            if log is None or anchor is None or live.machine.version != log.version:
                continue  # what is past the committed version may never be
            if log.heard and anchor.rate > 0:
                self.store.write_snapshot(log.snapshot())
                kept += 1
        return kept

    # -- running ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        queue = self._queue
        self._is_running = True
        self.now_ms = self.clock.now_ms()
        try:
            while queue:
                step, target, event = queue.popleft()
                step(target, event)
        finally:
            self._is_running = False

    def _step_connection(self, driver: ConnectionDriver, event: AnyConnectionEvent) -> None:
        try:
            driver.step(event, self.now_ms)
        except Exception as error:  # noqa: BLE001 - whatever broke, the others live
            _logger.error(
                "websocket error of ours on %s; the connection %s is closed: %s",
                type(event).__name__,
                driver.connection,
                where(error),
            )
            driver.give_up()
            for session in sorted(driver.machine.joined):
                self.post_session(session, MemberLeft(driver.connection, driver.heard_at, True, "internal"))

    def _step_session(self, session: SessionId, event: AnyEvent) -> None:
        live = self._sessions.get(session)
        if live is None:
            if type(event) in _NEVER_LOADS:
                return
            live = LiveSession(session, self, self._on_timer)
            self._sessions[session] = live
        self._step(live, event)

    def _step(self, live: LiveSession, event: AnyEvent) -> None:
        live.recent.append((self.now_ms, type(event)))
        try:
            if type(event) is PushReceived and self._is_sampled():
                since = perf_counter()
                effects = live.machine.receive(event, self.now_ms)
                self.telemetry.measured("delta_ms", (perf_counter() - since) * 1e3)
            else:
                effects = live.machine.receive(event, self.now_ms)
            for effect in effects:
                self._performers[type(effect)](live, effect)
        except Exception as error:  # noqa: BLE001 - whatever broke, the others live
            _logger.error(
                "the machine of session %s failed on [%s] and is dropped; its last events: %s; %s",
                live.session,
                told(event),
                "; ".join(live.history()),
                where(error),
            )
            self._break(live, event)

    def _is_sampled(self) -> bool:
        """One push in many is timed: a histogram costs as much as a good part of what it would measure."""
        self._pushes += 1
        return self._pushes % DELTA_SAMPLE == 1

    def _step_living(self, live: LiveSession, event: AnyEvent) -> None:
        """For answers to what this very machine ordered: a machine that took its place must not get them."""
        if self._sessions.get(live.session) is live:
            self._step(live, event)

    def _post_living(self, live: LiveSession, event: AnyEvent) -> None:
        self._queue.append((self._step_living, live, event))
        if not self._is_running:
            self._run()

    def _break(self, live: LiveSession, event: AnyEvent) -> None:
        """The machine is gone; its devices and requests are answered."""
        session = live.session
        self.telemetry.measured("machine_failures", 1.0, type(event).__name__)
        self._note_incident(live, Noted("broken", "", type(event).__name__, {}))
        for device in sorted({member.device for member in live.machine.members.by_connection.values()}):
            self.mesh.absent(session, device, self.now_ms)
        self._drop(live)
        frame = encode_message(Left(session, "internal"))
        for driver in list(self.hub.following(session)):
            if driver.outlet is not None:
                driver.outlet.send(frame)
            self.post_connection(driver, SessionLost(session))
        for request in [request for request, (asked, _) in self._asked.items() if asked == session]:
            self._answer(Reply(request, None, "internal"))

    def _drop(self, live: LiveSession) -> None:
        live.timers.clear()
        if live.is_followed:
            live.is_followed = False
            self.mesh.unfollow(live.session)
        if self._sessions.get(live.session) is live:
            del self._sessions[live.session]

    # -- performing a session's orders --------------------------------------------------------------------------

    def _load(self, live: LiveSession, effect: Load) -> None:
        def done(answer: StoredLog | StoreFault) -> None:
            if isinstance(answer, StoreFault):
                if answer.code != "not_found":
                    _logger.error("session %s cannot be loaded: %s %s", live.session, answer.code, answer.detail)
                self._post_living(live, LoadFailed(answer.code))
            else:
                live.account = answer.snapshot.account
                if not live.is_followed and self._sessions.get(live.session) is live:
                    live.is_followed = True
                    self.mesh.follow(live.session)
                loaded = Loaded(answer.snapshot, answer.entries, answer.digests, answer.txns, answer.offer_left_ms)
                self._post_living(live, loaded)

        # What this session's last machine had committed, and was about to submit, stands in the log that is read.
        self._commits.submit()
        self.store.load(live.session, self.limits.resume_entries_max, done)

    def _put_back(self, live: LiveSession, effect: PutBack) -> None:
        def done(answer: LogPutBack | Forked | StoreFault) -> None:
            if isinstance(answer, LogPutBack):
                _logger.warning("session %s was put back into the store up to %d", live.session, answer.version)
                self._post_living(live, PutBackDone(answer.version))
            else:
                code = "forked" if isinstance(answer, Forked) else answer.code
                self._post_living(live, PutBackFailed(code))

        self._commits.submit()
        held = Held(effect.snapshot, effect.entries, effect.digests, effect.txns, effect.before_at)
        self.store.put_back(held, done)

    def _send(self, live: LiveSession, effect: Send) -> None:
        driver = self.hub.by_connection.get(effect.connection)
        if driver is not None and driver.outlet is not None:
            message = effect.message
            if type(message) is HandoffPrepare and not driver.is_first_told(live.session, message.handoff):
                return
            driver.outlet.send(encode_message(message))
            if type(message) is Ack and is_timed(message.seq):
                self.ack_waits.answered(effect.connection, message)

    def _send_to_device(self, live: LiveSession, effect: SendToDevice) -> None:
        driver = self.hub.of_device(live.account, effect.device)
        if driver is None:
            self.mesh.tell(live.account, effect.device, live.session, encode_message(effect.message))
        elif driver.machine.reaches(live.session):
            message = effect.message
            if type(message) is not HandoffPrepare or driver.is_first_told(live.session, message.handoff):
                driver.send(message)

    def _deliver(self, live: LiveSession, effect: Deliver) -> None:
        frame = live.fanout.frame(effect.entries)
        drivers = self.hub.by_connection
        for connection in effect.connections:
            driver = drivers.get(connection)
            if driver is None or driver.outlet is None:
                continue
            if not driver.outlet.send(frame):
                self.post_session(live.session, MemberLagging(connection))

    def _broadcast(self, live: LiveSession, effect: Broadcast) -> None:
        frame = encode_message(effect.message)
        drivers = self.hub.by_connection
        for connection in effect.connections:
            driver = drivers.get(connection)
            if driver is None or driver.outlet is None or (effect.is_droppable and driver.outlet.is_over_budget):
                continue
            driver.outlet.send(frame)

    def _relay(self, live: LiveSession, effect: Relay) -> None:
        self.mesh.signal(live.session, effect.device, encode_message(effect.message))

    def _present(self, live: LiveSession, effect: Present) -> None:
        heard_at = self.heard_at(live.account, effect.device)
        self.mesh.present(live.session, effect.device, self.now_ms if heard_at is None else heard_at)

    def _drop_member(self, live: LiveSession, effect: DropMember) -> None:
        driver = self.hub.by_connection.get(effect.connection)
        if driver is not None:
            self.post_connection(driver, SessionLost(live.session))

    def _set_timer(self, live: LiveSession, effect: SetTimer) -> None:
        live.timers.set(effect.name, effect.at_ms)

    def _on_timer(self, live: LiveSession, name: str) -> None:
        self._post_living(live, TimerFired(name))

    def _answer(self, reply: Reply) -> None:
        waiting = self._asked.pop(reply.request, None)
        if waiting is not None:
            waiting[1](reply)

    def _note_incident(self, live: LiveSession, note: Noted) -> None:
        self._recorder.note(Incident(live.session, self.now_ms, note.device, note.kind, note.code, note.detail))


_NEVER_LOADS: Final[frozenset[type[Event]]] = frozenset(
    {MemberLeft, MemberLagging, MemberDrained, RosterChanged, EntriesSeen, HeadSeen, SeenElsewhere, Deleted}
)
"""News for those who live here; a session that is not in memory has nobody whom they concern."""
