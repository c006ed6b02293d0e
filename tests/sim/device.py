"""A device: the real replica, a disk that survives the app, a clock of its own, and a line to a node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from syncbridge.client.pending import Acked, Dump
from syncbridge.client.replica import Replica
from syncbridge.core.messages import (
    Ack,
    ClientMessage,
    Clock,
    ClockMessage,
    DeviceInfo,
    EntriesMessage,
    EntryMessage,
    ErrorMessage,
    HandoffPrepare,
    Hello,
    Join,
    Joined,
    Left,
    PresenceMessage,
    Reject,
    ServerMessage,
    Welcome,
)
from syncbridge.errors import SyncBridgeError
from tests.sim.deeds import Deed
from tests.sim.network import Link, Network
from tests.sim.weather import Weather
from tests.sim.world import START_MS, Violation, World

encode = msgspec.json.Encoder().encode
REPLICA_MESSAGES = (Joined, EntryMessage, EntriesMessage, Ack, Reject, PresenceMessage)
RETRY_MS = 200


class DeviceWatcher(Protocol):
    """Who sees what a device knows."""

    def on_outcome(self, deed: Deed) -> None: ...

    def on_confirmed(self, device: SimDevice) -> None: ...


class SimDevice:
    """One device of the account; ``prepare`` is called when a handoff is offered to it."""

    def __init__(
        self, world: World, weather: Weather, network: Network, watcher: DeviceWatcher, name: str, session: str
    ) -> None:
        self.world = world
        self.weather = weather
        self.network = network
        self.watcher = watcher
        self.name = name
        self.session = session
        self.prepare: Callable[[HandoffPrepare], None] = lambda _: None
        self.nodes = tuple(range(weather.nodes))
        self.home = world.random.choice(self.nodes)
        self.is_running = False
        self.is_offline = False
        self.is_calm = False
        self.died_ms = 0
        self.kills = 0
        self.deeds: dict[int, Deed] = {}
        self.link: Link | None = None
        self.is_welcome = False
        self.disk: Dump | None = None
        self.replica = self._blank()
        self.skew_ms = world.random.choice((0, 40, -7_000, 10_800_000, -90_000_000))
        self.offset_ms = 0
        self.offset_error_ms: int | None = None
        self._life = 0
        self._is_writing = False
        self._told_revision = -1

    def _blank(self) -> Replica:
        return Replica(self.session, self.name, limits=self.weather.limits)

    # -- its clock ----------------------------------------------------------------------------------------------

    def clock_ms(self) -> int:
        """The device's own clock: wrong by hours, and it drifts."""
        now_ms = self.world.time_ms
        return now_ms + self.skew_ms + (now_ms - START_MS) // 20_000

    def server_ms(self) -> int:
        """Server time as this device reckons it."""
        return max(0, self.clock_ms() + self.offset_ms)

    def _measured(self, message: ClockMessage) -> None:
        t0, t3 = int(message.t0), self.clock_ms()
        error_ms = (t3 - t0 + 1) // 2
        if self.offset_error_ms is None or error_ms <= self.offset_error_ms:
            self.offset_error_ms = error_ms
            self.offset_ms = ((message.t1 - t0) + (message.t2 - t3)) // 2

    # -- the app's life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """The app runs, from what its disk holds."""
        if self.is_running:
            return
        self._life += 1
        self.is_running = True
        self._is_writing = False
        self._told_revision = -1
        self.replica = self._blank()
        if self.disk is not None:
            # Through bytes, as a disk would: what does not survive encoding is found here.
            disk = msgspec.json.decode(encode(self.disk), type=Dump)
            self.replica.load(disk)
            self.deeds = {key: deed for key, deed in self.deeds.items() if key < disk.next_key}
        else:
            self.deeds = {}
        self.world.note(f"{self.name} starts")
        self.reconnect(0)

    def kill(self, *, has_power: bool = True) -> None:
        """The app is gone at once; without power not even its connection is closed."""
        if not self.is_running:
            return
        self.world.note(f"{self.name} killed")
        self._life += 1
        self.is_running = False
        self.died_ms = self.world.time_ms
        self.kills += 1
        link, self.link = self.link, None
        self.is_welcome = False
        if link is not None:
            link.hang_up(is_noticed=has_power)

    def go_offline(self) -> None:
        self.is_offline = True
        if self.link is not None:
            link = self.link
            link.hang_up(is_noticed=not self.world.is_chance(self.weather.half_open_chance))
            self._disconnected(link)

    def go_online(self) -> None:
        self.is_offline = False
        self.reconnect(0)

    # -- its connection -----------------------------------------------------------------------------------------

    def reconnect(self, after_ms: int) -> None:
        life = self._life

        def connect() -> None:
            if self._life == life and self.is_running and not self.is_offline and self.link is None:
                node = self.world.random.choice(self.nodes) if self.weather.is_roaming else self.home
                self.link = self.network.connect(self, node)

        self.world.after(after_ms, connect)

    def say(self, message: ClientMessage) -> None:
        if self.link is not None:
            self.link.say(encode(message))

    def on_connected(self, link: Link) -> None:
        if link is not self.link:
            return
        self.say(Hello("token", DeviceInfo(self.name)))
        self.offset_error_ms = None
        if self.world.is_chance(0.5):
            self.is_welcome = True  # pipelined: the join does not wait for `welcome`
            self.join()

    def on_closed(self, link: Link, code: int) -> None:
        if link is self.link:
            self._disconnected(link)
            self.reconnect(self.world.random.randint(20, RETRY_MS))

    def _disconnected(self, link: Link) -> None:
        if link is self.link:
            self.link = None
            self.is_welcome = False
            self.replica.disconnected()

    def join(self) -> None:
        """The join goes out, once what it says of the device's numbers is on disk."""
        if self.link is not None and self.is_welcome:
            self.say(self.replica.join())

    def on_message(self, link: Link, message: ServerMessage) -> None:
        if link is not self.link:
            return
        if isinstance(message, REPLICA_MESSAGES):
            self._to_replica(message)
            return
        match message:
            case Welcome():
                if self.offset_error_ms is None:
                    self.offset_ms = message.server_time - self.clock_ms()
                for pause_ms in (0, 30, 200):
                    self.world.after(pause_ms, self._measure)
                if not self.is_welcome:
                    self.is_welcome = True
                    self.join()
            case ClockMessage():
                self._measured(message)
            case HandoffPrepare():
                self.prepare(message)
            case Left() if message.reason != "left":
                self._rejoin_later()
            case ErrorMessage() if message.about == "join":
                self._rejoin_later()

    def _measure(self) -> None:
        if self.is_welcome:
            self.say(Clock(self.clock_ms()))

    def _rejoin_later(self) -> None:
        link = self.link
        self.replica.disconnected()
        self.world.after(RETRY_MS, lambda: self.join() if self.link is link and not self.replica.is_joined else None)

    def _to_replica(self, message: Joined | EntryMessage | EntriesMessage | Ack | Reject | PresenceMessage) -> None:
        try:
            answers = self.replica.receive(message, self.server_ms())
        except SyncBridgeError as error:
            raise Violation("no_exception", f"the replica of {self.name} raised {error!r}") from error
        self.watcher.on_confirmed(self)
        for answer in answers:
            assert isinstance(answer, Join)
            self.say(answer)
        self.after_change()

    # -- its disk -----------------------------------------------------------------------------------------------

    def after_change(self) -> None:
        """Deeds that ended are remembered, the disk is written, and what it holds is sent."""
        self._take_outcomes()
        if not self._is_writing:
            self._write()
        self.flush()

    def _write(self) -> None:
        dump = self.replica.dump()
        if dump is None or dump.revision == self._told_revision:
            return
        self._told_revision = dump.revision
        delay_ms = 0 if self.is_calm else self.world.random.randint(0, self.weather.disk_delay_ms_max)
        if delay_ms == 0:
            self.disk = dump
            return
        self._is_writing = True
        self.world.after(delay_ms, partial(self._written, dump, self._life))

    def _written(self, dump: Dump, life: int) -> None:
        if life != self._life:
            return
        self.disk = dump
        self._is_writing = False
        self._write()
        self.flush()

    def flush(self) -> None:
        """Whatever may be sent now is sent."""
        if self.link is None or self.disk is None:
            return
        # All that waits on the disk is sent again after a kill: no more than the service remembers.
        below = min((row.seq for row in self.disk.pending), default=self.disk.next_seq) + self.replica.inflight_max
        for push in self.replica.outgoing(self.server_ms(), through=self.disk.revision, below=below):
            self.say(push)
        retry_at = self.replica.retry_at()
        if retry_at is not None and retry_at > self.server_ms():
            self.world.after(retry_at - self.server_ms(), partial(self._retry, self._life))

    def _retry(self, life: int) -> None:
        if life == self._life:
            self.flush()

    def _take_outcomes(self) -> None:
        for outcome in self.replica.take_outcomes():
            deed = self.deeds.get(outcome.key)
            if deed is None:
                continue
            if isinstance(outcome.result, Acked):
                deed.version, deed.acked_ms = outcome.result.version, self.world.time_ms
                deed.rows = outcome.result.conflicts
            else:
                deed.code = outcome.result.code
            self.watcher.on_outcome(deed)
