"""Connections between devices and nodes, with what TCP promises and what it does not.

Within a connection messages arrive in order, none lost and none doubled. But a connection may stall, and it may be
cut at any message: what was under way then arrives up to some point and no further, in each direction its own, and
each side learns of it at its own time. A half-open connection is one whose end one side has not noticed yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from syncbridge.core.messages import AnyServerMessage, ServerMessage
from syncbridge.runtime.driver import ConnectionDriver
from tests.sim.weather import Weather
from tests.sim.world import Call, World

decode_server = msgspec.json.Decoder(AnyServerMessage).decode
TOO_SLOW = 4408
CALM_DELAY_MS = 20


class Peer(Protocol):
    """The device's end."""

    name: str

    def on_connected(self, link: Link) -> None: ...

    def on_message(self, link: Link, message: ServerMessage) -> None: ...

    def on_closed(self, link: Link, code: int) -> None: ...


class Watcher(Protocol):
    """Who sees what a node sends, when it sends it, and what arrives."""

    def on_sent(self, link: Link, message: ServerMessage) -> None: ...

    def on_arrived(self, link: Link, message: ServerMessage) -> None: ...

    def on_said(self, link: Link, frame: bytes) -> None: ...


class Pipe:
    """One direction: first in, first out, each message after a delay of its own."""

    def __init__(self, world: World, delay_ms_max: int) -> None:
        self._world = world
        self._delay_ms_max = delay_ms_max
        self._last_ms = 0
        self._under_way: deque[tuple[Call, int, Callable[[], None]]] = deque()
        self.queued_bytes = 0
        self.stalled_until_ms = 0

    def carry(self, size: int, deliver: Callable[[], None]) -> None:
        """``deliver`` is called when what was sent before has arrived, and then some."""
        world = self._world
        delay_ms = world.random.randint(0, self._delay_ms_max)
        self._last_ms = max(self._last_ms, world.time_ms + delay_ms, self.stalled_until_ms)
        self.queued_bytes += size
        self._under_way.append((world.call_at(self._last_ms, partial(self._arrive, deliver)), size, deliver))

    def _arrive(self, deliver: Callable[[], None]) -> None:
        _, size, _ = self._under_way.popleft()
        self.queued_bytes -= size
        deliver()

    def cut(self) -> None:
        """Of what is under way some arrives yet, the rest never."""
        keep = self._world.random.randint(0, len(self._under_way))
        while len(self._under_way) > keep:
            call, size, _ = self._under_way.pop()
            call.cancel()
            self.queued_bytes -= size

    def heal(self) -> None:
        """Nothing stalls any more, and delays are short, also of what is under way."""
        self._delay_ms_max = min(self._delay_ms_max, CALM_DELAY_MS)
        self.stalled_until_ms = self._last_ms = 0
        under_way, self._under_way = self._under_way, deque()
        for call, size, deliver in under_way:
            call.cancel()
            self.queued_bytes -= size
            self.carry(size, deliver)


