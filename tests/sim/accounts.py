"""Redis for the accounts of a world, and each node's way to it: the real `AccountNews` runs over it.

An arrival may be held up on its way, and be written long after its node gave it up, or died. What is published may be
lost, doubled or overtaken; who lost something finds that out and listens again. A Redis that was replaced may have lost
the last number, and its clock may be anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final, cast

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.mesh.account_news import AccountNews
from syncbridge.core.ids import ConnectionId
from syncbridge.ports import Neighbour
from tests.sim.world import Violation, World

RETRY_MS: Final = 1_000
HELD_MS_MAX: Final = 3_000
GIVEN_UP_MS: Final = 1_250
"""After this time without an answer a node takes its call for failed; the call may still be on its way."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How bad the ways to the server are."""

    delay_ms_max: int = 1
    loss_chance: float = 0.0
    double_chance: float = 0.0
    hold_chance: float = 0.0

    @property
    def answer_ms_max(self) -> int:
        """What a question and its answer take at the most: of two connections closer than that none is the newer."""
        return 4 * self.delay_ms_max + 2


class AccountServer:
    """The one Redis: the last number of each account, and who listens to its channel."""

    def __init__(self, world: World, ways: Ways) -> None:
        self.world = world
        self.ways = ways
        self.random = Random(f"accounts of {world.seed}")
        self.links: list[AccountLink] = []
        self.last: dict[bytes, int] = {}
        self.clock_us = 0
        self.arrived_ms: dict[ConnectionId, int] = {}
        """When each connection said its hello, as only the simulation knows."""
        self.late = 0

    def calm_down(self) -> None:
        """From now on nothing is lost, late or held up."""
        self.ways = Ways()

    def fail_over(self) -> None:
        """Another server takes over: without the last numbers, and with a clock of its own."""
        self.last.clear()
        self.clock_us = self.random.choice((-1, 1)) * self.random.randint(0, 8_000_000_000_000)

    def delay_ms(self) -> int:
        return self.random.randint(0, self.ways.delay_ms_max)

    def number(self, account: bytes, above: int) -> int:
        """As `arrive.lua` gives it."""
        now_us = self.world.time_ms * 1_000 + self.clock_us
        self.last[account] = max(now_us, self.last.get(account, 0) + 1, above + 1)
        return self.last[account]

    def publish(self, channel: bytes, frame: bytes) -> None:
        """The frame is on its way to all who listen now."""
        self.world.note("published", frame)
        for link in self.links:
            if channel in link.listening:
                for _ in range(2 if self.random.random() < self.ways.double_chance else 1):
                    self.world.after(self.delay_ms(), partial(link.hear, channel, frame))

    def judge(self, mine: ConnectionId, other: ConnectionId) -> None:
        """A connection gives way to another. Raises Violation where that one is the older."""
        newer_ms = self.arrived_ms[mine] - self.arrived_ms[other]
        if newer_ms > self.ways.answer_ms_max:
            raise Violation("replaced", f"{mine} gives way to {other}, which is {newer_ms} ms older")


class AccountLink:
    """A node's way to the server, for one life of that node: as much of a `RedisLink` as `AccountNews` asks for."""

    def __init__(self, server: AccountServer, is_alive: Callable[[], bool], is_cut: Callable[[], bool]) -> None:
        self.is_alive = is_alive
        self.is_cut = is_cut
        self.listening: set[bytes] = set()
        self.frozen_until_ms = 0
        self.server = server
        self._wanted: dict[bytes, tuple[Callable[[bytes], None], Callable[[], None]]] = {}
        server.links.append(self)

    # -- what the node asks for ---------------------------------------------------------------------------------

    def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], done: Callable[[Any], None], **_how: bool
    ) -> None:
        server, world = self.server, self.server.world
        number = 0

        def written() -> None:
            nonlocal number
            number = server.number(keys[0], int(args[2]))
            server.late += world.time_ms - asked_ms > GIVEN_UP_MS
            server.publish(keys[1], args[0] + b"%d}" % number)

        def answered() -> None:
            if self._is_later(answered) or not self.is_alive():
                return
            if not ended:
                ended.append(True)
                is_heard = number and not self.is_cut()
                done(b"%d" % number if is_heard else Failure("unknown", "no answer"))

        asked_ms, ended = world.time_ms, list[bool]()
        is_held = self.is_cut() or server.random.random() < server.ways.hold_chance
        way_ms = server.random.randint(0, HELD_MS_MAX) if is_held else server.delay_ms()
        if not self.is_cut() or server.random.random() < 0.5:
            world.after(way_ms, written)
            world.after(way_ms + server.delay_ms(), answered)
        world.after(GIVEN_UP_MS, answered)

    def subscribe(self, channel: bytes, heard: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        self._wanted[channel] = heard, ready
        self.server.world.after(self.server.delay_ms(), partial(self._listen, channel))

    def unsubscribe(self, channel: bytes) -> None:
        self._wanted.pop(channel, None)
        self.listening.discard(channel)

    def publish(self, channel: bytes, frame: bytes) -> None:
        server = self.server
        if self.is_cut() or server.random.random() < server.ways.loss_chance:
            self.deafen()  # it goes over the connection on which the node listens
        else:
            server.world.after(server.delay_ms(), partial(server.publish, channel, frame))

    # -- what comes to it ---------------------------------------------------------------------------------------

    def hear(self, channel: bytes, frame: bytes) -> None:
        """The frame comes, or is lost with the connection over which it would have come."""
        server = self.server
        if not self.is_alive() or channel not in self.listening or self._is_later(partial(self.hear, channel, frame)):
            return
        if self.is_cut() or server.random.random() < server.ways.loss_chance:
            self.deafen()
            return
        self._wanted[channel][0](frame)

    def deafen(self) -> None:
        """Nothing is heard until the node has found that out."""
        self.listening.clear()
        for channel in self._wanted:
            self.server.world.after(self.server.random.randint(1, 1_000), partial(self._listen, channel))

    def _listen(self, channel: bytes) -> None:
        if not self.is_alive() or channel not in self._wanted or channel in self.listening:
            return
        if self.is_cut():
            self.server.world.after(self.server.random.randint(1, 1_000), partial(self._listen, channel))
            return
        self.listening.add(channel)
        self.server.world.after(self.server.delay_ms(), partial(self._confirmed, channel))

    def _confirmed(self, channel: bytes) -> None:
        if self.is_alive() and channel in self.listening and not self._is_later(partial(self._confirmed, channel)):
            self._wanted[channel][1]()

    def _is_later(self, call: Callable[[], None]) -> bool:
        """Whether the node is frozen; ``call`` then follows when it is no more."""
        world = self.server.world
        if world.time_ms >= self.frozen_until_ms:
            return False
        world.call_at(self.frozen_until_ms, call)
        return True


class _Silent:
    def measured(self, _name: str, _value: float, _label: str = "") -> None: ...


def account_news(link: AccountLink, name: str, neighbour: Neighbour) -> AccountNews:
    """A node's accounts over its way to the server, tried again each second as `RedisMesh` does."""
    server, world = link.server, link.server.world
    news = AccountNews(name, cast(RedisLink, link), neighbour, _Silent(), 512, lambda: world.time_ms / 1_000)

    def retry() -> None:
        if link.is_alive():
            if world.time_ms >= link.frozen_until_ms:
                news.retry()
            world.after(RETRY_MS, retry)
        elif link in server.links:
            server.links.remove(link)

    world.after(RETRY_MS, retry)
    return news
