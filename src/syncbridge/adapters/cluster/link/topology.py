"""Who has which slot: asked of a cluster now and then, and whenever something seems wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count

import structlog

from syncbridge.adapters.cluster.link.address import Address, Place
from syncbridge.adapters.cluster.link.dialling import CannotConnect
from syncbridge.adapters.cluster.link.layout import Shard, shards_of
from syncbridge.adapters.cluster.link.node import Node
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.link.rules import Rules

_log = structlog.get_logger(__name__)

SLOTS = 16_384
TROUBLED_S = 0.1  # between two looks while a slot has no server that answers: a failover is followed so soon


class Topology:
    """Keeps the table of slots true; ``adopt(shards, is_changed)`` is called with each that may be new.

    Of a single server it is made once. Of a cluster any server is asked that answers, another one each time: one that
    is cut off from the rest knows only how it was.
    """

    def __init__(
        self,
        place: Place,
        nodes: Mapping[Address, Node],
        make_node: Callable[[Address], Node],
        adopt: Callable[[list[Shard], bool], None],
        *,
        rules: Rules,
    ) -> None:
        self._place = place
        self._nodes = nodes
        self._make_node = make_node
        self._adopt = adopt
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._shards: list[Shard] = []
        self._turns = count()
        self._wake = asyncio.Event()
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_doubted = False
        self.primaries: list[Address] = []
        self.known: set[Address] = set(place.seeds)
        self.is_whole = False
        """Whether every slot has a server."""

    async def begin(self, timeout_s: float) -> None:
        """Every slot has a server that answers. Raises CannotConnect."""
        if self._place.is_cluster:
            for address in self._place.seeds:
                self._make_node(address)
            self._task = self._loop.create_task(self._keep(), name="redis topology")
        else:
            self.primaries, self.is_whole = list(self._place.seeds), True
            self._adopt([Shard(self._place.seeds[0], ((0, SLOTS - 1),))], False)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._is_usable():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise CannotConnect(self._why_not()) from None

    def look_again(self) -> None:
        """The cluster is asked soon, and its answer taken even where it is the one known: somebody doubts it."""
        self._is_doubted = True
        self._wake.set()

    def told_ready(self) -> None:
        """A server answers that did not."""
        self._came.set()
        if not self.is_whole:
            self.look_again()

    def close(self) -> None:
        """Nobody is asked any more."""
        if self._task is not None:
            self._task.cancel()

    def _is_usable(self) -> bool:
        return self.is_whole and all(
            (node := self._nodes.get(address)) is not None and node.is_ready for address in self.primaries
        )

    def _why_not(self) -> str:
        faults = [node.fault for node in self._nodes.values() if node.fault]
        if faults:
            return faults[0]
        if not self.primaries:
            return "no server of the cluster says who has which slot"
        return "some slots have no server that answers"

    async def _keep(self) -> None:
        while True:
            self._ask()
            wait_s = self._rules.layout_ms / 1000 if self._is_usable() else TROUBLED_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
                await asyncio.sleep(TROUBLED_S / 2)  # what wakes comes in crowds
            except TimeoutError:
                pass
            self._wake.clear()

    def _ask(self) -> None:
        ready = [node for node in self._nodes.values() if node.hearing.is_ready]
        if not ready:
            for address in self._place.seeds:
                self._make_node(address)
            return
        node = ready[next(self._turns) % len(ready)]

        def told(answer: Answer) -> None:
            if not isinstance(answer, Failure):
                self._learn(shards_of(answer, node.address, is_secure=self._place.is_secure))
            self._came.set()

        node.hearing.ask((b"CLUSTER", b"SHARDS"), told)

    def _learn(self, shards: list[Shard]) -> None:
        if not shards or (shards == self._shards and not self._is_doubted):
            return  # a server that was just reset, or is none of a cluster; or no news
        self._is_doubted = False
        before, self._shards = self._shards, shards
        self.primaries = sorted({shard.primary for shard in shards})
        self.known = {*self.primaries, *(replica for shard in shards for replica in shard.replicas)}
        self.is_whole = sum(last + 1 - first for shard in shards for first, last in shard.slots) == SLOTS
        for address in self.known:
            self._make_node(address)
        self._adopt(shards, bool(before) and _owners(before) != _owners(shards))


def _owners(shards: list[Shard]) -> set[tuple[Address, tuple[tuple[int, int], ...]]]:
    return {(shard.primary, shard.slots) for shard in shards}
