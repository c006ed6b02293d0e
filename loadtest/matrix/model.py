"""The capacity model: what one of each thing costs, from a run's figures, and what a demand then needs. Pure.

Processor time is what is added up, not rates: it is the same whether the devices, the nodes and Redis share two cores
or have two hundred, and it hardly moves when others are at work on the machine.
"""

from __future__ import annotations

import math

import msgspec

from loadtest.matrix.cells import Cell, Placement
from loadtest.matrix.results import Results
from syncbridge.limits import Limits

US = 1e6
DAY_S = 86_400
KIB_A_GIB = 1024 * 1024


class Costs(msgspec.Struct, frozen=True):
    """What one of each costs with Redis; ``_us`` is processor time."""

    commit_us: float
    """A commit, at the node of the device that made it."""
    delivery_us: float
    """Each other device that is told of it, at its node."""
    apart_us: float
    """A second node that has devices of the session hears of the commit."""
    replicated_us: float
    """The commit waits for a replica: at the node."""
    redis_us: float
    """The commit, in the primary."""
    replica_us: float
    """What replication adds, in primary and replica together."""
    snapshot_us: float
    """One of the states that are written behind, in PostgreSQL."""
    idle_node_us: float
    """A second of a connected device that does nothing."""
    idle_redis_us: float
    return_us: float
    """A device that comes back: hello and join, at the node."""
    event_us: float
    """An event for other services: who tells it, once it is read from the outbox."""
    broker_us: float
    """The event, in the broker."""
    connection_kib: float
    session_kib: float
    redis_session_kib: float
    redis_state_kib: float
    redis_entry_kib: float
    delivery_bytes: float
    redis_in_bytes: float
    redis_out_bytes: float


def costs_of(results: Results) -> Costs:
    """By least squares over the devices of a session, and by differences. Raises KeyError where a cell is missing."""
    one, two = Cell("redis"), Cell("redis", devices=2)
    points = [(devices - 1.0, results.median(Cell("redis", devices=devices), "node_us")) for devices in range(1, 6)]
    delivery_us, commit_us = line_through(points)
    apart = [
        results.median(Cell("nodes", devices=devices, placement="apart"), "node_us")
        - (commit_us + delivery_us * (devices - 1))
        for devices in range(2, 6)
    ]
    memory, stored = results.memory_of("redis"), results.redis_memory
    return Costs(
        commit_us=commit_us,
        delivery_us=delivery_us,
        apart_us=max(0.0, sum(apart) / len(apart)),
        replicated_us=max(0.0, results.median(Cell("replicated"), "node_us") - results.median(one, "node_us")),
        redis_us=results.median(one, "redis_us"),
        replica_us=max(0.0, results.median(Cell("replicated"), "redis_us") - results.median(one, "redis_us")),
        snapshot_us=results.median(one, "postgres_us") * Limits().snapshot_entries_max,
        idle_node_us=results.idle.node_us,
        idle_redis_us=results.idle.redis_us,
        return_us=memory.return_us,
        event_us=results.events.node_us if results.events else 0.0,
        broker_us=results.events.broker_us if results.events else 0.0,
        connection_kib=memory.connection_kib,
        session_kib=memory.session_kib,
        redis_session_kib=stored.session_kib,
        redis_state_kib=stored.state_kib,
        redis_entry_kib=stored.entry_kib,
        delivery_bytes=results.median(two, "device_bytes"),
        redis_in_bytes=results.median(two, "redis_in_bytes"),
        redis_out_bytes=results.median(two, "redis_out_bytes"),
    )


