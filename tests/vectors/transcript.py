"""Plays a transcript of clients/vectors/resume against the machines: what each device hears, and how it ends.

The machines are the service's own, connection and session; the store, the gate and the clock are in the transcript's
hand. Frames are decoded and encoded by the service's codec, so what is compared is what would travel.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec

from syncbridge.core import connection_events as c
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.conflicts import PastConflict, undoings_in
from syncbridge.core.connection import ConnectionMachine
from syncbridge.core.digest import push_digest, state_hash
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, RequestId, SessionId
from syncbridge.core.log import SessionLog, founding
from syncbridge.core.messages import DeviceInfo, HandoffOffer, HandoffTake, Push
from syncbridge.core.session import SessionMachine
from syncbridge.limits import Limits
from syncbridge.runtime.fanout import Fanout
from syncbridge.wire.codec import MessageDecoder, encode_message

Json = dict[str, Any]
ACCOUNT = AccountId("acc-1")


class Play:
    """One run of one transcript. `perform` does a step and answers what was heard, by device."""

    def __init__(self, transcript: Json) -> None:
        session = transcript["session"]
        self.limits = Limits(**transcript.get("limits", {}))
        self.now_ms: int = session["at"]
        self.roster = tuple(DeviceInfo(device) for device in transcript["devices"])
        self.session = SessionId(session["id"])
        self.snapshot, _ = founding(
            session["state"],
            session=session["id"],
            account=ACCOUNT,
            kind=session["type"],
            title="",
            epoch=session["epoch"],
            device=session["active"],
            now_ms=self.now_ms,
        )
        self.fanout = Fanout(self.session)
        self.decoder = MessageDecoder(self.limits)
        self.committed: list[do.Commit] = []
        self.held: list[do.Commit] = []
        self.is_holding = False
        self.connections: dict[str, ConnectionMachine] = {}
        self.heard_at: dict[str, int] = {}
        self.timers: dict[str, int] = {}
        self.hears: dict[str, list[Json]] = {}
        self._ids = itertools.count(1)
        self._txns = itertools.count(1)
        self.machine = self._fresh_machine()

    def _fresh_machine(self) -> SessionMachine:
        return SessionMachine(self.session, self.limits, lambda: f"txn-{next(self._txns)}")

    # -- steps --------------------------------------------------------------------------------------------------

    def perform(self, step: Json) -> dict[str, list[Json]]:
        """What every device hears because of ``step``; devices that hear nothing are left out."""
        self.hears = {}
        device = step.get("device", "")
        if "says" in step:
            self._say(device, step["says"])
        elif step.get("connects"):
            self._connect(device)
        elif step.get("falls_silent"):
            self.heard_at[device] = self.now_ms
        elif step.get("is_cut_off"):
            self._cut(device)
        elif "passes_ms" in step:
            self._pass(step["passes_ms"])
        elif "undo_of" in step:
            self._undo(device, step["undo_of"])
        elif step.get("server") == "is killed":
            self.connections.clear()
            self.heard_at.clear()
            self.timers.clear()
            self.held.clear()
            self.machine = self._fresh_machine()
        elif step.get("store") == "holds":
            self.is_holding = True
        elif step.get("store") == "answers":
            self.is_holding = False
            while self.held:
                self._committed(self.held.pop(0))
        else:
            raise ValueError(f"no such step: {step}")
        return self.hears

    def ends(self) -> Json:
        """What a fresh reader of the committed log comes to."""
        log = SessionLog(self.snapshot, self.limits)
        for commit in self.committed:
            for entry in commit.txn.entries:
                log.append(entry, 0)
        return {
            "version": log.version,
            "active": log.active,
            "fence": log.fence,
            "status": log.status,
            "hash": state_hash(log.state),
            "state": log.state,
        }

    # -- devices ------------------------------------------------------------------------------------------------

    def _connect(self, device: str) -> None:
        machine = self.connections[device] = ConnectionMachine(ConnectionId(device), self.limits)
        self.heard_at.pop(device, None)
        info = DeviceInfo(device)
        machine.receive(c.Opened(), self.now_ms)
        hello = json.dumps({"type": "hello", "token": "token", "device": {"id": device}})
        machine.receive(c.MessageReceived(self.decoder.decode(hello.encode())), self.now_ms)
        admitted = c.Admitted(ACCOUNT, DeviceId(info.id), 0, self.roster)
        machine.receive(admitted, self.now_ms)  # `welcome` is no part of a transcript
        log = self.machine.log
        if self.machine.state is not None and log is not None and log.offer is not None and log.offer.target == device:
            self._to_session(on.DeviceArrived(ConnectionId(device), DeviceId(device)))

    def _say(self, device: str, message: Json) -> None:
        said = self.decoder.decode(json.dumps(message).encode())
        digest = push_digest(said) if isinstance(said, Push) else 0
        new_id = f"ho-{next(self._ids)}" if isinstance(said, HandoffOffer | HandoffTake) else ""
        self._to_connection(device, c.MessageReceived(said, digest, new_id))

    def _cut(self, device: str) -> None:
        heard_at = self.heard_at.pop(device, self.now_ms)
        machine = self.connections.pop(device)
        for effect in machine.receive(c.PeerClosed(heard_at), self.now_ms):
            assert isinstance(effect, c.ToSession)
            self._to_session(effect.event)

    def _to_connection(self, device: str, event: c.AnyConnectionEvent) -> None:
        for effect in self.connections[device].receive(event, self.now_ms):
            match effect:
                case c.SendMessage(message=message):
                    self._deliver(device, encode_message(message))
                case c.ToSession(event=session_event):
                    self._to_session(session_event)
                case _:
                    raise ValueError(f"not in a transcript: {effect}")

    def _deliver(self, device: str, frame: bytes) -> None:
        if device in self.connections:
            self.hears.setdefault(device, []).append(json.loads(frame))

    def _undo(self, device: str, conflict: str) -> None:
        """The conflict is taken back over REST, with this device's token."""
        version, index = map(int, conflict.split("."))
        log = SessionLog(self.snapshot, self.limits)
        entries = [entry for commit in self.committed for entry in commit.txn.entries]
        for entry in entries[: version - 2]:
            log.append(entry, 0)
        (entry,), since = entries[version - 2 : version - 1], entries[version - 1 :]
        head = entries[-1].version
        past = PastConflict(log.epoch, index, log.state, entry, head, since, undoings_in(since))
        self._to_session(on.UndoRequested(RequestId("undo"), device, past))

    # -- the session --------------------------------------------------------------------------------------------

    def _to_session(self, event: Any) -> None:
        if isinstance(event, on.TakeReceived | on.ReadyReceived):
            log = self.machine.log
            active = None if log is None else log.active
            is_here = active in self.connections
            heard = self.heard_at.get(str(active), self.now_ms) if is_here else None
            event = msgspec.structs.replace(event, source_heard_at=heard)
        for effect in self.machine.receive(event, self.now_ms):
            self._do(effect)

    def _do(self, effect: do.AnyEffect) -> None:
        match effect:
            case do.Load():
                entries = [entry for commit in self.committed for entry in commit.txn.entries]
                digests = [digest for commit in self.committed for digest in commit.txn.digests]
                self._to_session(on.Loaded(self.snapshot, entries, digests))
            case do.Commit() if self.is_holding:
                self.held.append(effect)
            case do.Commit():
                self._committed(effect)
            case do.Send(connection=connection, message=message):
                self._deliver(str(connection), encode_message(message))
            case do.SendToDevice(device=device, message=message):
                self._deliver(str(device), encode_message(message))
            case do.Broadcast(message=message, connections=connections):
                for there in connections:
                    self._deliver(str(there), encode_message(message))
            case do.Deliver(entries=entries, connections=connections):
                for there in connections:
                    self._deliver(str(there), self.fanout.frame(entries))
            case do.SetTimer(name=name, at_ms=at_ms):
                self.timers[name] = at_ms
            case do.DropMember(connection=connection):
                self.connections[str(connection)].receive(c.SessionLost(self.session), self.now_ms)
            case _:
                pass  # figures, snapshots and leaving memory are nothing that a device hears

    def _committed(self, commit: do.Commit) -> None:
        self.committed.append(commit)
        self._to_session(on.Committed(commit.txn.id))

    def _pass(self, ms: int) -> None:
        until = self.now_ms + ms
        while due := sorted((at, name) for name, at in self.timers.items() if at <= until):
            at, name = due[0]
            del self.timers[name]
            self.now_ms = max(self.now_ms, at)
            if name != "idle":
                self._to_session(on.TimerFired(name))
        self.now_ms = until
