"""How far back a log reaches: which snapshots are kept and where its entries begin.

The window is 7 days of entries (`Retention.live_ms`) or `history_entries_max` of them, whichever is less, but never
less than `resume_entries_max`; it begins at a snapshot. Inside it a snapshot goes when its neighbours are near enough
together that a replay stays within `snapshot_entries_max`. So at the defaults a session keeps at most 20,000 entries
and about 160 snapshots, however long it lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from syncbridge.limits import Limits, Retention

HISTORY_ENTRIES_MAX = 20_000
"""With the default of 256 entries a snapshot and states of 256 KiB, that is at most 40 MiB a session."""


class Kept(NamedTuple):
    """A snapshot that is kept: its version and time."""

    version: int
    at: int


class Plan(NamedTuple):
    """``base`` is where the log begins (0: from its start); the snapshots of ``dropped`` versions go."""

    base: int
    dropped: list[int]


def plan(
    snapshots: Sequence[Kept],
    head: int,
    now_ms: int,
    limits: Limits,
    retention: Retention,
    history_entries_max: int = HISTORY_ENTRIES_MAX,
) -> Plan:
    """What goes, for `snapshots` in order of their versions. The oldest one left is at ``base``."""
    base = 0
    for snapshot in snapshots:
        is_reserve = snapshot.version > head - limits.resume_entries_max
        is_recent = snapshot.at > now_ms - retention.live_ms and snapshot.version >= head - history_entries_max
        if not is_reserve and not is_recent:
            base = snapshot.version
    dropped = [snapshot.version for snapshot in snapshots if snapshot.version < base]
    window = [snapshot.version for snapshot in snapshots if snapshot.version >= base]
    before = window[0] if window else 0
    for place in range(1, len(window) - 1):
        if window[place + 1] - before <= limits.snapshot_entries_max:
            dropped.append(window[place])
        else:
            before = window[place]
    return Plan(base, dropped)


def begins_after(oldest: int) -> int:
    """The version after which the entries of a log are told whose oldest snapshot is at ``oldest``.

    What the first entry says is told with it: no state was before it.
    """
    return 0 if oldest == 1 else oldest
