"""Nodes, and devices that come and go at them, some with two instances: which of a device's connections stays.

Smaller than the whole simulation, so that many more courses of arrivals are met: ways to Redis that lose and hold up,
nodes that are cut off, frozen or killed, a Redis that is replaced by one whose clock is elsewhere. Nobody may give way
to an older connection, and when it is calm each device that is connected is connected once.

``python -m tests.sim.arrivals FIRST END`` runs these seeds, and one seed alone tells what happened.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from syncbridge.adapters.cluster.mesh.account_news import AccountNews
from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from tests.sim.accounts import AccountLink, AccountServer, Ways, account_news
from tests.sim.world import Violation, World

ANN: Final = AccountId("ann")
DEVICES: Final = (DeviceId("d0"), DeviceId("d1"))
LENGTH_MS: Final = 12_000
CALM_MS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Course:
    """What one seed came to; ``checker`` is empty where nothing was wrong."""

    checker: str
    text: str
    hellos: int
    replaced: int
    late: int


class ArrivalNode:
    """One process, alive or dead; a `Neighbour` that closes whom it is told to."""

    def __init__(self, sim: ArrivalSimulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.is_cut = False
        self.life = 0
        self.here: dict[DeviceId, ConnectionId] = {}
        self.start()

    def start(self) -> None:
        self.life += 1
        life = self.life
        self.link = AccountLink(self.sim.server, lambda: self.life == life, lambda: self.is_cut)
        self.news: AccountNews = account_news(self.link, f"{self.name}~{life}", self)

    def crash(self) -> None:
        """It is gone without a word, and another one takes its place."""
        self.sim.world.note(f"{self.name} crashes")
        self.here.clear()
        self.start()

    @property
    def is_frozen(self) -> bool:
        return self.sim.world.time_ms < self.link.frozen_until_ms

    def hello(self, device: DeviceId) -> None:
        """As the engine does it: the arrival is said, and an older connection here is closed."""
        connection = ConnectionId(self.sim.world.new_id())
        self.sim.server.arrived_ms[connection] = self.sim.world.time_ms
        self.sim.world.note(f"{self.name} has {device} by {connection}")
        self.news.arrive(ANN, device, connection)
        self.here[device] = connection

    def leave(self, device: DeviceId) -> None:
        connection = self.here.pop(device, None)
        if connection is not None:
            self.sim.world.note(f"{self.name} has {device} by {connection} no more")
            self.news.depart(ANN, device, connection)

    # -- as the mesh speaks to it -------------------------------------------------------------------------------

    def device_arrived(self, _account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        mine = self.here.get(device)
        if mine is not None and mine != connection:
            self.sim.server.judge(mine, connection)
            self.sim.replaced += 1
            self.sim.winners.add(connection)
            self.leave(device)

    def account_heard(self, account: AccountId) -> None: ...

    def told(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None: ...

    def is_known(self, session: SessionId, first: int, txn: TxnId) -> bool:
        return False

    def entries_seen(
        self,
        session: SessionId,
        epoch: str,
        entries: list[Entry],
        digests: list[int],
        txn: TxnId,
        previous_at: int = 0,
        bodies: Sequence[bytes] = (),
    ) -> None: ...

    def head_seen(self, session: SessionId, epoch: str, version: int) -> None: ...

    def elsewhere(self, session: SessionId, devices: Mapping[DeviceId, int]) -> None: ...

    def signalled(self, session: SessionId, device: DeviceId, frame: bytes) -> None: ...

    def deleted(self, session: SessionId, reason: str) -> None: ...


class ArrivalSimulation:
    """One seed from beginning to end."""

    def __init__(self, seed: int, *, is_telling: bool = False) -> None:
        self.world = World(seed, is_telling=is_telling)
        random = self.world.random
        ways = Ways(
            delay_ms_max=random.choice((1, 5, 60)),
            loss_chance=random.choice((0.0, 0.0, 0.2, 0.5)),
            double_chance=random.choice((0.0, 0.3)),
            hold_chance=random.choice((0.0, 0.2, 0.6)),
        )
        self.server = AccountServer(self.world, ways)
        self.nodes = [ArrivalNode(self, f"n{number}") for number in range(random.choice((2, 3)))]
        self.hellos = 0
        self.replaced = 0
        self.winners: set[ConnectionId] = set()
        self._pause_ms = random.choice((50, 300, 1_000))
        self._is_calm = False
        self._repeat(self._pause_ms, self._come_or_go)
        for mean_ms, fault in ((2_500, self._cut), (4_000, self._freeze), (5_000, self._crash), (5_000, self._lose)):
            if random.random() < 0.5:
                self._repeat(mean_ms, fault)

    def run(self) -> Course:
        """Judged; raises nothing."""
        checker = text = ""
        try:
            self.world.run_until(self.world.time_ms + LENGTH_MS)
            self._is_calm = True
            self.world.note("calm")
            self.server.calm_down()
            for node in self.nodes:
                node.is_cut = False
                node.link.frozen_until_ms = 0
            there = {device: self._there(device) for device in DEVICES}
            self.winners.clear()  # one that left since it said that it is there may win yet
            self.world.run_until(self.world.time_ms + CALM_MS)
            for device in DEVICES:
                self._judge(device, there[device], self._there(device))
        except Violation as violation:
            checker, text = violation.checker, violation.text
        return Course(checker, text, self.hellos, self.replaced, self.server.late)

    def _there(self, device: DeviceId) -> list[ConnectionId]:
        return [node.here[device] for node in self.nodes if device in node.here]

    def _judge(self, device: DeviceId, before: list[ConnectionId], after: list[ConnectionId]) -> None:
        if len(after) > 1 or (before and not after and self.winners <= set(before)):
            raise Violation("one stays", f"{device} was connected by {before} when it became calm, and is by {after}")
        for one in before if after else []:
            self.server.judge(one, after[0])

    # -- what happens -------------------------------------------------------------------------------------------

    def _repeat(self, mean_ms: int, happen: Callable[[ArrivalNode], None]) -> None:
        random = self.world.random

        def run() -> None:
            if not self._is_calm:
                happen(random.choice(self.nodes))
                self._repeat(mean_ms, happen)

        self.world.after(1 + int(random.expovariate(1 / mean_ms)), run)

    def _come_or_go(self, node: ArrivalNode) -> None:
        random = self.world.random
        device = random.choice(DEVICES)
        if node.is_frozen:
            return
        if random.random() < 0.5:
            node.leave(device)
            return
        self.hellos += 1
        node.hello(device)
        if random.random() < 0.5:  # it changed nodes: what it left is closed soon, or only found out later
            for other in self.nodes:
                connection = other.here.get(device)
                if other is not node and connection is not None:
                    self.world.after(random.choice((0, 1, 5_000)), partial(self._left, other, device, connection))

    def _left(self, node: ArrivalNode, device: DeviceId, connection: ConnectionId) -> None:
        if not (self._is_calm or node.is_frozen) and node.here.get(device) == connection:
            node.leave(device)

    def _cut(self, node: ArrivalNode) -> None:
        node.is_cut = True
        self.world.note(f"{node.name} is cut off")

        def heal() -> None:
            node.is_cut = False
            self.world.note(f"{node.name} is cut off no more")

        self.world.after(self.world.random.randint(50, 4_000), heal)

    def _freeze(self, node: ArrivalNode) -> None:
        self.world.note(f"{node.name} is frozen")
        node.link.frozen_until_ms = self.world.time_ms + self.world.random.randint(50, 4_000)

    def _crash(self, node: ArrivalNode) -> None:
        node.crash()

    def _lose(self, _node: ArrivalNode) -> None:
        self.world.note("another server")
        self.server.fail_over()


def main(first: int, end: int) -> int:
    """0 where every seed from ``first`` up to ``end`` keeps what is promised."""
    broken = 0
    for seed in range(first, end):
        course = ArrivalSimulation(seed, is_telling=end == first + 1).run()
        if course.checker:
            broken += 1
            print(f"seed {seed} breaks {course.checker}: {course.text}")
    print(f"{end - first} seeds, {broken} broken")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(sys.argv[1]) + 1))
