"""How bad a seed's world is: each seed draws its own mix of faults, so that rare mixes come up too.

A run in which everything goes wrong at once explores little: nothing gets far enough to be lost. Most draws leave
most faults off (swarm testing: Groce et al., "Swarm Testing", ISSTA 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from syncbridge.limits import Limits, Plan

SMALL_LIMITS = Limits(
    inflight_max=6,
    resume_entries_max=24,
    log_entries_kept_max=200,
    checkpoint_entries=4,
    txn_entries_max=8,
    snapshot_entries_max=8,
    queue_entries_max=64,
    state_bytes_max=64 * 1024,
    session_idle_unload_ms=3_000,
    retry_conflicts_max=4,
)
"""Every bound is met within a short run."""

SHALLOW_LIMITS = replace(SMALL_LIMITS, log_entries_kept_max=32)
"""The log forgets so soon that pushes come too late for it."""


SLOW_PLAN = Plan(push_burst=8, push_refill_ms=20)
"""What is made offline is more than may be sent at once."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances are per occasion, means are of exponential pauses in ms; 0 turns a fault off."""

    limits: Limits
    kind: str
    length_ms: int
    devices: int
    nodes: int
    # the network
    delay_ms_max: int
    cut_mean_ms: int
    half_open_chance: float
    stall_mean_ms: int
    outlet_bytes_max: int
    # the store
    store_delay_ms_max: int
    store_unknown_chance: float
    store_zombie_chance: float
    store_hang_chance: float
    store_refuse_chance: float
    load_fail_chance: float
    # the nodes among each other
    mesh_delay_ms_max: int
    mesh_loss_chance: float
    mesh_double_chance: float
    partition_mean_ms: int
    failover_mean_ms: int
    wipe_mean_ms: int
    is_failover_noticed: bool
    shared_fate_chance: float
    # nodes and apps
    crash_mean_ms: int
    rebuild_chance: float
    kill_mean_ms: int
    offline_mean_ms: int
    disk_delay_ms_max: int
    # what people do
    act_mean_ms: int
    amount_max: int
    handoff_share: float
    is_careless: bool
    is_roaming: bool
    has_sloppy: bool
    has_stale_app: bool
    rest_mean_ms: int

    @property
    def plan(self) -> Plan:
        """How fast devices may push. Tied to another draw, so that it moves none of those after it."""
        return SLOW_PLAN if self.amount_max == 1 else Plan()

    @property
    def is_forgetful(self) -> bool:
        """A rebuilt log lacks its last entries. No device is killed then: one fault at a time is survived."""
        return self.kill_mean_ms == 0 and self.rest_mean_ms == 0 and not self.has_sloppy

    @property
    def looks_back(self) -> bool:
        """Whether whoever asks over REST also seeks, restores and takes conflicts back. Tied as ``plan`` is."""
        return self.rest_mean_ms > 0 and self.amount_max != 1


def draw(random: Random, *, is_careless: bool = False) -> Weather:
    """The weather of one seed.

    ``is_careless`` has everybody edit lists by index on top of edits still unanswered; else some seeds do.
    """

    # What only many nodes meet is drawn aside: so the seeds of one node keep their runs.
    aside = Random()
    aside.setstate(random.getstate())

    def sometimes(share: float, value: float) -> float:
        return value if random.random() < share else 0.0

    def mean(share: float, least: int, most: int) -> int:
        return random.randint(least, most) if random.random() < share else 0

    share = random.random()
    nodes = 2 if share < 0.2 else 3 if share < 0.3 else 1
    # A store that loses its end is met by nodes that heard of it, more often than not. One that loses all is met by
    # devices that hold what they were told, so none of them is killed, and nothing is said that no device holds.
    aside.random()
    fault = aside.random()
    has_failovers, has_wipes = fault < 0.55, nodes > 1 and 0.55 <= fault < 0.8
    length_ms = random.choice((4_000, 8_000, 8_000, 20_000, 90_000))
    return Weather(
        limits=random.choice((SMALL_LIMITS, SMALL_LIMITS, SHALLOW_LIMITS, Limits())),
        kind=random.choice(("custom", "yoga", "breathing", "meditation")),
        length_ms=length_ms,
        devices=random.choice((2, 2, 3, 3, 4)),
        nodes=nodes,
        delay_ms_max=random.choice((2, 20, 20, 150, 800)),
        cut_mean_ms=mean(0.5, 1_000, 8_000),
        half_open_chance=sometimes(0.4, 0.5),
        stall_mean_ms=mean(0.25, 1_000, 6_000),
        outlet_bytes_max=random.choice((1_500, 4_000, 64_000)),
        store_delay_ms_max=random.choice((0, 0, 5, 60, 600)),
        store_unknown_chance=sometimes(0.3, random.choice((0.05, 0.3))),
        store_zombie_chance=sometimes(0.5, 0.5),
        store_hang_chance=sometimes(0.15, 0.05),
        store_refuse_chance=sometimes(0.15, 0.1),
        load_fail_chance=sometimes(0.15, 0.3),
        crash_mean_ms=mean(0.35, 2_000, 12_000),
        rebuild_chance=sometimes(0.3, 0.5) if nodes == 1 else 0.0,
        kill_mean_ms=mean(0.0 if has_wipes else 0.35, 2_000, 12_000),
        offline_mean_ms=mean(0.4, 2_000, 10_000),
        disk_delay_ms_max=random.choice((0, 0, 10, 200)),
        act_mean_ms=length_ms // random.choice((10, 20, 40)),
        amount_max=random.choice((1, 9, 1_000_000)),
        handoff_share=random.choice((0.05, 0.15, 0.35)),
        is_roaming=random.random() < 0.5,
        has_sloppy=random.random() < (0.0 if has_wipes else 0.25),
        has_stale_app=random.random() < 0.3,
        rest_mean_ms=mean(0.0 if has_wipes else 0.2, 500, 3_000),
        mesh_delay_ms_max=aside.choice((1, 20, 300)),
        mesh_loss_chance=0.6 if aside.random() < (0.25 if has_failovers else 0.6) else 0.0,
        mesh_double_chance=0.3 if aside.random() < 0.4 else 0.0,
        partition_mean_ms=aside.randint(1_000, 8_000) if aside.random() < 0.4 else 0,
        failover_mean_ms=aside.randint(1_000, 5_000) if has_failovers else 0,
        wipe_mean_ms=aside.randint(2_000, 10_000) if has_wipes else 0,
        shared_fate_chance=aside.choice((0.0, 0.3, 0.9)),
        is_failover_noticed=aside.random() < 0.5,
        is_careless=aside.random() < 0.3 or is_careless,
    )
