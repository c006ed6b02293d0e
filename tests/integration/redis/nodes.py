"""Nodes over one server as the checks of the store see them: each a store and a link of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from syncbridge.adapters.cluster.keys import SessionKeys, session_keys
from syncbridge.adapters.cluster.log.commits import Facts
from syncbridge.core.entry import Snapshot
from syncbridge.core.ids import SessionId
from syncbridge.limits import Limits
from syncbridge.ports import Archive, Forked, Held, PutBack, StoreFault, Submission
from tests.conformance.logs import change, create, loaded, snapshot_of, submit
from tests.conformance.redis_harness import RedisHarness, Servers

GRACE_MS = 10**9
"""A grace that no test waits out."""


class KeptInMemory:
    """An `Archive` that can be looked into, and be away."""

    def __init__(self) -> None:
        self.kept: dict[SessionId, Snapshot] = {}
        self.is_away = False

    def keep(self, snapshot: Snapshot) -> None:
        self.kept[snapshot.session] = snapshot

    def newest(self, session: SessionId, done: Callable[[Snapshot | StoreFault | None], None]) -> None:
        done(StoreFault("unavailable", "the archive is away") if self.is_away else self.kept.get(session))

    def forget(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        if self.is_away:
            done(StoreFault("unavailable", "the archive is away"))
            return
        self.kept.pop(session, None)
        done(None)


class World:
    """The server, and as many nodes as a test starts."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.client = servers.clients[0]
        self.nodes: list[RedisHarness] = []

    def node(
        self, archive: Archive | None = None, *, grace_ms: int = GRACE_MS, facts: Facts | None = None
    ) -> RedisHarness:
        """One more node."""
        is_first = not self.nodes
        node = RedisHarness(self.servers, Limits(), archive=archive, grace_ms=grace_ms, facts=facts, is_empty=is_first)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def keys(self, session: SessionId) -> SessionKeys:
        """The session's keys, for a look past the store."""
        return session_keys(session)

    def names(self) -> set[bytes]:
        """Every key there is."""
        found: Any = self.client.keys("*")
        return set(found)

    def saved(self, session: SessionId) -> dict[bytes, bytes]:
        """The session's log as it stands, for `fall_back`."""
        keys = session_keys(session)
        dumped: dict[bytes, Any] = {key: self.client.dump(key) for key in (keys.head, keys.log, keys.snap, keys.snaps)}
        return {key: value for key, value in dumped.items() if value is not None}

    def fall_back(self, saved: dict[bytes, bytes]) -> None:
        """What was written since is lost, as when a replica that lags takes over."""
        for key, value in saved.items():
            self.client.restore(key, 0, value, replace=True)


def log_up_to(node: RedisHarness, session: SessionId, head: int) -> list[Submission]:
    """A log with an entry a transaction, and the transactions."""
    create(node, session)
    submissions = [change(session, version) for version in range(1, head)]
    submit(node, *submissions)
    return submissions


def held_of(node: RedisHarness, session: SessionId, submissions: list[Submission], **fields: Any) -> Held:
    """What a node holds that loaded the log, or pushed these."""
    log = loaded(node, session, 1_000)
    head = log.entries[-1].version if log.entries else log.snapshot.version
    snapshot = msgspec.structs.replace(snapshot_of(session, head), **fields)
    txns = {submission.txn.expected + 1: submission.txn.id for submission in submissions}
    return Held(snapshot, log.entries, log.digests, [txns.get(entry.version, "") for entry in log.entries])


def put_back(node: RedisHarness, held: Held) -> PutBack | Forked | StoreFault:
    answers: list[PutBack | Forked | StoreFault] = []
    node.store.put_back(held, answers.append)
    node.wait(lambda: bool(answers))
    return answers[0]
