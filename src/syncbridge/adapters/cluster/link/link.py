"""The way to Redis: calls, news and topology over connections of its own.

Every call is answered once, by its ``done``, within about ``rules.retry_ms`` or ``frozen_ms``: by the server's
answer, or by a `Failure` that says whether it may have taken effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Self

import structlog
from redis.crc import key_slot

from syncbridge.adapters.cluster.link.address import Address, Place, place_of
from syncbridge.adapters.cluster.link.calls import Call, Done, packed
from syncbridge.adapters.cluster.link.dialling import CannotConnect, Dialler, ServerState
from syncbridge.adapters.cluster.link.hearing import Hearing
from syncbridge.adapters.cluster.link.layout import Shard
from syncbridge.adapters.cluster.link.node import Acks, Node
from syncbridge.adapters.cluster.link.pipe import Pipe
from syncbridge.adapters.cluster.link.replies import Answer, Verdict
from syncbridge.adapters.cluster.link.routing import SLOTS, Routing
from syncbridge.adapters.cluster.link.rules import Figures, Rules
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.link.subscriptions import Subscriptions
from syncbridge.adapters.cluster.link.topology import Topology
from syncbridge.adapters.cluster.trust import trusting
from syncbridge.ports import CredentialSource, FixedCredentials

_log = structlog.get_logger(__name__)

TICK_S = 0.1

slot_of = lru_cache(maxsize=SLOTS)(key_slot)
"""The slot of a key; a live session's keys are asked again and again."""


