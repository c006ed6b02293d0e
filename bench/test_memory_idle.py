"""Memory of an idle joined device: the service against a bare picows program with the same read buffer.

How it is measured. Both servers, each a process of its own, hold growing numbers of connections from this process;
resident memory is read at each step after a collection. The figure is the slope of the line through those points
(least squares), so what a process weighs by itself does not count. Of the service each connection is a device that
said hello and joined a session as it begins; five devices (what an account has) share a session, so a fifth of a
session's memory is in the figure. What a session's own state adds is told besides, with 2 KiB of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bench
from bench.speaking import Line, ServerProcess, joined

PER_SESSION = 5
SETTLE_S = 0.5


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares through the points."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


async def grow(server: ServerProcess, steps: list[int], join: Any) -> tuple[float, list[tuple[float, float]]]:
    """KiB a connection, and the points: connections and resident KiB."""
    lines: list[Line] = []
    points = []
    for step in steps:
        while len(lines) < step:
            lines.append(await join(len(lines)))
        await asyncio.sleep(SETTLE_S)  # what the last ones left to do is done; nothing tells when
        points.append((float(step), (await server.usage())["rss_kib"]))
    assert not any(line.is_gone for line in lines)
    for line in lines:
        line.close()
    return slope(points), points


async def grow_ours(directory: Path, steps: list[int], size_kib: int) -> tuple[float, list[tuple[float, float]]]:
    accounts = -(-steps[-1] // PER_SESSION)
    async with ServerProcess.running("ours", directory, accounts, 1, size_kib) as ours:

        async def join(number: int) -> Line:
            account = ours.accounts[number // PER_SESSION]
            device = f"d{number % PER_SESSION}"
            return await joined(ours.port, account["token"], device, account["sessions"][0], read_buffer_bytes=4096)

        return await grow(ours, steps, join)


async def measure(bench: Bench, directory: Path) -> dict[str, Any]:
    steps = [bench.size(full=300 + 100 * n, tiny=8 + 8 * n) for n in range(8)]
    async with ServerProcess.running("bare") as bare:

        async def say_bare(number: int) -> Line:
            line = await Line.open(bare.port, 4096)
            await line.ask(f"{number} follow 0 0".encode())
            return line

        bare_kib, _ = await grow(bare, steps, say_bare)
    ours_kib, points = await grow_ours(directory / "fresh", steps, 0)
    with_state_kib, _ = await grow_ours(directory / "full", steps, 2)
    return {
        "over_kib": ours_kib - bare_kib,
        "ours_kib": round(ours_kib, 2),
        "bare_kib": round(bare_kib, 2),
        "ours_with_2_kib_of_state_kib": round(with_state_kib, 2),
        "connections": steps[-1],
        "rss_mib": round(points[-1][1] / 1024, 1),
    }


@pytest.mark.timeout(300)
def test_idle_joined_device_costs_little_more_than_its_socket(
    bench: Bench, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    figures: dict[str, Any] = {}

    def whole() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures.update(runner.run(measure(bench, tmp_path)))

    benchmark.pedantic(whole, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info |= figures
    bench.gate("memory_idle_kib", figures.pop("over_kib"), **figures)
