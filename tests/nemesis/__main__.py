"""The nemeses at length: ``python -m tests.nemesis``; with ``--rounds N`` more, or fewer, of each.

Ten rounds of each fault, some 50,000 operations, a thousand handoffs with a node killed at each step, twenty primaries
that are cut off and killed; then one such round with acknowledgements of the primary alone, which has to lose, and one
with nodes that are deaf to each other, which has to be found. Prints what each measured, and ends with 0 when nothing
was wrong, about an hour later. Needs root (see `network`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.nemesis.disaster import cut_then_kill
from tests.nemesis.faults import FAULTS, NOTHING
from tests.nemesis.moves import STEPS, travel
from tests.nemesis.network import own_network
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

ROUNDS = 10
HANDOFFS = 1_000
ROUND_S = 10.0


async def rage(stage: Stage, rounds: int) -> list[str]:
    """Everything that was wrong, each with what it happened in."""
    wrong: list[str] = []
    operations = 0
    for number in range(rounds):
        for fault in FAULTS:
            report = await run_round(stage, fault, seed=1_000 * number + FAULTS.index(fault), after_s=ROUND_S / 5)
            print(f"round {number + 1}, {report}", flush=True)
            operations += report.verdict.operations
            wrong += [f"{fault}: {text}" for text in report.faults]
    print(f"{operations} operations under {rounds * len(FAULTS)} faults", flush=True)
    moves, faults = await travel(stage, moves=HANDOFFS * rounds // ROUNDS, kills=STEPS)
    print(f"handoffs: {moves}", flush=True)
    wrong += [f"handoffs: {text}" for text in faults]
    for number in range(2 * rounds):
        loss = await cut_then_kill(stage, seed=number)
        print(f"cut, then killed, {number + 1}: {loss}", flush=True)
        wrong += [f"cut, then killed: {text}" for text in loss.lost]
    stage.start_nodes("local")
    loss = await cut_then_kill(stage, seed=0)
    print(f"the control, acknowledged by the primary alone: {loss}", flush=True)
    if not loss.lost:
        wrong.append("the control lost nothing: the rounds before prove nothing")
    wrong += await _deaf(stage)
    return wrong


async def _deaf(stage: Stage) -> list[str]:
    """Nodes that do not hear each other must be found by their devices' states."""
    stage.plants = "deaf"
    stage.start_nodes("replicated")
    try:
        report = await run_round(stage, NOTHING, seed=1)
    except AssertionError as error:
        print(f"found, as it must be: {str(error)[:200]}", flush=True)
        return []
    finally:
        stage.plants = ""
    return [] if report.faults else ["nodes that are deaf to each other were not found"]


def main(arguments: list[str]) -> int:
    """0 where every promise held, and the control lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each fault (default %(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, own_network() as network:
        stage = Stage(Path(folder), network)
        try:
            stage.start()
            wrong = asyncio.run(rage(stage, options.rounds))
        finally:
            stage.stop()
    for text in wrong:
        print(f"WRONG  {text}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
