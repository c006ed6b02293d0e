"""Processor time of other processes, by the nanosecond, and on which cores they may run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def spent_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes used, all their threads together; of one that is gone, none."""
    total_ns = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total_ns += int(task.read_text("ascii").split()[0])
            except OSError:  # a thread may end while it is looked at
                continue
    return total_ns / 1e9


def family(pid: int) -> list[int]:
    """The process, its children, and theirs."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text("ascii").split())
            except OSError:  # a thread may end while it is looked at
                continue
    return found


def split_cores() -> tuple[int, set[int]]:
    """The core that nodes run on, and those of everything else. Raises ValueError where there is only one.

    The nodes share one core however many there are: the rate of two on it, over the rate of one on it, is what a second
    node with a core of its own brings, as far as the others are not what holds them up.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise ValueError("measuring needs two cores at least: one for the nodes, one for everything else")
    return first, set(others)
