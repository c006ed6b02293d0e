"""How the nodes of a world hear of each other: what is said may be lost, doubled, late or overtaken.

The mesh looks for what it missed, as its port says: every `LOOK_MS`, and when the store has another primary, each node
that a session lives at is told of the log's head and of who follows it elsewhere. A node that is cut off hears and says
nothing; what a dead one had is forgotten a while later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.ports import Neighbour
from tests.sim.truth import TrueLog, Truth
from tests.sim.weather import Weather
from tests.sim.world import World

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[Entry]).decode
LOOK_MS = 1_000
FORGOTTEN_MS_MAX = 1_500
"""What a dead node had is gone by then (15 s in the service; a run here is shorter)."""


class Bus:
    """What all nodes share: who follows where, and which connection of a device came last."""

    def __init__(self, world: World, weather: Weather, truth: Truth) -> None:
        self.world = world
        self.weather = weather
        self.truth = truth
        self.ends: list[SimMesh] = []
        self.present: dict[tuple[SessionId, SimMesh], dict[DeviceId, int]] = {}
        self.arrivals: dict[tuple[AccountId, DeviceId], list[tuple[ConnectionId, SimMesh]]] = {}
        self.is_calm = False

    def open(self, neighbour: Neighbour, is_alive: Callable[[], bool]) -> SimMesh:
        end = SimMesh(self, neighbour, is_alive)
        self.ends.append(end)
        end.look()
        return end

    def carry(self, end: SimMesh, deliver: Callable[[], None], *, is_sure: bool = False) -> None:
        """``deliver`` is called at ``end``'s node, perhaps: late, twice or never."""
        world, weather = self.world, self.weather
        if self.is_calm:
            world.after(1, partial(end.hear, deliver))
            return
        if not is_sure and (end.is_cut or world.is_chance(weather.mesh_loss_chance)):
            return
        for _ in range(2 if world.is_chance(weather.mesh_double_chance) else 1):
            world.after(world.random.randint(0, weather.mesh_delay_ms_max), partial(end.hear, deliver))

    def committed(self, log: TrueLog, entries: list[Entry], txn: TxnId, previous_at: int) -> None:
        """Every node hears of a commit, the one that made it too."""
        digests = log.digests[entries[0].version - 1 : entries[-1].version]
        copy = decode(encode(entries)) if self.ends else []
        bodies = [encode(entry) for entry in copy]
        for end in self.ends:
            if log.session in end.followed:
                said = partial(
                    end.neighbour.entries_seen, log.session, log.epoch, copy, digests, txn, previous_at, bodies
                )
                self.carry(end, partial(end.hear_entries, log.session, copy[0].version, txn, said))

    def others(self, session: SessionId, end: SimMesh) -> dict[DeviceId, int]:
        """The devices that follow at other nodes than ``end``'s."""
        there: dict[DeviceId, int] = {}
        for (of, other), devices in self.present.items():
            if of == session and other is not end:
                for device, heard_at in devices.items():
                    there[device] = max(heard_at, there.get(device, 0))
        return there

    def tell_presence(self, session: SessionId, but: SimMesh) -> None:
        for end in self.ends:
            if end is not but and session in end.followed:
                self.carry(end, partial(self._say_presence, session, end))

    def _say_presence(self, session: SessionId, end: SimMesh) -> None:
        # As it is when it arrives: statements are numbered, so that an old one is known for one.
        end.neighbour.elsewhere(session, self.others(session, end))

    def look(self, session: SessionId, end: SimMesh) -> None:
        """``end``'s node is told of the log's head and of who is elsewhere, surely."""
        log = self.truth.logs.get(session)
        if log is not None and (self.is_calm or not end.is_cut):
            epoch, version = ("", 0) if log.gone_since else (log.epoch, log.version)
            self.carry(end, partial(end.neighbour.head_seen, session, epoch, version), is_sure=True)
            self.carry(end, partial(self._say_presence, session, end), is_sure=True)

    def look_at_all(self) -> None:
        """The store has another primary, and every node that it answers looks what that one has."""
        for end in self.ends:
            for session in sorted(end.followed):
                self.look(session, end)

    def calm(self) -> None:
        """Nothing is lost any more, nobody is cut off, and what dead nodes had is forgotten."""
        self.is_calm = True
        for end in list(self.ends):
            end.is_cut = False
            if not end.is_alive():
                self.forget(end)

    def forget(self, end: SimMesh) -> None:
        """The node is dead: nobody follows there."""
        if end in self.ends:
            self.ends.remove(end)
        for session, other in [key for key in self.present if key[1] is end]:
            del self.present[session, other]
            self.tell_presence(session, end)
        for arrived in self.arrivals.values():
            arrived[:] = [(connection, other) for connection, other in arrived if other is not end]


class SimMesh:
    """One node's end of the bus, for one life of that node. A `ports.Mesh`."""

    def __init__(self, bus: Bus, neighbour: Neighbour, is_alive: Callable[[], bool]) -> None:
        self.neighbour = neighbour
        self.is_alive = is_alive
        self.followed: set[SessionId] = set()
        self.is_cut = False
        self._bus = bus

    def hear(self, deliver: Callable[[], None]) -> None:
        """The message arrives, where somebody is alive to hear it."""
        if self.is_alive() and (self._bus.is_calm or not self.is_cut):
            deliver()

    def hear_entries(self, session: SessionId, first: int, txn: TxnId, say: Callable[[], None]) -> None:
        """A commit is heard of; what the node knows already is not read."""
        if not self.neighbour.is_known(session, first, txn):
            say()

    def look(self) -> None:
        """The position check, again and again while the node lives."""
        if self.is_alive():
            for session in sorted(self.followed):
                self._bus.look(session, self)
            self._bus.world.after(LOOK_MS, self.look)

    def lose(self) -> None:
        """The node died; the others find out."""
        bus = self._bus
        bus.world.after(0 if bus.is_calm else bus.world.random.randint(0, FORGOTTEN_MS_MAX), partial(bus.forget, self))

    def follow(self, session: SessionId) -> None:
        self.followed.add(session)
        self._bus.look(session, self)

    def unfollow(self, session: SessionId) -> None:
        self.followed.discard(session)

    def present(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        self._bus.present.setdefault((session, self), {})[device] = heard_at
        self._bus.tell_presence(session, self)

    def absent(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        self._bus.present.get((session, self), {}).pop(device, None)
        self._bus.tell_presence(session, self)

    def signal(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        for end in self._bus.ends:
            if end is not self and session in end.followed:
                self._bus.carry(end, partial(end.neighbour.signalled, session, device, frame))

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        arrived = self._bus.arrivals.setdefault((account, device), [])
        older = [end for _, end in arrived if end is not self]
        arrived.append((connection, self))
        for end in older:
            self._bus.carry(end, partial(self._say_arrival, end, account, device, connection))

    def _say_arrival(self, end: SimMesh, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        # Arrivals are numbered: news of one is no news where a newer connection is.
        arrived = self._bus.arrivals[account, device]
        newest_there = max((at for at, (_, other) in enumerate(arrived) if other is end), default=-1)
        if any(one == connection for one, _ in arrived[newest_there + 1 :]):
            end.neighbour.device_arrived(account, device, connection)

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        arrived = self._bus.arrivals.get((account, device), [])
        arrived[:] = [(one, end) for one, end in arrived if one != connection]

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        for end in dict.fromkeys(end for _, end in self._bus.arrivals.get((account, device), []) if end is not self):
            self._bus.carry(end, partial(end.neighbour.told, account, device, session, frame))

    def delete(self, session: SessionId, reason: str) -> None:
        raise AssertionError("nobody deletes here")
