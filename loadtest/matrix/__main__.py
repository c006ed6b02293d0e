"""``make load ARGS=--matrix``: what everything costs, for the capacity page; a file, a report with plots.

    python -m loadtest --matrix               # about seven minutes, on a quiet machine
    python -m loadtest --matrix --tiny        # whether measuring works, in half a minute
    python -m docs.generate.capacity          # the report's figures become those of docs/capacity.md

Nodes run on one core, everything else on the others. Cells of a series are measured in turns, a second each, so that a
busy moment of the machine falls on all of them; medians are told with the least and the greatest.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from msgspec import structs

from bench.handing_over import PUSHERS, PUSHES_PER_S, measure_handoffs
from bench.processor import split_cores
from bench.worlds import World, WorldName, open_worlds
from deploy.local.process import MissingProgram, NotReady
from loadtest.ending import interruptible
from loadtest.matrix import report
from loadtest.matrix.cells import Cell, Figures, Stand
from loadtest.matrix.events import event_cost
from loadtest.matrix.memory import idle_cost, node_memory, redis_memory
from loadtest.matrix.results import Machine, Results, Row, write
from loadtest.matrix.series import SERIES, TINY

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = {"rates": 5}
ROUNDS_OTHERS = 3
HANDOFFS_S = 40.0
"""Kept of the time for them, and for what comes before and after."""
COMMAND = "make load ARGS=--matrix"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest --matrix", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a few cells, no handoffs: to see that it works")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round (1)")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no cell gets a further round (7)")
    parser.add_argument("--report", type=Path, default=ROOT / "reports", help="folder of capacity.json and .html")
    return parser.parse_args(arguments)


class Run:
    """One run: its worlds, and what was found so far. Series that come late get fewer rounds when time is short."""

    def __init__(self, worlds: dict[WorldName, World], cores_others: int, deadline: float, seconds: float) -> None:
        self._worlds = worlds
        self._cores_others = cores_others
        self._deadline = deadline
        self.round_s = seconds
        self._found: dict[Cell, list[Figures]] = {}

    async def series(self, name: str, cells: list[Cell]) -> None:
        """Every cell that was not measured before is, in turns; none where there is no time for a first round."""
        if time.monotonic() > self._deadline:
            tell(f"{name}: no time is left")
            return
        stands = [
            Stand(cell, self._worlds[cell.world], self._cores_others) for cell in cells if cell not in self._found
        ]
        for stand in stands:
            await stand.connect()
            await stand.warm()
            await self._stay(stands)
        rounds = ROUNDS.get(name, ROUNDS_OTHERS)
        for number in range(rounds):
            if number and time.monotonic() > self._deadline:
                break
            tell(f"{name}: round {number + 1} of {rounds}, {len(stands)} cells")
            for stand in stands:
                await stand.round(self.round_s)
                await self._stay(stands)
        for stand in stands:
            self._found[stand.cell] = stand.rounds
            stand.close()

    async def _stay(self, stands: list[Stand]) -> None:
        for stand in stands:
            await stand.stay()

    def rows(self) -> list[Row]:
        return [Row.of(cell, rounds) for cell, rounds in self._found.items()]


async def handoffs(world: World, count: int) -> dict[str, dict[str, Any]]:
    """Between the world's nodes, with nothing else going on and under load; on all cores, as the benchmark has it."""
    node, found = world.nodes[0], {}
    for name, per_s in (("idle", 0), ("loaded", PUSHES_PER_S)):
        node.accounts.clear()
        await node.grow(PUSHERS + 1, 1, 2)
        found[name] = await measure_handoffs(world.nodes, count, per_s, 1 + count // 20)
    return found


async def run(options: argparse.Namespace) -> int:
    load_average = os.getloadavg()[0]
    deadline = time.monotonic() + options.minutes * 60 - HANDOFFS_S
    node_core, others = split_cores()
    every_core = os.sched_getaffinity(0)
    os.sched_setaffinity(0, others)
    names: list[WorldName] = ["embedded", "redis"] if options.tiny else ["embedded", "redis", "replicated", "nodes"]
    scale = 20 if options.tiny else 1
    with tempfile.TemporaryDirectory(prefix="syncbridge-matrix-") as folder:
        async with open_worlds(names, Path(folder), node_core) as worlds:
            here = machine(len(every_core), load_average, worlds["redis"])
            tell("memory and idle devices")
            weighed = [await node_memory(worlds[name], 500 // scale) for name in ("embedded", "redis")]
            stored = await redis_memory(worlds["redis"], 100 // scale, 200 // scale)
            idle = await idle_cost(worlds["redis"], 400 // scale, 15.0 / scale)
            matrix = Run(worlds, len(others), deadline, 0.1 if options.tiny else options.seconds)
            for name, cells in (TINY if options.tiny else SERIES).items():
                await matrix.series(name, cells)
            results = Results(
                measured_on=time.strftime("%Y-%m-%d", time.gmtime()),
                command=COMMAND,
                machine=here,
                round_s=matrix.round_s,
                rows=matrix.rows(),
                node_memory=weighed,
                redis_memory=stored,
                idle=idle,
                events=None,
                handoff={},
            )
        keep(results, options.report)  # whatever becomes of what comes next
        if not options.tiny:
            tell("events")
            results = structs.replace(results, events=await event_cost(Path(folder) / "rabbitmq", 4_000))
            tell("handoffs between two nodes")
            os.sched_setaffinity(0, every_core)
            async with open_worlds(["nodes"], Path(folder) / "handoff") as worlds:
                results = structs.replace(results, handoff=await handoffs(worlds["nodes"], 400))
            keep(results, options.report)
            (options.report / "capacity.html").write_text(report.page(results), "utf-8")
    tell(f"written to {options.report}")
    return 0


def keep(results: Results, report_folder: Path) -> None:
    report_folder.mkdir(parents=True, exist_ok=True)
    write(results, report_folder / "capacity.json")


def machine(cores: int, load_average: float, world: World) -> Machine:
    told = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    assert world.postgres is not None
    redis = str(world.redis_info("server")["redis_version"])
    postgres = world.postgres.psql("SHOW server_version").split()[0]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=cores,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        python=platform.python_version(),
        redis=redis,
        postgres=postgres,
        load_average=round(load_average, 2),
    )


def tell(what: str) -> None:
    print(what, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return uvloop.run(interruptible(run(options)))
    except (MissingProgram, NotReady, ValueError) as reason:
        print(f"the matrix cannot be measured: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
