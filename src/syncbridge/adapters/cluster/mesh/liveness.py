"""Which nodes live, by a count that each makes grow; no clock but this process's own steady one is believed.

Every node counts itself up in the hash ``sb:nodes`` at each beat and reads all counts in the same step. A node whose
count stood still for some beats, in what was read here, is presumed dead. So neither a server's nor another
node's clock matters; and while nothing can be read (a failover, a frozen server) nobody ages, for then nobody can
count either.

A node that was presumed dead and is not finds its count begun anew, or that it did not count for too long, and says
again all that it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

REMEMBERED_MAX: Final = 1_024
"""Dead nodes that are known as such, the last ones: a late message of one is not believed."""


class Census(Struct, frozen=True):
    """What a look at the counts brought.

    ``died``: they stood still; ``left``: they took leave, or were never there; ``returned``: back from the dead.
    ``is_forgotten``: the others took this node for dead, or the counts were lost.
    """

    died: list[str]
    left: list[str]
    returned: list[str]
    is_forgotten: bool


class _Node:
    """A node's count, and for how long it stood still in what was read."""

    __slots__ = ("age_s", "count", "is_dead")

    def __init__(self, count: int) -> None:
        self.count = count
        self.age_s = 0.0
        self.is_dead = False


class Liveness:
    """The other nodes, alive or dead, as this node judges by the counts it reads."""

    def __init__(self, node: str, *, beat_s: float, dead_after_s: float) -> None:
        self._node = node
        self._dead_after_s = dead_after_s
        self._step_s_max = 2 * beat_s
        self._nodes: dict[str, _Node] = {}
        self._count = 0
        self._read_at_s: float | None = None

    @property
    def alive(self) -> int:
        """How many nodes live, this one included."""
        return 1 + sum(not node.is_dead for node in self._nodes.values())

    def is_dead(self, name: str) -> bool:
        """Whether the node is presumed dead."""
        node = self._nodes.get(name)
        return node is not None and node.is_dead

    def met(self, name: str) -> None:
        """The node said something, so it is watched from now on: it is dead if it never counts."""
        if name != self._node and name not in self._nodes:
            self._nodes[name] = _Node(0)

    def to_remove(self, counts: Mapping[str, int]) -> list[tuple[str, int]]:
        """The dead that still stand among ``counts``, and with which count: it must stand still when they go."""
        return [(name, count) for name, count in counts.items() if self.is_dead(name)]

    def read(self, counts: Mapping[str, int], now_s: float) -> Census:
        """What the counts say, this node's own beat among them."""
        since_s = 0.0 if self._read_at_s is None else now_s - self._read_at_s
        count = counts.get(self._node, 0)
        is_forgotten = self._read_at_s is not None and (count <= self._count or since_s > self._dead_after_s)
        self._read_at_s = now_s
        self._count = count
        died: list[str] = []
        left: list[str] = []
        returned: list[str] = []
        for name in counts:
            self.met(name)
        for name, node in self._nodes.items():
            count = counts.get(name, 0)
            # A count that is missing says nothing new: somebody buried the node, or all were lost.
            if count not in (node.count, 0):
                node.count, node.age_s = count, 0.0
                if node.is_dead:
                    node.is_dead = False
                    returned.append(name)
                continue
            # Longer than two beats was no reading, but an outage: nobody ages for it.
            node.age_s += min(since_s, self._step_s_max)
            if node.age_s > self._dead_after_s and not node.is_dead:
                node.is_dead = True
                (died if count else left).append(name)
        self._forget_long_dead()
        return Census(died, left, returned, is_forgotten)

    def _forget_long_dead(self) -> None:
        dead = [name for name, node in self._nodes.items() if node.is_dead]
        for name in sorted(dead, key=lambda one: -self._nodes[one].age_s)[: max(0, len(dead) - REMEMBERED_MAX)]:
            del self._nodes[name]