def line_through(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and height at 0 of the line of least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


class Demand(msgspec.Struct, frozen=True):
    """What people do, and how much room is left."""

    devices: int = 1_000_000
    devices_a_session: int = 2
    session_changes_s: float = 0.1
    """Changes of a session a second, while its devices are connected."""
    apart_share: float = 1.0
    """Of the sessions: their devices are at two nodes."""
    state_kib: float = 2.0
    entries_a_session: int = 1_000
    """In Redis, of each session that is kept."""
    sessions_kept: float = 5.0
    """Times those that are connected: all whose log Redis holds."""
    is_replicated: bool = True
    has_events: bool = True
    """Other services are told: of a session's changes, once a second at most."""
    used_share: float = 0.5
    """Of a core: the rest is for storms, failovers and the hour in which everybody comes."""
    connections_a_node: int = 16_000
    returns_a_day: float = 20.0
    """How often a device connects."""
    primary_gib: float = 16.0
    """Of data in a primary; its machine has twice that."""


class Need(msgspec.Struct, frozen=True):
    """What the demand takes, each on its own, and the count that the largest of them asks for."""

    sessions: float
    commits_s: float
    deliveries_s: float
    node_cores: float
    nodes: int
    node_gib: float
    """Of each node, its program's own memory not counted."""
    redis_cores: float
    redis_gib: float
    primaries: int
    returns_s: float
    snapshots_s: float
    postgres_cores: float
    events_s: float
    broker_cores: float
    devices_mbit_s: float
    redis_mbit_s: float


def need_of(demand: Demand, costs: Costs) -> Need:
    """A node uses one core, and so does a primary."""
    sessions = demand.devices / demand.devices_a_session
    commits_s = sessions * demand.session_changes_s
    others = demand.devices_a_session - 1
    commit_us = costs.commit_us + costs.delivery_us * others + costs.apart_us * demand.apart_share
    commit_us += costs.replicated_us if demand.is_replicated else 0.0
    returns_s = demand.devices * demand.returns_a_day / DAY_S
    events_s = sessions * min(1.0, demand.session_changes_s) if demand.has_events else 0.0
    work_us = commits_s * commit_us + demand.devices * costs.idle_node_us
    work_us += returns_s * costs.return_us + events_s * costs.event_us
    node_cores = work_us / US
    nodes = max(math.ceil(node_cores / demand.used_share), math.ceil(demand.devices / demand.connections_a_node))
    # A session whose devices are at two nodes is in the memory of both.
    held = sessions * (1 + demand.apart_share)
    node_kib = demand.devices * costs.connection_kib + held * costs.session_kib
    redis_cores = (commits_s * costs.redis_us + demand.devices * costs.idle_redis_us) / US
    log_kib = costs.redis_session_kib + costs.redis_state_kib * max(0.0, demand.state_kib - 2)
    log_kib += costs.redis_entry_kib * demand.entries_a_session
    redis_gib = sessions * demand.sessions_kept * log_kib / KIB_A_GIB
    primaries = max(math.ceil(redis_cores / demand.used_share), math.ceil(redis_gib / demand.primary_gib))
    snapshots_s = commits_s / Limits().snapshot_entries_max
    return Need(
        sessions=sessions,
        commits_s=commits_s,
        deliveries_s=commits_s * others,
        node_cores=node_cores,
        nodes=nodes,
        node_gib=node_kib / KIB_A_GIB / nodes,
        redis_cores=redis_cores,
        redis_gib=redis_gib,
        primaries=primaries,
        returns_s=returns_s,
        snapshots_s=snapshots_s,
        postgres_cores=snapshots_s * costs.snapshot_us / US,
        events_s=events_s,
        broker_cores=events_s * costs.broker_us / US,
        devices_mbit_s=commits_s * others * costs.delivery_bytes * 8 / US,
        redis_mbit_s=commits_s * (costs.redis_in_bytes + costs.redis_out_bytes * (1 + demand.apart_share)) * 8 / US,
    )


def scaling_of(results: Results, size_kib: int, placement: Placement) -> float:
    """How many times the rate of one node two have, each with a core of its own: by what a commit costs them."""
    one = results.median(Cell("redis", size_kib=size_kib), "node_us")
    two = results.median(Cell("nodes", size_kib=size_kib, placement=placement), "node_us")
    return 2 * one / two
