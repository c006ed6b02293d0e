"""A node without sockets: the real engine, codec and memory store, four fake outlets, and a loop stepped by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from bench.core_states import session_state
from syncbridge.adapters.embedded.memory import MemoryStore
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import AccountId, DeviceId, JsonObject, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.limits import Limits, Plan
from syncbridge.ports import Admission, Identity, Incident, Outcome, Refusal, WasCommitted
from syncbridge.runtime.driver import ConnectionDriver
from syncbridge.runtime.engine import Engine
from syncbridge.wire.codec import encode_entry

START_MS = 1_790_000_000_000
ACCOUNT = AccountId("acc-1")
SESSION = SessionId("ses-1")
FOLLOWERS = 4


class _Nothing:
    """A timer that nobody waits for; telemetry that nobody reads; a listing that nobody asks for."""

    def cancel(self) -> None:
        """It never runs anyway."""

    def measured(self, name: str, value: float, label: str = "") -> None:
        """Dropped."""

    def note(self, session: SessionId, **what: object) -> None:
        """Dropped."""


class _NoRecorder:
    """Incidents that nobody keeps."""

    def note(self, incident: Incident) -> None:
        """Dropped."""


class CountingOutlet:
    """Takes everything; keeps the last frame and how many and how much there was."""

    is_over_budget = False

    def __init__(self) -> None:
        self.frames = 0
        self.total_bytes = 0
        self.last = b""

    def send(self, payload: bytes) -> bool:
        self.frames += 1
        self.total_bytes += len(payload)
        self.last = payload
        return True

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError(f"closed: {code} {reason}")

    def abort(self) -> None:
        raise AssertionError("aborted")


UNBOUND = Plan(push_burst=10**12)
"""A bench measures what a push costs, not how many a device may send."""


class OpenGate:
    """Lets everybody into the one account."""

    def __init__(self, devices: tuple[DeviceInfo, ...]) -> None:
        self._devices = devices

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        done(Admission(Identity(ACCOUNT, 0, token), device, self._devices, UNBOUND))

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        done(Identity(account, 0, token, device))

    def read_roster(self, account: AccountId) -> None:
        """Nobody follows elsewhere."""

    def refused(self, identity: Identity) -> str:
        return ""


class SocklessNode:
    """One session of about ``size_kib`` KiB, one device that pushes, four that follow. Its clock stands still."""

    def __init__(self, size_kib: int) -> None:
        self._soon: deque[Callable[[], None]] = deque()
        limits = Limits()
        self.store = MemoryStore(self, limits=limits)
        devices = tuple(DeviceInfo(f"device-{number}") for number in range(FOLLOWERS + 1))
        nothing = _Nothing()
        self.engine = Engine(
            limits=limits,
            clock=self,
            call_soon=self._soon.append,
            call_at=lambda at_ms, run: nothing,
            store=self.store,
            gatekeeper=OpenGate(devices),
            directory=nothing,
            telemetry=nothing,
            recorder=_NoRecorder(),
            new_id=self._new_id,
        )
        self._ids = 0
        self.state = session_state(size_kib)
        self._create(self.state)
        self.outlets = [CountingOutlet() for _ in devices]
        self.drivers = [self._arrive(info, outlet) for info, outlet in zip(devices, self.outlets, strict=True)]
        for outlet in self.outlets:
            outlet.frames = 0

    def now_ms(self) -> int:
        return START_MS

    def push(self, frame: bytes) -> None:
        """The frame's whole way: decoded, judged, committed, encoded, acknowledged, with the four others."""
        self.drivers[0].on_text(frame)
        self.turn()

    def burst(self, frames: list[bytes]) -> None:
        """Several frames that came within one turn of the loop."""
        for frame in frames:
            self.drivers[0].on_text(frame)
        self.turn()

    def turn(self) -> None:
        while self._soon:
            self._soon.popleft()()

    def state_now(self) -> JsonObject:
        live = self.engine.session(SESSION)
        assert live is not None
        assert live.machine.log is not None
        return live.machine.log.state

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _create(self, state: JsonObject) -> None:
        size = len(msgspec.json.encode(state))
        snapshot = Snapshot(SESSION, ACCOUNT, "breathing", "epoch-1", 1, START_MS, START_MS, state, size)
        first = Entry(1, "create", START_MS, ops=[{"op": "add", "path": "", "value": state}])
        answers: list[Outcome] = []
        self.store.create(snapshot, first, encode_entry(first), answers.append)
        assert isinstance(answers[0], WasCommitted)

    def _arrive(self, info: DeviceInfo, outlet: CountingOutlet) -> ConnectionDriver:
        driver = self.engine.connect()
        driver.on_open(outlet)
        for said in ({"type": "hello", "token": "t", "device": {"id": info.id}}, {"type": "join", "session": SESSION}):
            driver.on_text(msgspec.json.encode(said))
            self.turn()
        assert b'"type":"joined"' in outlet.last[:20], outlet.last[:200]
        return driver


def edits(count: int, at_ms: int = START_MS) -> list[list[dict[str, Any]]]:
    """What a device does in a session, over and over: a setting, a mark of a mood, a heartbeat, the playhead.

    ``at_ms`` stamps the anchors: not before the session was made and not in the future, or it would be clamped.
    """
    made: list[list[dict[str, Any]]] = []
    for number in range(count):
        kind = number % 4
        if kind == 0:
            made.append([{"op": "replace", "path": "/settings/volume", "value": number % 100}])
        elif kind == 1:
            made.append([{"op": "replace", "path": "/chapters/0/mood/after", "value": number % 10}])
        elif kind == 2:
            made.append([{"op": "replace", "path": f"/chapters/0/heart/bpm/{number % 24}", "value": 50 + number % 40}])
        else:
            anchor = {"position": number % 600, "rate": 1, "at": at_ms}
            made.append([{"op": "replace", "path": "/playhead", "value": anchor}])
    return made


def push_frames(count: int, *, lag: int, seq: int = 1, version: int = 1) -> list[bytes]:
    """``count`` pushes as frames; each was made ``lag`` versions ago, so that it is rebased over what came since."""
    frames = []
    for number, ops in enumerate(edits(count)):
        push = {
            "type": "push",
            "session": SESSION,
            "seq": seq + number,
            "base": max(1, version + number - lag),
            "ops": ops,
            "intent": "seek" if ops[0]["path"] == "/playhead" else "edit",
            "at": START_MS,
        }
        frames.append(msgspec.json.encode(push))
    return frames
