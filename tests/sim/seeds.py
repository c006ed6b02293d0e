"""Seeds that found a bug: they run with every range, so that it stays found.

A seed means something only together with the simulator's own draws. After a change of those a bug's seed is found
anew, by planting the bug (`tests.sim.planted`) and seeing which seed catches it.
"""

from __future__ import annotations

from typing import NamedTuple


class Pin(NamedTuple):
    seed: int
    found: str


PINNED = (
    Pin(1, "members joined or caught up by a batch that was taken back got entries with a gap before them"),
    Pin(2181, "a second join that was refused left its member behind, and the session was never idle again"),
    Pin(5, "a device whose own push paused the session went on believing that it was active"),
    Pin(1872, "a handoff from a device long dead stated half a second of doubt, for others had written meanwhile"),
    Pin(452, "an edit made on top of one that was refused carried the refused increment into the counter"),
)
