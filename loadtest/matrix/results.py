"""What a run of the matrix found, as the machine-readable file holds it."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import msgspec

from loadtest.matrix.cells import Cell, Figures
from loadtest.matrix.events import EventCost
from loadtest.matrix.memory import IdleCost, NodeMemory, RedisMemory


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """Of several rounds: the median, the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(*(float(f"{value:.4g}") for value in (statistics.median(values), min(values), max(values))))


class Row(msgspec.Struct, frozen=True):
    """A cell, in how many rounds it was measured, and what each figure was."""

    cell: Cell
    rounds: int
    figures: dict[str, Spread]

    @classmethod
    def of(cls, cell: Cell, rounds: list[Figures]) -> Row:
        names = Figures.__struct_fields__
        return cls(cell, len(rounds), {name: Spread.of([getattr(one, name) for one in rounds]) for name in names})


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, and with what."""

    cpu: str
    cores: int
    memory_gib: int
    python: str
    redis: str
    postgres: str
    load_average: float
    """Of the minute before: near 0 where nobody else was at work."""


class Results(msgspec.Struct, frozen=True):
    """The whole run. ``handoff``: by what else went on, figures of `bench.test_handoff_latency`."""

    measured_on: str
    command: str
    machine: Machine
    round_s: float
    rows: list[Row]
    node_memory: list[NodeMemory]
    redis_memory: RedisMemory
    idle: IdleCost
    events: EventCost | None
    handoff: dict[str, dict[str, Any]]

    def row(self, cell: Cell) -> Row:
        """Raises KeyError where it was not measured."""
        for row in self.rows:
            if row.cell == cell:
                return row
        raise KeyError(f"{cell} was not measured")

    def has(self, cell: Cell) -> bool:
        """Whether there was time for it."""
        return any(row.cell == cell for row in self.rows)

    def median(self, cell: Cell, figure: str) -> float:
        return self.row(cell).figures[figure].median

    def memory_of(self, world: str) -> NodeMemory:
        return next(one for one in self.node_memory if one.world == world)


def read(file: Path) -> Results:
    """Raises OSError, msgspec.ValidationError."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


def write(results: Results, file: Path) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
