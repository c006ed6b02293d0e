"""Bounded memory: nothing in a node or a device grows past its limit, at any time."""

from __future__ import annotations

from syncbridge.core.session import SessionMachine
from syncbridge.limits import Limits
from syncbridge.runtime.engine import Engine
from tests.sim.world import Violation


def check_engine(engine: Engine, limits: Limits, session: str, connections_max: int) -> None:
    """Every structure of the node is within its bound."""
    if len(engine.hub) > connections_max:
        raise Violation("memory", f"{len(engine.hub)} connections are known; there are {connections_max}")
    live = engine.session(session)  # type: ignore[arg-type]
    if engine.commits_in_flight > engine.live_sessions + 1:
        raise Violation("memory", f"{engine.commits_in_flight} commits in flight of {engine.live_sessions} sessions")
    if live is None:
        return
    _check_machine(live.machine, limits)
    joined = sorted(driver.connection for driver in engine.hub.following(live.session))
    members = sorted(live.machine.members.by_connection)
    strangers = [connection for connection in members if connection not in joined]
    if strangers:
        raise Violation("memory", f"{strangers} are members without following")


def _check_machine(machine: SessionMachine, limits: Limits) -> None:
    log = machine.log
    if log is None:
        return
    kept_max = limits.log_entries_kept_max + limits.checkpoint_entries + limits.txn_entries_max
    if len(log.entries) > kept_max:
        raise Violation("memory", f"{len(log.entries)} entries are kept; at most {kept_max}")
    if len(log.entries) != log.version - log.floor:
        raise Violation("memory", f"{len(log.entries)} entries between floor {log.floor} and head {log.version}")
    if len(log.checkpoints) > kept_max // limits.checkpoint_entries + 2:
        raise Violation("memory", f"{len(log.checkpoints)} checkpoints are kept")
    for device, settled in log.settled.items():
        if len(settled) > limits.inflight_max + limits.txn_entries_max:
            raise Violation("memory", f"{len(settled)} settled pushes of {device} are kept")
