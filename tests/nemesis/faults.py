"""What befalls the servers: each fault strikes, holds for a while, and is mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.local.redis import RedisServer
from tests.nemesis.stage import NODE_HOST, Stage

Strike = Callable[[Stage, RedisServer], None]
"""Done to the stage; the server is the primary of the session that is looked at."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``holds_s`` is how long it lasts.

    ``moves_slots``: the primary is replaced; ``hits_node``: sockets end; ``freezes_node``: nobody is answered by it;
    ``again_s``: it strikes again so often while it lasts, where it is not 0;
    ``is_for_long_runs``: another one shows most of it, and the test command has no time for both;
    ``writable_s``: after this time somebody's edit is acknowledged again in each session of the primary.
    """

    name: str
    strike: Strike
    holds_s: float
    mend: Strike
    moves_slots: bool = False
    hits_node: bool = False
    freezes_node: bool = False
    writable_s: float = 5.0
    again_s: float = 0.0
    is_for_long_runs: bool = False

    def __str__(self) -> str:
        return self.name


def _restart(stage: Stage, primary: RedisServer) -> None:
    primary.process.start(lambda: True)


def _heal(stage: Stage, primary: RedisServer) -> None:
    stage.network.heal()


def _cut_off(stage: Stage, primary: RedisServer) -> None:
    """The other servers of Redis do not reach the primary any more; the nodes do."""
    stage.network.cut(primary.host, stage.others_than(primary))


def _cut_from_nodes(stage: Stage, primary: RedisServer) -> None:
    stage.network.cut(primary.host, [NODE_HOST])


def _cut_replica(stage: Stage, primary: RedisServer) -> None:
    stage.network.cut(primary.host, [stage.replica_of(primary).host])


def _disconnect(kind: str) -> Strike:
    """Every connection of this kind is closed by the servers."""

    def strike(stage: Stage, primary: RedisServer) -> None:
        for server in stage.redis.nodes:
            with server.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    return strike


def _restart_all(stage: Stage, primary: RedisServer) -> None:
    for server in stage.redis.nodes:
        if not server.process.is_running:
            server.process.start(lambda: True)


def _do_nothing(stage: Stage, primary: RedisServer) -> None:
    pass


NOTHING: Final = Fault("nothing", _do_nothing, 0.0, _do_nothing)
FAULTS: Final = (
    Fault("kill a primary", lambda _, primary: primary.process.kill(), 5.0, _restart, moves_slots=True),
    Fault("freeze a primary", lambda _, primary: primary.process.freeze(), 5.0, lambda _, it: it.process.thaw(), True),
    Fault("cut a primary off its cluster", _cut_off, 5.0, _heal, moves_slots=True, writable_s=8.0),
    Fault("cut a primary off the nodes", _cut_from_nodes, 2.0, _heal),
    Fault("cut the replica off its primary", _cut_replica, 2.0, _heal, is_for_long_runs=True),
    Fault(
        "freeze the store for a moment",
        lambda _, primary: primary.process.freeze(),
        1.0,
        lambda _, primary: primary.process.thaw(),
    ),
    Fault(
        "kill a replica",
        lambda stage, primary: stage.replica_of(primary).process.kill(),
        1.5,
        _restart_all,
        is_for_long_runs=True,
    ),
    Fault("close every subscription", _disconnect("pubsub"), 1.0, _do_nothing, again_s=0.3, is_for_long_runs=True),
    Fault("close every connection", _disconnect("normal"), 2.0, _do_nothing, again_s=0.1),
    Fault(
        "kill a node",
        lambda stage, _: stage.nodes[0].process.kill(),
        1.0,
        lambda stage, _: stage.restart_node(0),
        hits_node=True,
    ),
    Fault(
        "freeze a node",
        lambda stage, _: stage.nodes[0].process.freeze(),
        2.0,
        lambda stage, _: stage.nodes[0].process.thaw(),
        freezes_node=True,
    ),
)
