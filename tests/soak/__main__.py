"""`python -m tests.soak`: devices come and go over TLS at an even pace; nothing may grow. `make soak` runs it.

    python -m tests.soak --minutes 5 --rate 20

Resident memory is read every ten seconds. Ends with 0 when its slope, after a warm-up of a third of the time, is below
a MiB a minute, and when descriptors and tasks, once everybody has gone, are what they were.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.soak.churn import MIB_PER_MINUTE_MAX, RATE_PER_S, Churn, left_behind, quiet, slope
from tests.soak.process import ServiceProcess

ACCOUNTS = 100
LOOK_EVERY_S = 10.0


async def soak(folder: Path, minutes: float, rate_per_s: float, planted: list[str]) -> int:
    """The exit code."""
    async with ServiceProcess.running(folder, ACCOUNTS, *planted) as service:
        churn = Churn(service)
        await churn.visit(4 * ACCOUNTS, at_once=10)  # every part was in use once
        before = await quiet(service)
        began = time.monotonic()
        points: list[tuple[float, float]] = []
        while (minutes_gone := (time.monotonic() - began) / 60) < minutes:
            await churn.visit_at(rate_per_s, LOOK_EVERY_S)
            held = await service.holdings()
            points.append((minutes_gone, held["rss_kib"] / 1024))
            print(
                f"{minutes_gone:4.1f} min  {churn.visits:6} visits  {points[-1][1]:7.1f} MiB"
                f"  {held['descriptors']:3.0f} descriptors  {held['tasks']:3.0f} tasks  {held['sockets']:3.0f} sockets",
                flush=True,
            )
        after = await quiet(service)
    steady = [point for point in points if point[0] >= minutes / 3]
    growth = slope(steady) if len(steady) > 1 else 0.0
    findings = left_behind(before, after)
    if growth > MIB_PER_MINUTE_MAX:
        findings.append(f"resident memory: {growth:+.2f} MiB a minute")
    print(f"{churn.visits} visits, {growth:+.2f} MiB a minute, at most {MIB_PER_MINUTE_MAX:g}: ", end="")
    print("; ".join(findings) if findings else "nothing was left behind")
    return 1 if findings else 0


def main() -> int:
    """As the command line says; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Devices come and go; nothing may grow.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="visits a second")
    parser.add_argument("--planted", action="append", default=[], help="a fault by name, see tests/soak/serving.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(soak(Path(folder), arguments.minutes, arguments.rate, arguments.planted))


if __name__ == "__main__":
    sys.exit(main())
