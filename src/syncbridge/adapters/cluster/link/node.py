"""One Redis server as the link knows it: its connections, its role, and whether it has replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import structlog

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.dialling import INFO_WORDS, ServerState, state_of
from syncbridge.adapters.cluster.link.hearing import Hearing
from syncbridge.adapters.cluster.link.pipe import Pipe
from syncbridge.adapters.cluster.link.replies import Answer
from syncbridge.adapters.cluster.link.rules import Rules

_log = structlog.get_logger(__name__)

Acks = Literal["replicated", "local"]


class Node:
    """A server and the connections to it; pipes are made when calls go there, news are heard from the start.

    Replicas  while a replica is online, commits wait for one. When the last one leaves they go on waiting for
              ``rules.replica_grace_ms``, and are answered `unknown`; then they are acknowledged without, and the log
              says so. A server that has had none since it is known as it is (a lone one, or one that was just
              promoted) is not waited for.
    """

    def __init__(
        self,
        address: Address,
        make_pipe: Callable[[Node], Pipe],
        make_hearing: Callable[[Node], Hearing],
        changed: Callable[[Node], None],
        *,
        acks: Acks,
        rules: Rules,
    ) -> None:
        self.address = address
        self._make_pipe = make_pipe
        self._changed = changed
        self._acks = acks
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._replica_seen_at: float | None = None
        self._is_degraded = False
        self.state: ServerState | None = None
        self.pipes: list[Pipe] = []
        self.hearing = make_hearing(self)

    def pipe(self, slot: int) -> Pipe:
        """The pipe of this slot: always the same one, so that the order of a slot's calls holds."""
        if not self.pipes:
            self.pipes = [self._make_pipe(self) for _ in range(self._rules.pipes)]
        return self.pipes[slot % len(self.pipes)]

    def pipes_of(self, first: int, last: int) -> list[Pipe]:
        """The pipes of these slots, in step. Cost: far below asking for each, of which there are thousands."""
        turn = [self.pipe(first + place) for place in range(self._rules.pipes)]
        return (turn * ((last - first) // len(turn) + 1))[: last + 1 - first]

    @property
    def is_ready(self) -> bool:
        """Whether calls to it go out now."""
        return bool(self.pipes) and all(pipe.is_ready for pipe in self.pipes)

    @property
    def fault(self) -> str:
        """Why it cannot be reached; "" where that is not known to be so."""
        return next(filter(None, [self.hearing.fault, *(pipe.fault for pipe in self.pipes)]), "")

    @property
    def has_replicas(self) -> bool:
        """Whether a replica is online, as the server sees it."""
        return self.state is not None and self.state.replicas_online > 0

    def replicas_wanted(self) -> int:
        """How many replicas must have a write before it is acknowledged: 1 or none."""
        if self._acks == "local" or self._replica_seen_at is None:
            return 0
        is_recent = self._loop.time() - self._replica_seen_at < self._rules.replica_grace_ms / 1000
        return 1 if self.has_replicas or is_recent else 0

    def learn(self, state: ServerState) -> None:
        """This is what the server says of itself now."""
        known, self.state = self.state, state
        is_other = known is not None and (known.run_id, known.replid) != (state.run_id, state.replid)
        if is_other:
            self._replica_seen_at = None
        if state.replicas_online:
            self._replica_seen_at = self._loop.time()
        self._label(state.is_primary)
        if is_other:
            self._changed(self)

    def _label(self, is_primary: bool) -> None:
        """The log says when acknowledgements begin to mean less than was asked for, and when they mean it again."""
        is_degraded = is_primary and self._acks == "replicated" and not self.replicas_wanted()
        if is_degraded and not self._is_degraded:
            _log.warning("redis_acknowledges_locally", server=str(self.address), reason="it has no replica")
        elif self._is_degraded and is_primary and not is_degraded:
            _log.info("redis_acknowledges_replicated", server=str(self.address))
        self._is_degraded = is_degraded

    def ask_state(self) -> None:
        """It is asked what it is; a frozen server is found out by not answering."""
        if self.hearing.is_ready:
            self.hearing.ask(INFO_WORDS, self._told)

    def look(self, now: float) -> None:
        """Connections that answer nothing are given up, calls that waited too long are answered."""
        self.hearing.look(now)
        for pipe in self.pipes:
            pipe.look(now)

    def expire(self, now: float) -> None:
        """Calls that waited too long to be sent are answered."""
        for pipe in self.pipes:
            pipe.expire(now)

    def log_in(self) -> None:
        """Every connection says the credentials that are in force now."""
        self.hearing.log_in()
        for pipe in self.pipes:
            pipe.log_in()

    def close(self) -> list[asyncio.Task[None]]:
        """No connection any more, once these tasks are over."""
        tasks = [self.hearing.close(), *[pipe.close() for pipe in self.pipes]]
        return [task for task in tasks if task is not None]

    def _told(self, answer: Answer) -> None:
        if isinstance(answer, bytes):
            self.learn(state_of(answer))
