"""An engine in a world of its own: a virtual clock, a loop that is stepped by hand, the memory store, fake sockets."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from syncbridge.adapters.embedded.memory import MemoryStore
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import AccountId, DeviceId, JsonObject, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.limits import Limits
from syncbridge.ports import Admission, Identity, Incident, Outcome, Refusal, Submission
from syncbridge.runtime.accounts import Accounts
from syncbridge.runtime.driver import ConnectionDriver
from syncbridge.runtime.engine import Engine
from syncbridge.runtime.timers import Cancellable
from syncbridge.wire.codec import encode_entry

START_MS = 1_790_000_000_000
DAY_MS = 86_400_000


class _Call:
    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class VirtualLoop:
    """Time that moves when it is told to; also the clock."""

    def __init__(self) -> None:
        self.time_ms = START_MS
        self._soon: deque[Callable[[], None]] = deque()
        self._timed: list[tuple[int, int, _Call]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self.time_ms

    def call_soon(self, run: Callable[[], None]) -> None:
        self._soon.append(run)

    def call_at(self, at_ms: int, run: Callable[[], None]) -> Cancellable:
        call = _Call(run)
        heapq.heappush(self._timed, (at_ms, next(self._order), call))
        return call

    def turn(self) -> None:
        """Everything that was asked for by `call_soon` has run."""
        while self._soon:
            self._soon.popleft()()

    def advance(self, ms: int) -> None:
        """``ms`` later; every timer in between has fired at its time."""
        end_ms = self.time_ms + ms
        self.turn()
        while self._timed and self._timed[0][0] <= end_ms:
            at_ms, _, call = heapq.heappop(self._timed)
            self.time_ms = max(self.time_ms, at_ms)
            if not call.is_cancelled:
                call.run()
            self.turn()
        self.time_ms = end_ms

    @property
    def pending_timers(self) -> int:
        return sum(not call.is_cancelled for _, _, call in self._timed)


class FakeOutlet:
    """Keeps what was sent; ``budget_frames`` is how many it takes before it says stop."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.is_over_budget = False
        self.budget_frames = 10**9
        self.closed: tuple[int, str] | None = None
        self.on_closing: Callable[[], None] = lambda: None

    def send(self, payload: bytes) -> bool:
        if self.closed is not None:
            return False
        self.frames.append(payload)
        self.is_over_budget = len(self.frames) > self.budget_frames
        return not self.is_over_budget

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = (code, reason)

    def abort(self) -> None:
        self.close(1006, "")

    def take(self) -> list[dict[str, Any]]:
        """What was sent since the last look, decoded."""
        frames, self.frames = self.frames, []
        return [msgspec.json.decode(frame) for frame in frames]