class Link:
    """One connection. An `Outlet` to the node's driver.

    ``is_cut``: nothing new gets through. The ends are closed when each has noticed.
    """

    def __init__(self, network: Network, peer: Peer, number: int) -> None:
        self.network = network
        self.world = network.world
        self.peer = peer
        self.number = number
        self.driver: ConnectionDriver | None = None
        self.is_over_budget = False
        self.is_cut = False
        self.is_closing = False
        self.has_device_end = True
        self.has_node_end = True
        weather = network.weather
        self.up = Pipe(self.world, network.delay_ms_max)
        self.down = Pipe(self.world, network.delay_ms_max)
        self._outlet_bytes_max = weather.outlet_bytes_max
        self._heartbeat_ms = weather.limits.heartbeat_ms
        self._idle_ms = weather.limits.idle_timeout_ms
        self._heard_ms = self.world.time_ms

    # -- the node's end: an outlet ------------------------------------------------------------------------------

    def send(self, payload: bytes) -> bool:
        if self.is_closing or not self.has_node_end:
            return False
        message: ServerMessage = decode_server(payload)
        self.world.note(f"L{self.number} v", payload)
        self.network.watcher.on_sent(self, message)
        if self.is_cut:
            self.down.queued_bytes += len(payload)  # the kernel holds it and will never be rid of it
        else:
            self.down.carry(len(payload), partial(self._to_device, message))
        if self.down.queued_bytes > 16 * self._outlet_bytes_max:
            self.close(TOO_SLOW)
        if self.down.queued_bytes > self._outlet_bytes_max:
            self.is_over_budget = True
        return not self.is_over_budget

    def close(self, code: int, reason: str = "") -> None:
        if self.is_closing or not self.has_node_end:
            return
        self.is_closing = True
        self.world.note(f"L{self.number} close {code}")
        if not self.is_cut:
            self.down.carry(0, partial(self._end_device, code))
        self.world.after(2_000 if self.is_cut else self.world.random.randint(0, 300), partial(self._end_node, code))

    def abort(self) -> None:
        self._end_node(1006)

    # -- the device's end ---------------------------------------------------------------------------------------

    def say(self, frame: bytes) -> None:
        if not self.has_device_end:
            return
        self.world.note(f"L{self.number} ^", frame)
        self.network.watcher.on_said(self, frame)
        if not self.is_cut:
            self.up.carry(len(frame), partial(self._to_node, frame))

    def hang_up(self, *, is_noticed: bool = True) -> None:
        """The device ends it; the node hears of it at once, or (power gone, radio off) after a long silence."""
        if self.has_device_end:
            self.has_device_end = False
            self.cut(node_after_ms=self.world.random.randint(0, 50) if is_noticed else None)

    # -- what happens to it -------------------------------------------------------------------------------------

    def open(self) -> None:
        """The handshake is over; the device hears that last."""
        if self.is_cut or not self.has_device_end:
            return
        node = self.network.node_of(self)
        if node is None:
            self._end_device(1006)
            return
        self.driver = node()
        self.driver.on_open(self)
        self.down.carry(0, self._connected)
        self.world.after(self._heartbeat_ms, self._beat)

    def cut(self, *, device_after_ms: int | None = None, node_after_ms: int | None = None) -> None:
        """Nothing gets through any more; a side that is given no time finds out by its own silence timer."""
        if not self.is_cut:
            self.is_cut = True
            self.up.cut()
            self.down.cut()
            self.world.note(f"L{self.number} cut")
        if device_after_ms is None:
            device_after_ms = self._idle_ms
        self.world.after(device_after_ms, partial(self._end_device, 1006))
        if node_after_ms is not None:
            self.world.after(node_after_ms, partial(self._end_node, 1006))

    def lose_node(self) -> None:
        """The node's process is gone, and with it its end."""
        self.has_node_end = False
        self.driver = None
        self.cut(device_after_ms=self.world.random.randint(0, 100))

    def _connected(self) -> None:
        if self.has_device_end:
            self.peer.on_connected(self)

    def _to_device(self, message: ServerMessage) -> None:
        if self.has_device_end:
            self.network.watcher.on_arrived(self, message)
            self.peer.on_message(self, message)
        self._drained()

    def _drained(self) -> None:
        if self.is_over_budget and self.down.queued_bytes <= self._outlet_bytes_max // 2:
            self.is_over_budget = False
            if self.driver is not None and self.has_node_end and not self.is_closing:
                self.driver.on_drained()

    def _to_node(self, frame: bytes) -> None:
        if self.driver is not None and self.has_node_end and not self.is_closing:
            self._heard_ms = self.world.time_ms
            self.driver.on_text(frame)

    def _beat(self) -> None:
        """The node pings; a device that is there answers."""
        if not self.has_node_end or self.driver is None:
            return
        if not self.is_cut:
            self._heard_ms = self.world.time_ms
            self.driver.on_heard()
        elif self.world.time_ms - self._heard_ms >= self._idle_ms:
            self._end_node(1006)
            return
        self.world.after(self._heartbeat_ms, self._beat)

    def _end_device(self, code: int) -> None:
        if self.has_device_end:
            self.has_device_end = False
            self.is_cut = True
            self.world.note(f"L{self.number} device end {code}")
            self.peer.on_closed(self, code)

    def _end_node(self, code: int) -> None:
        if self.has_node_end:
            self.has_node_end = False
            self.world.note(f"L{self.number} node end {code}")
            if not self.is_cut:
                self.cut(device_after_ms=self.world.random.randint(0, 100))
            if self.driver is not None:
                self.driver.on_close(code, "")


class Network:
    """All connections of a world."""

    def __init__(self, world: World, weather: Weather, watcher: Watcher) -> None:
        self.world = world
        self.weather = weather
        self.watcher = watcher
        self.links: list[Link] = []
        self.delay_ms_max = weather.delay_ms_max
        self._made = 0
        self._connectors: dict[int, Callable[[], ConnectionDriver] | None] = {}
        self._to: dict[int, int] = {}

    def serve(self, node: int, connector: Callable[[], ConnectionDriver] | None) -> None:
        """Connections to ``node`` are handled by ``connector``; None: it is down, and those it had are gone."""
        self._connectors[node] = connector
        if connector is None:
            for link in self.links_of(node):
                link.lose_node()

    def node_of(self, link: Link) -> Callable[[], ConnectionDriver] | None:
        return self._connectors[self._to[link.number]]

    def links_of(self, node: int) -> list[Link]:
        return [link for link in self.links if self._to[link.number] == node and link.has_node_end]

    def connect(self, peer: Peer, node: int) -> Link:
        """A connection is being made; `on_connected` or `on_closed` follows."""
        self.links = [link for link in self.links if link.has_device_end or link.has_node_end]
        self._made += 1
        link = Link(self, peer, self._made)
        self._to[link.number] = node
        self.links.append(link)
        self.world.note(f"L{link.number} {peer.name} connects to N{node}")
        self.world.after(self.world.random.randint(0, 2 * self.delay_ms_max), link.open)
        return link

    def heal(self) -> None:
        """Faults are over: dead connections are noticed by both sides, nothing stalls, delays are short."""
        self.delay_ms_max = min(self.delay_ms_max, CALM_DELAY_MS)
        for link in self.links:
            link.up.heal()
            link.down.heal()
            if link.is_cut:
                link.cut(device_after_ms=0, node_after_ms=0)
