"""Who follows one session, and where: what this node says of itself, and what it knows of the others.

Each node has one field in the session's hash, its `Statement`: all its devices at once, numbered. So a statement needs
none before it, may be said again, and of two the higher number is true in whatever order they come. The hash is the
truth; what comes over the channel is only quicker. What was known before a question was asked is overruled by its
answer; what came since stands, unless the answer is newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from syncbridge.adapters.cluster.mesh.channel import Statement
from syncbridge.core.ids import DeviceId

NODES_MAX: Final = 64
"""Nodes without devices that one session remembers, so that an old statement of theirs is known as old."""


class _Heard:
    """What a node said last; ``asked`` counts the questions that had been asked by then.

    ``age_s`` is for how long looks have found the same.
    """

    __slots__ = ("age_s", "asked", "devices", "number")

    def __init__(self, statement: Statement, asked: int) -> None:
        self.number = statement.number
        self.devices = statement.devices
        self.asked = asked
        self.age_s = 0.0


class Reading(Struct, frozen=True):
    """What an answer changed: whether other devices are elsewhere now, and whether this node must say itself again."""

    is_changed: bool
    is_mine_missing: bool


class Presence:
    """The devices of one session, by node.

    Invariants  `elsewhere` never has a device of a statement older than another that was heard of the same node.
    Bounded     by the devices that an account has, and `NODES_MAX` nodes without any.
    """

    __slots__ = ("_asked_when_said", "_left", "_others", "_said_at_s", "mine", "number")

    def __init__(self) -> None:
        self.mine: dict[DeviceId, int] = {}
        self.number = 0
        self._left: dict[DeviceId, int] = {}
        self._said_at_s = 0.0
        self._asked_when_said = 0
        self._others: dict[str, _Heard] = {}

    # -- this node ----------------------------------------------------------------------------------------------

    def present(self, device: DeviceId, heard_at: int) -> bool:
        """The device is here; whether the others must hear of it."""
        self._left.pop(device, None)
        before = self.mine.get(device)
        self.mine[device] = heard_at if before is None else max(heard_at, before)
        return before is None or heard_at > before

    def absent(self, device: DeviceId, heard_at: int) -> bool:
        """It is not; whether it was."""
        if self.mine.pop(device, None) is None:
            return False
        self._left[device] = heard_at
        return True

    def statement(self, node: str, number: int, asked: int, now_s: float) -> Statement:
        """What this node says of the session now; ``asked`` questions had been asked by then."""
        left, self._left = self._left, {}
        self.number, self._asked_when_said, self._said_at_s = number, asked, now_s
        return Statement(node, number, dict(self.mine), left)

    def is_to_be_renewed(self, now_s: float, after_s: float) -> bool:
        """This node said so long ago who is here that the others may come to doubt it."""
        return bool(self.mine) and now_s - self._said_at_s > after_s

    def is_buried_by(self, statement: Statement) -> bool:
        """Somebody took this node for dead and removed what it said last, though it has devices here."""
        return bool(self.mine) and not statement.devices and statement.number == self.number

    # -- the others ---------------------------------------------------------------------------------------------

    def elsewhere(self) -> dict[DeviceId, int]:
        """Every device at another node and when it was last heard, at whichever node that was later."""
        devices: dict[DeviceId, int] = {}
        for heard in self._others.values():
            for device, at in heard.devices.items():
                devices[device] = max(at, devices.get(device, 0))
        return devices

    def hear(self, node: str, statement: Statement, asked: int) -> bool:
        """A node's statement came over the channel; whether it was news.

        One with the number of the last and without devices is a burial.
        """
        known = self._others.get(node)
        is_burial = known is not None and statement.number == known.number and not statement.devices
        if known is not None and statement.number <= known.number and not is_burial:
            return False
        self._others[node] = _Heard(statement, asked)
        return known is None or known.devices != statement.devices

    def read(self, node: str, stands: Mapping[str, Statement], asked: int, since_s: float) -> Reading:
        """The hash as it was when question ``asked`` was answered; ``node`` is this one.

        ``since_s`` is how long after the last look this one is: a statement that stood then is so much older.
        """
        before = self.elsewhere()
        for name, statement in stands.items():
            if name == node:
                continue
            known = self._others.get(name)
            # A lower number than one known before the question: the store lost the newer statement.
            if (
                known is None
                or statement.number > known.number
                or (known.asked < asked and statement.number < known.number)
            ):
                self._others[name] = _Heard(statement, asked)
            elif known.number == statement.number:
                known.age_s += since_s
                if known.asked < asked and not known.devices:
                    known.devices = statement.devices  # buried by mistake
        for name, known in self._others.items():
            if name not in stands and known.asked < asked:
                known.devices = {}
        self._forget_empty()
        return Reading(self.elsewhere() != before, self._is_missing(stands.get(node), asked))

    def drop(self, node: str) -> int:
        """Nothing the node said counts any more; the number of its statement, 0 where it had said none."""
        known = self._others.get(node)
        if known is None:
            return 0
        known.devices = {}
        return known.number

    def stale(self, after_s: float) -> list[str]:
        """Nodes whose statement looks have found not renewed for so long."""
        return [name for name, known in self._others.items() if known.devices and known.age_s > after_s]

    def nodes(self) -> list[str]:
        """The other nodes that have devices."""
        return [name for name, known in self._others.items() if known.devices]

    def _is_missing(self, mine: Statement | None, asked: int) -> bool:
        if self._asked_when_said >= asked:
            return False  # said after the question: its answer could not know
        if mine is None:
            return bool(self.mine)
        return mine.number != self.number or set(mine.devices) != set(self.mine)

    def _forget_empty(self) -> None:
        empty = [name for name, known in self._others.items() if not known.devices]
        for name in empty[: max(0, len(empty) - NODES_MAX)]:
            del self._others[name]
