"""`python -m tests.sim`: replay one seed, run a range, or show that planted bugs are caught.

python -m tests.sim --seed 7            one seed, with its trace and its trace hash
python -m tests.sim --seeds 0:3000      a range; exits 1 naming seed, checker and how to replay
python -m tests.sim --planted           each planted bug, the checker that caught it, and at which seed
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain

from tests.sim.planted import BUGS, SEEDS_MAX, hunt
from tests.sim.seeds import PINNED
from tests.sim.simulation import Result, Simulation

CHUNK = 25
FAILURES_TOLD_MAX = 10


def run_chunk(seeds: Sequence[int], is_careless: bool = False) -> list[Result]:
    """The results of these seeds, in order."""
    return [Simulation(seed, is_careless=is_careless).run() for seed in seeds]


def _results(seeds: range, workers: int, is_careless: bool) -> Iterator[Result]:
    pinned = tuple(pin.seed for pin in PINNED)
    chunks: list[Sequence[int]] = [pinned, *(seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK))]
    run = partial(run_chunk, is_careless=is_careless)
    if workers == 1:
        yield from chain.from_iterable(map(run, chunks))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from chain.from_iterable(pool.map(run, chunks))


def run_range(seeds: range, workers: int, *, is_careless: bool = False) -> int:
    """Runs the pinned seeds and ``seeds``; the exit code."""
    began = time.monotonic()
    names = (
        "events",
        "entries",
        "deeds",
        "handoffs",
        "conflicts",
        "crashes",
        "kills",
        "resumes",
        "snapshots",
        "losses",
        "wipes",
        "returns",
        "rebuilds",
    )
    totals = dict.fromkeys(names, 0)
    count = 0
    broken: list[Result] = []
    for result in _results(seeds, workers, is_careless):
        count += 1
        for name in names:
            totals[name] += getattr(result, name)
        if result.checker:
            broken.append(result)
    seconds = time.monotonic() - began
    told = ", ".join(f"{value} {name}" for name, value in totals.items())
    print(f"{count} seeds in {seconds:.1f} s ({count / seconds:.0f} a second, {workers} workers): {told}")
    for result in broken[:FAILURES_TOLD_MAX]:
        print(f"seed {result.seed} breaks {result.checker}: {result.text[:300]}")
        print(f"    replay: python -m tests.sim --seed {result.seed}{' --careless' * is_careless}")
    if broken:
        print(f"{len(broken)} of {count} seeds break a promise")
    return 1 if broken else 0


def run_planted() -> int:
    """Plants each bug in turn; the exit code is 1 when one is not caught, or by no checker that it names."""
    began = time.monotonic()
    print(f"{'planted bug':<34} {'caught by':<14} seed")
    missed = 0
    for bug in BUGS:
        caught = hunt(bug)
        if caught is None:
            missed += 1
            print(f"{bug.name:<34} {'MISSED':<14} within {SEEDS_MAX} seeds; expected {' or '.join(bug.checkers)}")
        else:
            print(f"{bug.name:<34} {caught.checker:<14} {caught.seed}")
    print(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs caught in {time.monotonic() - began:.1f} s")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="replay this seed with its trace")
    what.add_argument("--seeds", help="run the seeds A:B (B not included)")
    what.add_argument("--planted", action="store_true", help="plant each bug and see it caught")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--careless", action="store_true", help="all edit lists by index while they wait for answers, not some"
    )
    asked = parser.parse_args()
    if asked.planted:
        return run_planted()
    if asked.seed is not None:
        result = Simulation(asked.seed, is_telling=True, is_careless=asked.careless).run()
        print(result)
        return 1 if result.checker else 0
    first, _, end = asked.seeds.partition(":")
    return run_range(range(int(first), int(end)), asked.workers, is_careless=asked.careless)


if __name__ == "__main__":
    sys.exit(main())