class Gate:
    """Lets everybody in: the token names account and session ("account" or "account/session")."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.rosters: dict[str, dict[str, DeviceInfo]] = {}
        self.revoked: set[str] = set()
        self.asked_rosters: list[AccountId] = []

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        account, _, session = token.partition("/")
        if account == "bad":
            done(Refusal("token_invalid", "no such token"))
            return
        roster = self.rosters.setdefault(account, {})
        roster[device.id] = device
        identity = Identity(
            AccountId(account), self._loop.now_ms() + DAY_MS, "t1", session=SessionId(session) if session else None
        )
        done(Admission(identity, device, tuple(roster.values())))

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        named, _, session = token.partition("/")
        if named != account:
            done(Refusal("token_invalid", "no such token"))
        else:
            bound = SessionId(session) if session else None
            done(Identity(account, self._loop.now_ms() + 2 * DAY_MS, "t2", device, bound))

    def read_roster(self, account: AccountId) -> None:
        self.asked_rosters.append(account)

    def refused(self, identity: Identity) -> str:
        return "token_revoked" if identity.token_id in self.revoked else ""


class Directory:
    def __init__(self) -> None:
        self.notes: list[tuple[str, str, int, str | None]] = []

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        self.notes.append((session, status, version, active))


class Recorder:
    """Keeps every incident."""

    def __init__(self) -> None:
        self.seen: list[Incident] = []

    def note(self, incident: Incident) -> None:
        self.seen.append(incident)


class Figures:
    def __init__(self) -> None:
        self.seen: list[tuple[str, float, str]] = []

    def measured(self, name: str, value: float, label: str = "") -> None:
        self.seen.append((name, value, label))


class RecordingStore(MemoryStore):
    """The memory store; remembers the batches, and can hold its answers back."""

    def __init__(self, clock: VirtualLoop, limits: Limits) -> None:
        super().__init__(clock, limits=limits)
        self.batches: list[int] = []
        self.loads = 0
        self.is_holding = False
        self._held: list[tuple[Sequence[Submission], Callable[[Outcome], None]]] = []

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        self.batches.append(len(batch))
        if self.is_holding:
            self._held.append((batch, done))
        else:
            super().submit(batch, done)

    def load(self, session: SessionId, reach: int, done: Callable[..., None]) -> None:
        self.loads += 1
        super().load(session, reach, done)

    def release(self) -> None:
        held, self._held = self._held, []
        self.is_holding = False
        for batch, done in held:
            super().submit(batch, done)


class Device:
    """One fake device on one connection."""

    def __init__(self, world: World, driver: ConnectionDriver) -> None:
        self.world = world
        self.driver = driver
        self.outlet = FakeOutlet()
        self._seqs = itertools.count(1)

    def say(self, **message: Any) -> list[dict[str, Any]]:
        """Says one message; answers with what came back within the turn."""
        self.driver.on_text(msgspec.json.encode(message))
        self.world.loop.turn()
        return self.outlet.take()

    def hello(self, device: str, account: str = "ann") -> dict[str, Any]:
        return self.say(type="hello", token=account, device={"id": device, "name": device})[0]

    def join(self, session: str, **more: Any) -> dict[str, Any]:
        return self.say(type="join", session=session, **more)[0]

    def push(self, session: str, path: str, value: object, **more: Any) -> list[dict[str, Any]]:
        live = self.world.engine.session(SessionId(session))
        base = live.machine.version if live is not None else 0
        ops = [{"op": "add", "path": path, "value": value}]
        return self.say(type="push", session=session, seq=next(self._seqs), base=base, ops=ops, **more)

    def hang_up(self) -> None:
        self.driver.on_close(1000, "")
        self.world.loop.turn()


class World:
    """Everything around one engine."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.loop = VirtualLoop()
        self.store = RecordingStore(self.loop, self.limits)
        self.gate = Gate(self.loop)
        self.directory = Directory()
        self.figures = Figures()
        self.recorder = Recorder()
        self._ids = itertools.count(1)
        self.engine = Engine(
            limits=self.limits,
            clock=self.loop,
            call_soon=self.loop.call_soon,
            call_at=self.loop.call_at,
            store=self.store,
            gatekeeper=self.gate,
            directory=self.directory,
            telemetry=self.figures,
            recorder=self.recorder,
            new_id=lambda: f"id{next(self._ids)}",
        )
        self.accounts = Accounts(self.engine)

    def create(self, session: str = "s1", state: JsonObject | None = None, *, account: str = "ann") -> None:
        """A session exists, with nobody active."""
        state = {} if state is None else state
        now_ms = self.loop.now_ms()
        first = Entry(1, "create", now_ms, ops=[{"op": "add", "path": "", "value": state}])
        snapshot = Snapshot(
            SessionId(session), AccountId(account), "custom", f"epoch-{session}", 1, now_ms, now_ms, state, size=2
        )
        self.store.create(snapshot, first, encode_entry(first), lambda outcome: None)

    def connect(self) -> Device:
        device = Device(self, self.engine.connect())
        device.driver.on_open(device.outlet)
        return device

    def device(self, name: str, *sessions: str, account: str = "ann") -> Device:
        """A device that said hello and joined."""
        device = self.connect()
        assert device.hello(name, account)["type"] == "welcome"
        for session in sessions:
            assert device.join(session)["type"] == "joined"
        return device
