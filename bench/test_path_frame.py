"""A frame's whole way without a socket: decode, judge, commit in memory, encode, acknowledge, deliver to four.

The ratio is to the bare work on the same frames in the same run: what no server of this protocol can leave out.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bench
from bench.sockless import SocklessNode, push_frames
from syncbridge import apply_patch
from syncbridge.core.entry import Entry
from syncbridge.core.messages import Ack, AnyClientMessage, Push

SIZES_KIB = [2, 20]
BURST = 32


class BareWork:
    """Parse, apply, encode once, acknowledge, hand to four lists: no check, no log, no machine."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self.version = 1
        self.outlets: list[list[bytes]] = [[] for _ in range(5)]
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(AnyClientMessage).decode
        self._encode = msgspec.json.Encoder().encode

    def push(self, frame: bytes) -> None:
        message: Push = self._decode(frame)
        self.state = apply_patch(self.state, message.ops)
        self.version += 1
        entry = self._encode(Entry(self.version, "patch", message.at or 0, "device-0", message.seq, message.ops))
        self.outlets[0].append(self._encode(Ack(message.session, message.seq, self.version, message.at or 0)))
        for outlet in self.outlets[1:]:
            outlet.append(entry)


@pytest.mark.parametrize("size_kib", SIZES_KIB)
def test_path_of_a_frame_costs_a_small_multiple_of_the_bare_work(
    size_kib: int, bench: Bench, benchmark: BenchmarkFixture
) -> None:
    rounds, count = bench.size(full=15, tiny=2), bench.size(full=2000, tiny=40)
    node, bare = SocklessNode(size_kib), BareWork(SocklessNode(size_kib).state)
    timings: dict[str, list[float]] = {"path": [], "burst": [], "bare": []}
    seq = 1

    def one_round() -> None:
        nonlocal seq
        for name in ("path", "bare", "burst"):
            frames = push_frames(count, lag=2 if name != "bare" else 0, seq=seq, version=seq)
            gc.collect()
            begin = time.perf_counter()
            if name == "path":
                for frame in frames:
                    node.push(frame)
            elif name == "bare":
                for frame in frames:
                    bare.push(frame)
            else:
                for start in range(0, count, BURST):
                    node.burst(frames[start : start + BURST])
            timings[name].append((time.perf_counter() - begin) / count * 1e6)
            if name != "bare":
                seq += count

    benchmark.pedantic(one_round, rounds=rounds, iterations=1)  # type: ignore[no-untyped-call]

    assert node.outlets[0].last == msgspec.json.encode(Ack("ses-1", seq - 1, seq, node.now_ms()))
    assert [outlet.frames for outlet in node.outlets[1:]] == [node.outlets[1].frames] * 4
    bench.same_result(f"state after {seq - 1} pushes", bare.state, node.state_now())
    path_us, burst_us, bare_us = (statistics.median(timings[name]) for name in ("path", "burst", "bare"))
    figures = {
        "path_us": round(path_us, 1),
        "in_bursts_us": round(burst_us, 1),
        "bare_us": round(bare_us, 1),
    }
    benchmark.extra_info |= figures
    bench.gate(f"path_{size_kib}_kib", path_us / bare_us, **figures)
