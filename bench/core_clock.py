"""Timing two things against each other: in turns, so that a busy machine slows both, and the fastest turn counts."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence


def fastest_us(*works: Callable[[], object], turns: int, span_us: float = 400.0) -> Sequence[float]:
    """Microseconds one call of each work takes at its fastest; each turn runs every work for about `span_us`."""
    counts = [max(1, int(span_us / max(_once_us(work), 0.05))) for work in works]
    best = [float("inf")] * len(works)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(turns):
            for index, work in enumerate(works):
                count = counts[index]
                start = time.perf_counter_ns()
                for _ in range(count):
                    work()
                best[index] = min(best[index], (time.perf_counter_ns() - start) / count / 1000)
    finally:
        if was_enabled:
            gc.enable()
    return best


def _once_us(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / 1000
