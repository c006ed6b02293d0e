"""One round: devices at work, a fault in the midst of it, calm again, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.nemesis.faults import Fault
from tests.nemesis.judge import CONVERGED_S, Verdict, converged_s, judged
from tests.nemesis.stage import Stage, until
from tests.nemesis.traffic import Traffic, open_traffic

ANSWERED_S = 2.5
"""Everybody is answered within this, by a result or by `unavailable`."""
_TURN_S = 0.5
"""What a loop and two nodes on two busy cores may be late, beyond what is promised."""

_names = itertools.count(1)


def next_name() -> str:
    """A name for an account that nobody has."""
    return f"round-{next(_names)}-{time.time_ns()}"


@dataclass
class Report:
    """What a round measured, and everything that was wrong."""

    name: str
    verdict: Verdict
    silence_s: float
    slowest_s: float
    closed: int
    converged_s: float
    pushes: int
    copies: int
    hops: int
    refusals: dict[str, int]
    joins: dict[str, int]
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = self.verdict
        return (
            f"{self.name}: {verdict.operations} operations, {verdict.acked} acknowledged, {verdict.unknown} unknown, "
            f"{len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {verdict.listed} overwritten and listed, "
            f"{len(verdict.unseen)} unlisted; written again after {self.silence_s:.2f} s, slowest answer "
            f"{self.slowest_s:.2f} s, {self.closed} sockets closed, one state after {self.converged_s:.2f} s; "
            f"{self.pushes} pushes, {self.copies} repeats, {self.hops} hops; refused {self.refusals}; "
            f"joins {self.joins}"
        )


async def run_round(
    stage: Stage,
    fault: Fault,
    *,
    seed: int,
    begin_s: float = 0.7,
    after_s: float = 0.7,
    each: int = 1,
    pause_s: float = 0.03,
    hop_share: float = 0.02,
    address: Callable[[], str] | None = None,
    goes_on: Callable[[], bool] = lambda: False,
    goes_on_s: float = 60.0,
    acked_min: int = 0,
    before_end: Callable[[], object] = lambda: None,
) -> Report:
    """The round is over, and the stage is whole again. Where the primary is replaced no device hops by itself.

    The fault lasts for its time at least, then, at most ``goes_on_s`` more, while ``goes_on`` and until so many edits
    were acknowledged; ``before_end`` is called when it is mended.
    """
    await stage.calm()
    async with AsyncExitStack() as stack:
        wire = {"copies_max": 3, "hop_share": 0.0 if fault.moves_slots else hop_share}
        traffic = await open_traffic(stage, stack, name=next_name(), seed=seed, each=each, address=address, **wire)
        traffic.pause_s = pause_s
        watched = traffic.sessions[0]
        primary = stage.primary_of(watched)
        beside = {session for session in traffic.sessions if stage.primary_of(session) is primary}
        await traffic.begin()
        await asyncio.sleep(begin_s)
        struck_at, closed = time.monotonic(), traffic.wire.closed
        fault.strike(stage, primary)
        while fault.again_s and time.monotonic() < struck_at + fault.holds_s:
            await asyncio.sleep(fault.again_s)
            await asyncio.to_thread(fault.strike, stage, primary)
        await asyncio.sleep(max(0.0, struck_at + fault.holds_s - time.monotonic()))
        await until(
            lambda: not goes_on() and traffic.acked >= acked_min, deadline_s=goes_on_s, what="the end of the fault"
        )
        fault.mend(stage, primary)
        await stage.calm()
        before_end()
        await asyncio.sleep(after_s)
        report = await _judged(traffic, stage, fault.name)
        report.silence_s = traffic.wire.longest_silence_s(beside, struck_at)
        report.closed = traffic.wire.closed - closed
        if not fault.hits_node and address is None:
            _judge_service(report, fault)
        return report


async def _judged(traffic: Traffic, stage: Stage, name: str) -> Report:
    """Everybody stopped, and what they hold and were told is judged."""
    ended_at = time.monotonic()
    await traffic.end()
    await converged_s(traffic, stage.redis.url)
    took_s = time.monotonic() - ended_at
    verdict, wire = await judged(traffic, stage.redis.url), traffic.wire
    report = Report(
        name,
        verdict,
        0.0,
        wire.slowest_s(),
        0,
        took_s,
        wire.pushes,
        wire.copies,
        wire.hops,
        wire.refusals,
        wire.joins,
        [*verdict.faults, *wire.violations],
    )
    if took_s > CONVERGED_S:
        report.faults.append(f"converged: after {took_s:.2f} s")
    return report


def _judge_service(report: Report, fault: Fault) -> None:
    """Sockets stayed open, everybody was answered in time, and soon it could be written again."""
    if report.closed:
        report.faults.append(f"closed: {report.closed} sockets")
    frozen_s = fault.holds_s if fault.freezes_node else 0.0
    if report.slowest_s > max(ANSWERED_S, frozen_s) + _TURN_S:
        report.faults.append(f"answered: after {report.slowest_s:.2f} s")
    if report.silence_s > fault.writable_s:
        report.faults.append(f"writable: after {report.silence_s:.2f} s")
