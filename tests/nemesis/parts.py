"""What the long run consists of, each part by its name: what was wrong in so many rounds of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.nemesis.disaster import cut_then_kill
from tests.nemesis.faults import FAULTS, NOTHING
from tests.nemesis.lines import break_lines, compete, resumed, slow_down_redis
from tests.nemesis.moves import STEPS, travel
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

Part = Callable[[Stage, int], Coroutine[Any, Any, list[str]]]

AFTER_S: Final = 2.0
HANDOFFS_EACH: Final = 100
BREAKS_EACH: Final = 1_000
DELAY_S: Final = 0.1
EDITS_EACH: Final = 1_000


async def faults(stage: Stage, rounds: int) -> list[str]:
    """Every fault, again and again."""
    wrong: list[str] = []
    operations = 0
    for number in range(rounds):
        for fault in FAULTS:
            report = await run_round(stage, fault, seed=1_000 * number + FAULTS.index(fault), after_s=AFTER_S)
            print(f"round {number + 1}, {report}", flush=True)
            operations += report.verdict.operations
            wrong += [f"{fault}: {text}" for text in report.faults]
    print(f"{operations} operations under {rounds * len(FAULTS)} faults", flush=True)
    return wrong


async def slow(stage: Stage, rounds: int) -> list[str]:
    """The way to Redis is slow, and fast again."""
    wrong: list[str] = []
    for number in range(rounds):
        report = await slow_down_redis(stage, seed=3_000 + number, delay_s=DELAY_S, holds_s=5.0)
        print(f"round {number + 1}, {report}", flush=True)
        wrong += report.faults
        if report.slowest_s < 2 * DELAY_S:
            wrong.append("nobody waited for the slow way: the round proves nothing")
    return wrong


async def lines(stage: Stage, rounds: int) -> list[str]:
    """Lines break at any byte; every device goes on where it was, or is told why not."""
    wrong: list[str] = []
    breaks = brought = operations = acked = lost = doubled = 0
    for number in range(2 * rounds):
        report, broken = await break_lines(stage, seed=4_000 + number, breaks=BREAKS_EACH // 2, deadline_s=600)
        print(f"round {number + 1}, {broken} lines broken, {report}", flush=True)
        wrong += report.faults
        breaks, brought = breaks + broken, brought + resumed(report)
        verdict = report.verdict
        operations, acked = operations + verdict.operations, acked + verdict.acked
        lost, doubled = lost + len(verdict.lost), doubled + len(verdict.doubled)
    print(
        f"{breaks} lines broken, {brought} times a session was gone on with; {operations} operations, {acked} edits "
        f"acknowledged, {lost} lost, {doubled} doubled",
        flush=True,
    )
    return wrong


async def together(stage: Stage, rounds: int) -> list[str]:
    """Everybody writes the same places: each value that is overwritten unseen is in a list, each increment counts."""
    wrong: list[str] = []
    acked = listed = 0
    for number in range(rounds):
        report = await compete(stage, seed=5_000 + number, acked_min=EDITS_EACH)
        print(f"round {number + 1}, {report}", flush=True)
        acked, listed = acked + report.verdict.acked, listed + report.verdict.listed
        wrong += report.faults
    print(f"{acked} edits acknowledged, {listed} values overwritten and listed", flush=True)
    if not listed:
        wrong.append("nothing was overwritten: the rounds prove nothing")
    return wrong


async def handoffs(stage: Stage, rounds: int) -> list[str]:
    """Sessions go from device to device over both nodes, which are killed meanwhile."""
    moves, wrong = await travel(stage, moves=HANDOFFS_EACH * rounds, kills=STEPS)
    print(f"handoffs: {moves}", flush=True)
    return wrong


async def loss(stage: Stage, rounds: int) -> list[str]:
    """A primary is cut off and dies with everybody who knows; the control acknowledges too early."""
    wrong: list[str] = []
    for number in range(2 * rounds):
        taken = await cut_then_kill(stage, seed=number)
        print(f"cut, then killed, {number + 1}: {taken}", flush=True)
        wrong += taken.lost
    stage.start_nodes("local")
    taken = await cut_then_kill(stage, seed=0)
    stage.acks = "replicated"
    print(f"the control, acknowledged by the primary alone: {taken}", flush=True)
    if not taken.lost:
        wrong.append("the control lost nothing: the rounds before prove nothing")
    return wrong


async def deaf(stage: Stage, rounds: int) -> list[str]:
    """Nodes that do not hear each other must be found by their devices' states; once is enough."""
    stage.plants = "deaf"
    stage.start_nodes("replicated")
    try:
        report = await run_round(stage, NOTHING, seed=1)
    except AssertionError as error:
        print(f"found, as it must be: {str(error)[:200]}", flush=True)
        return []
    finally:
        stage.plants = ""
        for node in stage.nodes:
            node.process.kill()  # the next `Stage.calm` starts good ones
    print(f"found, as it must be: {report.faults}", flush=True)
    return [] if report.faults else ["nodes that are deaf to each other were not found"]


PARTS: Final[dict[str, Part]] = {
    "faults": faults,
    "slow": slow,
    "lines": lines,
    "together": together,
    "handoffs": handoffs,
    "loss": loss,
    "deaf": deaf,
}
