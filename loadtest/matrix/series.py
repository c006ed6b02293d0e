"""Which cells are measured, and which of their figures a capacity is reckoned from."""

from __future__ import annotations

from itertools import product

from bench.worlds import WorldName
from loadtest.matrix.cells import Cell

BOTH: tuple[WorldName, ...] = ("embedded", "redis")
ALL: tuple[WorldName, ...] = (*BOTH, "replicated", "nodes")
SERIES: dict[str, list[Cell]] = {
    # What a world carries, with states of two sizes.
    "rates": [
        *(Cell(world, size_kib=size) for world, size in product(ALL, (2, 20))),
        *(Cell("nodes", size_kib=size, placement="apart") for size in (2, 20)),
    ],
    # How its cost grows.
    "devices": [
        *(Cell(world, devices=devices) for world, devices in product(BOTH, range(1, 6))),
        *(Cell("nodes", devices=devices, placement="apart") for devices in range(2, 6)),
    ],
    "sizes": [Cell(world, size_kib=size) for world, size in product(BOTH, (1, 2, 20, 60, 200))],
    "sessions": [Cell(world, sessions=sessions, devices=1) for world, sessions in product(BOTH, (10, 100, 1_000))],
    "many sessions": [Cell(world, sessions=10_000, devices=1) for world in BOTH],
}
TINY: dict[str, list[Cell]] = {
    "rates": [Cell(world, sessions=4, size_kib=2) for world in BOTH],
    "sessions": [Cell("redis", sessions=50, devices=1)],
}
"""To see that measuring works, within seconds."""