class RedisLink:
    """One node's link to Redis: a single server, a primary with replicas, or a cluster.

    Order     the calls of one slot take effect in the order asked. One that the server put off, and that another
              write of its slot overtook, is answered `unavailable` rather than sent again.
    Once      a write that may have reached a server is never sent again: its answer is the server's or `unknown`.
    Acks      `replicated`: a write is answered when a replica has it too, `unknown` when that took too long; where
              a server has no replica it is as `local`, and the log says so (see `node.Node`).
    Bounded   unanswered calls in number and bytes; what is over the bounds is answered `unavailable` at once.
    Blocking  nothing blocks. What is asked in one turn of the loop goes out as one write a connection, at `flush` or
              with the next turn.
    """

    def __init__(self, place: Place, dialler: Dialler, *, acks: Acks, rules: Rules) -> None:
        self.rules = rules
        self.figures = Figures()
        self.on_primary_changed: list[Callable[[], None]] = []
        """Called when a slot's primary is another server, or another life of it: what it holds may be less."""
        self._acks: Acks = acks
        self._dialler = dialler
        self._loop = asyncio.get_running_loop()
        self._scripts: dict[bytes, Script] = {}
        self._nodes: dict[Address, Node] = {}
        self._is_closed = False
        self._is_announced = False
        self._looked_at = 0.0
        self._now = self._loop.time()
        self._is_now = False
        self._routing = Routing(self._pipe_to, self.look_again, loop=self._loop, rules=rules, figures=self.figures)
        self._subscriptions = Subscriptions(self._hearing_of, self.look_again)
        self._topology = Topology(place, self._nodes, self._node, self._adopt, rules=rules)
        self._ticker = self._loop.call_later(TICK_S, self._tick, self._loop.time() + TICK_S)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        credentials: CredentialSource | None = None,
        acks: Acks = "replicated",
        ca_file: str = "",
        rules: Rules | None = None,
        timeout_s: float = 5.0,
    ) -> Self:
        """The link is up: every slot has a server that answers.

        Without ``credentials`` those in the URL are used. ``ca_file`` names the authority that is trusted over TLS
        (else the system's).

        Raises BadUrl, CannotTrust, CannotConnect (no Redis within ``timeout_s``); the text says why.
        """
        place, rules = place_of(url), rules or Rules()
        if credentials is None:
            credentials = FixedCredentials(place.credentials.username, place.credentials.password)
        tls = trusting(ca_file) if place.is_secure else None
        dialler = Dialler(credentials, tls, connect_timeout_s=rules.connect_ms / 1000, is_cluster=place.is_cluster)
        link = cls(place, dialler, acks=acks, rules=rules)
        credentials.watch(link._log_in)
        try:
            await link._topology.begin(timeout_s)
        except CannotConnect:
            await link.close()
            raise
        return link

    # -- calls ----------------------------------------------------------------------------------------------------

    def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], done: Done, *, is_write: bool = True
    ) -> None:
        """The script runs once with these keys, which are all of one slot, or `done` says why not."""
        words = packed((b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *args))
        self._routing.ask(Call(slot_of(keys[0]), words, done, is_write, self._time(), script))

    def command(self, key: bytes, words: Sequence[bytes], done: Done, *, is_write: bool = False) -> None:
        """The command is carried out where the key lies."""
        self._routing.ask(Call(slot_of(key), packed(words), done, is_write, self._time()))

    def everywhere(
        self, script: Script, args: Sequence[bytes], done: Callable[[list[Answer]], None], *, is_write: bool = True
    ) -> None:
        """The script runs once on each primary, without keys; an answer for each, in no order.

        It is not tried again: a server that loads, or is none any more, is `unavailable`.
        """
        primaries = self._primaries()
        answers: list[Answer] = []
        if not primaries:
            done(answers)
            return

        def answered(answer: Answer) -> None:
            answers.append(answer)
            if len(answers) == len(primaries):
                done(answers)

        words = packed((b"EVAL", script.source, b"0", *args))
        for node in primaries:
            node.pipe(0).put(Call(-1, words, answered, is_write, self._time()))

    def flush(self) -> None:
        """What was asked is on its way, where its server can be reached: for whoever has nothing more to ask this turn.

        The loop reads its sockets before the next turn, and what they bring may take long.
        """
        for node in self._nodes.values():
            for pipe in node.pipes:
                pipe.flush()

    # -- news -----------------------------------------------------------------------------------------------------

    def subscribe(self, channel: bytes, heard: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        """``heard`` is called with what is published on the shard channel; ``ready`` at each beginning of that.

        Between the loss of a connection and the next `ready` news are lost.
        """
        self._subscriptions.add(channel, heard, ready)

    def unsubscribe(self, channel: bytes) -> None:
        """The channel is heard no more."""
        self._subscriptions.remove(channel)

    def publish(self, channel: bytes, frame: bytes) -> None:
        """The frame is told to those who hear the channel, or lost."""
        hearing = self._hearing_of(slot_of(channel))
        if hearing is not None:
            hearing.publish(channel, frame)

    # -- how it is ------------------------------------------------------------------------------------------------

    @property
    def has_replicas(self) -> bool:
        """Whether every primary has a replica online."""
        primaries = self._primaries()
        return bool(primaries) and all(node.has_replicas for node in primaries)

    @property
    def acks(self) -> Acks:
        """What an acknowledgement means now: `local` as soon as one primary is not waited for."""
        return "replicated" if all(node.replicas_wanted() for node in self._primaries()) else "local"

    @property
    def primaries(self) -> int:
        """How many servers have slots."""
        return len(self._primaries())

    @property
    def primaries_ready(self) -> int:
        """How many of them take calls now."""
        return sum(node.is_ready for node in self._primaries())

    def is_healthy(self) -> bool:
        """Whether calls go out to any server now: while one of several fails over, the others' sessions are served."""
        return not self._is_closed and self.primaries_ready > 0

    def is_whole(self) -> bool:
        """Whether calls of every slot go out now."""
        return not self._is_closed and self._topology.is_whole and self.primaries_ready == self.primaries

    def look_again(self) -> None:
        """Who has which slot is asked soon."""
        self._topology.look_again()

    async def close(self) -> None:
        """Nothing is connected; calls that were sent are answered `unknown`, others `unavailable`."""
        self._is_closed = True
        self._ticker.cancel()
        self._topology.close()
        self._routing.close()
        tasks = [task for node in self._nodes.values() for task in node.close()]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports tell their loss in the next turn

    # -- inside ---------------------------------------------------------------------------------------------------

    def _time(self) -> float:
        # Once a turn is exact enough, and a call of the loop's clock costs as much as the rest of asking.
        if not self._is_now:
            self._is_now = True
            self._now = self._loop.time()
            self._loop.call_soon(self._turn_over)
        return self._now

    def _turn_over(self) -> None:
        self._is_now = False

    def _primaries(self) -> list[Node]:
        return [node for address in self._topology.primaries if (node := self._nodes.get(address)) is not None]

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(
                address, self._make_pipe, self._make_hearing, self._node_changed, acks=self._acks, rules=self.rules
            )
        return node

    def _make_pipe(self, node: Node) -> Pipe:
        return Pipe(
            node.address,
            self._dialler,
            self,
            watched=self._routing.lanes,
            scripts=self._scripts,
            replicas_wanted=node.replicas_wanted,
            rules=self.rules,
            figures=self.figures,
        )

    def _make_hearing(self, node: Node) -> Hearing:
        def told(state: ServerState) -> None:
            node.learn(state)
            self._topology.told_ready()

        return Hearing(node.address, self._dialler, self._subscriptions, told, rules=self.rules, figures=self.figures)

    def _pipe_to(self, address: Address, slot: int) -> Pipe:
        return self._node(address).pipe(slot)

    def _hearing_of(self, slot: int) -> Hearing | None:
        pipe = self._routing.pipes[slot]
        node = self._nodes.get(pipe.address) if pipe is not None else None
        return node.hearing if node is not None else None

    def _adopt(self, shards: list[Shard], is_changed: bool) -> None:
        pipes: list[Pipe | None] = [None] * SLOTS
        for shard in shards:
            node = self._node(shard.primary)
            for first, last in shard.slots:
                pipes[first : last + 1] = node.pipes_of(first, last)
        self._routing.adopt(pipes)
        for address in [*self._nodes]:
            if address not in self._topology.known:
                self._nodes.pop(address).close()
        self._subscriptions.moved()
        if is_changed:
            self._announce()

    def _node_changed(self, node: Node) -> None:
        if node.address in self._topology.primaries:
            self._announce()
        self.look_again()

    def _announce(self) -> None:
        # Once a turn, however many slots or servers changed.
        if not self._is_announced and not self._is_closed:
            self._is_announced = True
            self._loop.call_soon(self._tell_change)

    def _tell_change(self) -> None:
        self._is_announced = False
        for told in self.on_primary_changed:
            self._loop.call_soon(told)  # one that fails is no reason not to tell the others

    def _log_in(self) -> None:
        for node in self._nodes.values():
            node.log_in()

    def _tick(self, due_at: float) -> None:
        now = self._loop.time()
        self._ticker = self._loop.call_later(TICK_S, self._tick, now + TICK_S)
        if now - self._looked_at >= self.rules.look_ms / 1000:
            self._looked_at = now
            for node in self._nodes.values():
                node.ask_state()
        # A loop that stood still itself has not read what was answered meanwhile, nor sent what was asked before.
        has_stood_still = now - due_at > self.rules.frozen_ms / 2000
        if has_stood_still:
            self.flush()
        for node in list(self._nodes.values()):
            if not has_stood_still:
                node.look(now)
            node.expire(now)
        self._routing.expire(now)

    # -- a `pipe.Router` ------------------------------------------------------------------------------------------

    def settled(self, call: Call) -> None:
        """See `routing.Routing`."""
        self._routing.settled(call)

    def postponed(self, pipe: Pipe, call: Call, verdict: Verdict, text: str) -> None:
        """See `routing.Routing`."""
        if self._is_closed:
            call.done(self.figures.failed("unavailable", "closed"))
        else:
            self._routing.postponed(pipe, call, verdict, text)

    def dropped(self, call: Call) -> None:
        """See `routing.Routing`."""
        self._routing.dropped(call)

    def connected(self, pipe: Pipe, state: ServerState) -> None:
        """What the server says of itself is as good here as over the connection for news."""
        node = self._nodes.get(pipe.address)
        if node is not None:
            node.learn(state)
        self._topology.told_ready()

    def disconnected(self, pipe: Pipe) -> None:
        """What was on its way over the pipe is answered; others may know who has its slots now."""
        self._routing.gone(pipe)
        self.look_again()
