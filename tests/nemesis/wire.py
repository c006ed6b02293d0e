"""What passed over the connections of a device: whether it was told every version, and how soon it was answered."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from syncbridge.client import Receiver, Transport, picows_dial


class _Place(msgspec.Struct):
    version: int = 0


class _Message(msgspec.Struct):
    """Of any message what matters here."""

    type: str
    session: str = ""
    seq: int = 0
    base: int = 0
    ref: str = ""
    version: int = 0
    code: str = ""
    about: str = ""
    mode: str = ""
    reason: str = ""
    position: _Place | None = None
    entries: list[_Place] | None = None


_read = msgspec.json.Decoder(_Message).decode


@dataclass
class Wire:
    """The connections of all devices, one after the other, and what was wrong on any of them.

    ``copies_max`` is how often a push is sent at most on one connection, ``hop_share`` after how many of them the
    device hangs up at once, to go on over another node.
    """

    chance: random.Random
    address: Callable[[], str]
    copies_max: int = 1
    hop_share: float = 0.0
    violations: list[str] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    bases: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """By session, device and number of a push: the base that it was last sent with."""
    acks: list[tuple[float, str]] = field(default_factory=list)
    pushes: int = 0
    copies: int = 0
    hops: int = 0
    connections: int = 0
    closed: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    joins: dict[str, int] = field(default_factory=dict)

    def dial_of(self, device: str) -> Callable[[str, Receiver], object]:
        """A `Dial` for the device: each connection goes to an address of its own."""
        dial = picows_dial()

        async def dialled(_: str, receiver: Receiver) -> Transport:
            line = Line(self, device, receiver)
            line.transport = await dial(self.address(), line)
            self.connections += 1
            return line

        return dialled

    def slowest_s(self) -> float:
        """The longest that a push or a join waited for its first answer, whichever it was."""
        return max(self.answered_s, default=0.0)

    def longest_silence_s(self, sessions: set[str], since: float) -> float:
        """The longest time from then on in which no push of these sessions was acknowledged."""
        longest = 0.0
        for session in sessions:
            last = since
            for at, name in self.acks:
                if name == session and at >= since:
                    longest, last = max(longest, at - last), at
        return longest


class Line:
    """One connection: a `Receiver` before the device's own, and its `Transport`."""

    def __init__(self, wire: Wire, device: str, receiver: Receiver) -> None:
        self.transport: Transport | None = None
        self._wire = wire
        self._device = device
        self._receiver = receiver
        self._asked: dict[tuple[str, int | str], float] = {}
        self._told: dict[str, int] = {}
        self._joins: dict[tuple[str, str], int | None] = {}
        self._is_closed_here = False

    # -- what the device says ---------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        message, wire = _read(data), self._wire
        copies = 1
        if message.type == "push":
            self._asked.setdefault((message.session, message.seq), time.monotonic())
            wire.bases[message.session, self._device, message.seq] = message.base
            wire.pushes += 1
            copies = wire.chance.randint(1, wire.copies_max)
            wire.copies += copies - 1
        elif message.type == "join":
            place = message.position
            self._asked.setdefault((message.session, "join"), time.monotonic())
            self._joins[message.session, message.ref] = None if place is None else place.version
        for _ in range(copies):
            self.transport.send(data)
        if message.type == "push" and wire.chance.random() < wire.hop_share:
            wire.hops += 1
            self.close(1001)

    def close(self, code: int = 1000) -> None:
        assert self.transport is not None
        self._is_closed_here = True
        self.transport.close(code)

    # -- what it hears ----------------------------------------------------------------------------------------------

    def heard(self) -> None:
        self._receiver.heard()

    def closed(self, code: int | None) -> None:
        self._wire.closed += not self._is_closed_here
        # What was not answered until now waited at least so long.
        self._wire.answered_s += [time.monotonic() - at for at in self._asked.values()]
        self._asked.clear()
        self._receiver.closed(code)

    def received(self, data: bytes) -> None:
        self._judge(_read(data))
        self._receiver.received(data)

    def _judge(self, message: _Message) -> None:
        wire, session = self._wire, message.session
        match message.type:
            case "entry":
                self._follow(session, [message.version])
            case "entries":
                self._follow(session, [one.version for one in message.entries or []])
            case "joined":
                self._joined(message)
            case "ack":
                self._answered(message, message.seq)
                wire.acks.append((time.monotonic(), session))
                # One past the next is a slow reader's: a `joined` brings what is between.
                if message.version == self._told.get(session, 0) + 1:
                    self._told[session] = message.version
            case "reject":
                self._answered(message, message.seq)
                wire.refusals[message.code] = wire.refusals.get(message.code, 0) + 1
            case "error" if message.code == "device_replaced" and not self._is_closed_here:
                wire.violations.append(f"replaced: {self._device} by no other connection, for this one is its newest")
            case "error" if message.about == "join":
                self._answered(message, "join")
            case "left":
                self._told.pop(session, None)
                for key in [key for key in self._asked if key[0] == session]:
                    self._answered(message, key[1])

    def _answered(self, message: _Message, what: int | str) -> None:
        asked_at = self._asked.pop((message.session, what), None)
        if asked_at is not None:
            self._wire.answered_s.append(time.monotonic() - asked_at)

    def _follow(self, session: str, versions: list[int]) -> None:
        for version in versions:
            told = self._told.get(session)
            if told is None or version != told + 1:
                self._wire.violations.append(f"behind: {self._device} was told {version} of {session} after {told}")
            self._told[session] = version

    def _joined(self, message: _Message) -> None:
        session, wire = message.session, self._wire
        if message.ref:
            self._answered(message, "join")
        version = 0 if message.position is None else message.position.version
        name = message.reason or message.mode
        wire.joins[name] = wire.joins.get(name, 0) + 1
        if message.mode == "resumed":
            start = self._joins.get((session, message.ref)) if message.ref else self._told.get(session)
            versions = [one.version for one in message.entries or []]
            if not message.ref and versions and start is not None:
                start = min(start, versions[0] - 1)  # a catch-up may bring again what an ack told before
            if start is None or versions != list(range(start + 1, version + 1)):
                wire.violations.append(f"behind: {self._device} was resumed from {start} to {version} by {versions}")
        elif not message.reason:
            wire.violations.append(f"behind: {self._device} got a snapshot of {session} and was not told why")
        self._told[session] = version
