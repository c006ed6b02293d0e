"""The store in Redis under test: a real server, or a real cluster, that is started once a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from deploy.local.redis import RedisCluster, RedisPair, RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.log.commits import Facts
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.limits import Limits
from syncbridge.ports import Archive, StateStore
from tests.conformance import rights
from tests.conformance.clocks import DEADLINE_S, SetClock

TURN_S: Final = 0.0005


class Servers:
    """Running servers, and how all of them are emptied."""

    def __init__(self, url: str, primaries: list[RedisServer], stop: Callable[[], None]) -> None:
        self.url = url
        self.stop = stop
        self.clients = [primary.client() for primary in primaries]

    def empty(self) -> None:
        """Nothing is in them."""
        for client in self.clients:
            client.flushall()

    def close(self) -> None:
        """They ended."""
        for client in self.clients:
            client.close()
        self.stop()


class StartedServers:
    """Servers by kind, each started when it is first asked for, all ended by `close`."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._pair: Servers | None = None
        self._cluster: Servers | None = None

    def pair(self) -> Servers:
        """A primary with a replica: what is acknowledged is on both."""
        if self._pair is None:
            pair = RedisPair(self._place("pair"))
            pair.start()
            self._pair = Servers(pair.url, [pair.primary], pair.stop)
        return self._pair

    def cluster(self) -> Servers:
        """A cluster of three primaries: whatever a call touches at once must lie in one slot.

        The store is the user there that the page of security gives to a service, with no other rights.
        """
        if self._cluster is None:
            cluster = RedisCluster(self._place("cluster"), replicas=0)
            cluster.start()
            self._cluster = Servers(rights.of_user(cluster.url), cluster.nodes, cluster.stop)
            rights.make_user(self._cluster.clients)
        return self._cluster

    def refused(self) -> list[str]:
        """What a store was not let do in the cluster."""
        return [] if self._cluster is None else rights.refused(self._cluster.clients)

    def close(self) -> None:
        """Every server ended, and their files are gone."""
        for servers in (self._pair, self._cluster):
            if servers is not None:
                servers.close()
        self._pair = self._cluster = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _place(self, name: str) -> Path:
        self._folder = self._folder or TemporaryDirectory(prefix="syncbridge-redis-")
        return Path(self._folder.name) / name


SERVERS: Final = StartedServers()


class RedisHarness:
    """A node: a link and a store of its own."""

    def __init__(
        self,
        servers: Servers,
        limits: Limits,
        history_entries_max: int = 20_000,
        *,
        clock: SetClock | None = None,
        archive: Archive | None = None,
        grace_ms: int = 5_000,
        facts: Facts | None = None,
        is_empty: bool = True,
    ) -> None:
        """With ``is_empty`` the servers are emptied before; without, it is one more node."""
        if is_empty:
            servers.empty()
        self.clock = clock or SetClock()
        self._servers = servers
        self._url = servers.url
        self._limits = limits
        self._history_entries_max = history_entries_max
        self._archive = archive
        self._grace_ms = grace_ms
        self._facts = facts
        self._loop = asyncio.new_event_loop()
        self.redis = self._open()
        self.store: StateStore = self.redis

    def _open(self) -> RedisStore:
        self.link = self._loop.run_until_complete(RedisLink.open(self._url))
        return RedisStore(
            self.link,
            self.clock,
            limits=self._limits,
            history_entries_max=self._history_entries_max,
            archive=self._archive,
            grace_ms=self._grace_ms,
            facts=self._facts,
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the store did not answer in time"
            self._loop.run_until_complete(asyncio.sleep(TURN_S))

    def pass_time(self, ms: int) -> None:
        """Redis' clock is the machine's: what it measures lies further back instead."""
        self.clock.ms += ms
        for client in self._servers.clients:
            for head in client.scan_iter("sb:{*}:head"):
                if client.hexists(head, "ends"):
                    client.hincrby(head, "ends", -ms)

    def settle_age(self) -> None:
        for client in self._servers.clients:
            for head in client.scan_iter("sb:{*}:head"):
                client.hdel(head, "written")

    def turn(self) -> None:
        """What has arrived is told."""
        self._loop.run_until_complete(asyncio.sleep(0))

    def reopen(self) -> None:
        self._loop.run_until_complete(self.link.close())
        self.store = self.redis = self._open()

    def close(self) -> None:
        self._loop.run_until_complete(self.link.close())
        self._loop.close()
