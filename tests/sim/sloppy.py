"""A foreign client that gets everything wrong: what others must not suffer from.

The sloppy device keeps to `/junk` with what it writes, so that the promises about everybody else's edits can be
checked; its progress reports, bases, numbers and handoffs are wild.
"""

from __future__ import annotations

import json
from typing import Any

from syncbridge.core.messages import Ack, EntryMessage, HandoffPrepare, Joined, Reject, ServerMessage
from tests.sim.network import Link, Network
from tests.sim.weather import Weather
from tests.sim.world import World


class Sloppy:
    """Speaks the protocol by ear."""

    def __init__(self, world: World, weather: Weather, network: Network, name: str, session: str) -> None:
        self.world = world
        self.weather = weather
        self.network = network
        self.name = name
        self.session = session
        self.is_calm = False
        self.link: Link | None = None
        self._version = 1
        self._seq = 1
        self._handoff = "none"
        self._last: dict[str, Any] | None = None
        world.after(50, self._connect)

    def _connect(self) -> None:
        if self.link is None and not self.is_calm:
            self.link = self.network.connect(self, self.world.random.randrange(self.weather.nodes))

    def _say(self, **message: Any) -> None:
        if self.link is not None:
            self.link.say(json.dumps(message).encode())

    def on_connected(self, link: Link) -> None:
        if self.world.is_chance(0.9):
            self._say(type="hello", token="t", device={"id": self.name})
        self._say(type="join", session=self.session)
        self._act()

    def on_closed(self, link: Link, code: int) -> None:
        self.link = None
        self.world.after(300, self._connect)

    def on_message(self, link: Link, message: ServerMessage) -> None:
        match message:
            case Joined():
                self._version, self._seq = message.position.version, message.last_seq + 1
            case EntryMessage():
                self._version = message.version
            case Ack():
                self._version, self._seq = max(self._version, message.version), message.seq + 1
            case Reject():
                self._seq = message.expected_seq or message.seq + 1
            case HandoffPrepare():
                self._handoff = message.handoff

    def _act(self) -> None:
        if self.is_calm or self.link is None:
            return
        random = self.world.random
        match random.choice(("push", "push", "push", "again", "handoff", "raw", "progress")):
            case "push":
                self._push(self._ops(), "edit")
            case "progress":
                at = self.world.time_ms + random.choice((0, -5_000, 86_400_000))
                value = {"position": random.choice((0, 5, 50)), "rate": random.choice((0, 1)), "at": at}
                intent = random.choice(("progress", "progress", "edit", "open"))
                self._push([{"op": "add", "path": "/playhead", "value": value}], intent)
            case "again" if self._last is not None:
                self._say(**self._last)
                self._say(**{**self._last, "ops": self._ops()})
            case "handoff":
                handoff = random.choice((self._handoff, "nobody"))
                kind = random.choice(("handoff.ready", "handoff.decline", "handoff.cancel", "handoff.confirm"))
                self._say(type=kind, session=self.session, handoff=handoff)
                if random.random() < 0.2:
                    self._say(type="handoff.take", session=self.session)
                if random.random() < 0.2:
                    self._say(type="handoff.offer", session=self.session, to=random.choice(("nobody", self.name, "d0")))
            case "raw" if self.link is not None:
                self.link.say(random.choice((b"", b"{}", b'{"type":"dance"}', b'{"type":"push","seq":-1}', b"[" * 99)))
        self.world.after(random.randint(20, 1_500), self._act)

    def _ops(self) -> list[dict[str, Any]]:
        random = self.world.random
        good = {"op": "add", "path": "/junk", "value": random.randint(0, 9)}
        bad: list[dict[str, Any]] = [
            {"op": "remove", "path": "/nowhere"},
            {"op": "test", "path": "/junk", "value": "never"},
            {"op": "add", "path": "bad", "value": 1},
            {"op": "add", "path": "", "value": []},
            {"op": "copy", "path": "/playhead", "from": "/settings"},
        ]
        return [good] if random.random() < 0.6 else [good, random.choice(bad)]

    def _push(self, ops: list[dict[str, Any]], intent: str) -> None:
        random = self.world.random
        base = max(0, self._version + random.choice((0, 0, 0, -1, -7, -10_000, 3)))
        seq = max(1, self._seq + random.choice((0, 0, 0, 0, 1, -1)))
        push: dict[str, Any] = {
            "type": "push", "session": self.session, "seq": seq, "base": base, "ops": ops, "intent": intent
        }  # fmt: skip
        if random.random() < 0.3:
            push["fence"] = random.randint(0, 4)
        self._last = push
        self._say(**push)
