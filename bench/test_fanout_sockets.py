"""Fan-out over real sockets: the service's rate against that of a bare picows program, in the same run.

How it is measured. Three processes: the service (embedded store, durable: an ack follows the sync of its group), a
picows program that for each message sends one answer to its sender and one message to each of four followers, and
this one, which is the devices of both. Each group is one device that pushes, with a window of pushes in flight, and
four that follow. Push frames are the same for both; the bare program's answers and messages have the service's own
mean sizes. A round is over when every push is acknowledged and every follower has heard of each. Rounds alternate,
A B A B, so that a busy moment falls on both; the ratio is that of the medians. The bare program neither reads what
it is sent nor keeps anything.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bench
from bench.speaking import Group, Line, ServerProcess, joined, pushes_of, until

GROUPS = 48
"""So many that a group's way to the disk is hidden behind the others' work, as in a service with users."""
FOLLOWERS = 4
WINDOW = 16


class Side:
    """One server's groups, and what its rounds took."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.groups: list[Group] = []
        self.lines: list[list[Line]] = []
        self.rates: list[float] = []
        self.cpu_us: list[float] = []
        self.pushed = 0

    async def round(self, count: int, frames: list[list[bytes]]) -> None:
        before = await self.server.usage()
        begin = time.perf_counter()
        for group, own in zip(self.groups, frames, strict=True):
            group.begin(own)
        await until(lambda: all(group.is_done for group in self.groups), "a push or an entry did not arrive")
        took_s = time.perf_counter() - begin
        after = await self.server.usage()
        pushes = count * len(self.groups)
        self.rates.append(pushes / took_s)
        self.cpu_us.append((after["cpu_s"] - before["cpu_s"]) / pushes * 1e6)
        self.pushed += count


async def connect_ours(side: Side) -> None:
    for account in side.server.accounts:
        (session,) = account["sessions"]
        lines = [
            await joined(side.server.port, account["token"], f"d{place}", session) for place in range(FOLLOWERS + 1)
        ]
        side.lines.append(lines)
        side.groups.append(Group(lines[0], lines[1:], WINDOW))


async def connect_bare(side: Side, groups: int, ack_bytes: int, entry_bytes: int) -> None:
    for number in range(groups):
        followers = []
        for _ in range(FOLLOWERS):
            line = await Line.open(side.server.port)
            await line.ask(f"{number} follow 0 0".encode())
            followers.append(line)
        pusher = await Line.open(side.server.port)
        await pusher.ask(f"{number} push {ack_bytes} {entry_bytes}".encode())
        side.groups.append(Group(pusher, followers, WINDOW))


def versions_heard(frames: list[bytes]) -> list[int]:
    """The versions that a follower was told of, in order."""
    versions: list[int] = []
    for frame in frames:
        message = msgspec.json.decode(frame)
        if message["type"] == "entries":
            versions += [entry["version"] for entry in message["entries"]]
        elif message["type"] == "entry":
            versions.append(message["version"])
    return versions


async def measure(bench: Bench, size_kib: int, directory: Path) -> dict[str, Any]:
    groups = bench.size(full=GROUPS, tiny=2)
    rounds, count = bench.size(full=9, tiny=1), bench.size(full=200, tiny=20)
    async with AsyncExitStack() as stack:
        ours = Side(await stack.enter_async_context(ServerProcess.running("ours", directory, groups, 1, size_kib)))
        bare = Side(await stack.enter_async_context(ServerProcess.running("bare")))
        await connect_ours(ours)
        sessions = [account["sessions"][0] for account in ours.server.accounts]

        def frames_of(side: Side) -> list[list[bytes]]:
            return [pushes_of(session, count, side.pushed + 1, WINDOW) for session in sessions]

        first = ours.lines[0]
        for line in first[1:]:
            line.frames = []
        await ours.round(count, frames_of(ours))  # warm-up, and the sizes that the bare program sends
        ack_bytes = first[0].heard_bytes // count
        entry_bytes = first[1].heard_bytes // count
        await connect_bare(bare, groups, ack_bytes, entry_bytes)
        await bare.round(count, frames_of(bare))
        for side in (ours, bare):
            side.rates.clear()
            side.cpu_us.clear()
        for _ in range(rounds):
            await ours.round(count, frames_of(ours))
            await bare.round(count, frames_of(bare))
        told = [versions_heard(line.frames or []) for line in first[1:]]
        bench.same_result("versions that the followers heard", *told, list(range(2, ours.pushed + 2)))
    ours_rate, bare_rate = statistics.median(ours.rates), statistics.median(bare.rates)
    return {
        "ratio": ours_rate / bare_rate,
        "pushes_per_s": round(ours_rate),
        "bare_pushes_per_s": round(bare_rate),
        "cpu_us": round(statistics.median(ours.cpu_us), 1),
        "bare_cpu_us": round(statistics.median(bare.cpu_us), 1),
        "ack_bytes": ack_bytes,
        "entry_bytes": entry_bytes,
        "rounds": rounds,
    }


@pytest.mark.parametrize("size_kib", [2, 20])
def test_fanout_over_sockets_keeps_most_of_the_bare_rate(
    size_kib: int, bench: Bench, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    figures: dict[str, Any] = {}

    def whole() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures.update(runner.run(measure(bench, size_kib, tmp_path)))

    benchmark.pedantic(whole, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info |= figures
    bench.gate(f"fanout_{size_kib}_kib", figures.pop("ratio"), **figures)
