"""What a drain costs commits: ``python -m tests.integration.events.turns``; with ``--planted`` it costs them much.

A backlog is drained, and none is, in turns of a few seconds in one run, so that what else the machine does falls on
both; commits go on at the same rate all along, here and in a process that tells nobody. What is compared is the slowest
hundredth of commits in a turn with a drain and in the quiet one before it, ours and that process's. A minute or two.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final
from unittest.mock import patch

from deploy.local.rabbitmq import Rabbit
from syncbridge.adapters.cluster.events import pacing, publisher
from syncbridge.adapters.cluster.events.relay import RelayRules
from syncbridge.adapters.embedded import SqliteStore
from syncbridge.core.ids import SessionId
from syncbridge.runtime.clock import ServerClock
from tests.integration.events import stage
from tests.integration.events.consumer import keep_everything
from tests.integration.events.control import Sample, controlling
from tests.integration.events.storm import RULES, Pace, Relays, broker_at, percentile, waits_at_most

TURNS: Final = 9
TURN_S: Final = 3.0
COMMITS_PER_S: Final = 250
LIVE: Final = [SessionId(f"ses_live_{number}") for number in range(96)]
TOLD: Final = [SessionId(f"ses_told_{number}") for number in range(500)]
ROUNDS: Final = 14
"""Of one event in each of the sessions whose events wait: more than are told in a turn."""
UNDER_WAY: Final = 8
SLOWER_MAX: Final = 1.2


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, and how many events were told in it."""

    begin: float
    end: float
    told: int

    def p99_ms(self, samples: list[Sample]) -> float:
        return percentile([took for at, took in samples if self.begin <= at < self.end], 0.99)


async def span(relays: Relays) -> Span:
    """A turn has passed."""
    begin, told = time.monotonic(), relays.told()
    await asyncio.sleep(TURN_S)
    return Span(begin, time.monotonic(), relays.told() - told)


async def commits(store: SqliteStore, samples: list[Sample], ended: asyncio.Event) -> None:
    """Commits at an even rate, some under way at a time, until it is enough."""
    pace = Pace(COMMITS_PER_S)

    async def some(sessions: list[SessionId]) -> None:
        for version in itertools.count(2):
            for session in sessions:
                await pace.wait()
                if ended.is_set():
                    return
                at = time.monotonic()
                await stage.commit(store, session, stage.pause(version))
                samples.append((at, (time.monotonic() - at) * 1000))

    await asyncio.gather(*(some(LIVE[number::UNDER_WAY]) for number in range(UNDER_WAY)))


async def turns(relays: Relays, store: SqliteStore) -> list[tuple[Span, Span]]:
    """Quiet and draining, as often as it takes for a median."""
    versions = itertools.count(2)
    pairs: list[tuple[Span, Span]] = []
    for _ in range(TURNS):
        relays.start()
        await waits_at_most(relays, 2 * COMMITS_PER_S)
        quiet = await span(relays)
        await relays.kill()
        for version in itertools.islice(versions, ROUNDS):
            await asyncio.gather(*(stage.commit(store, session, stage.pause(version)) for session in TOLD))
        relays.start()
        await asyncio.sleep(0.3)
        pairs.append((quiet, await span(relays)))
        await relays.kill()
    return pairs


async def measure(rabbit: Rabbit, folder: Path, rules: RelayRules) -> float:
    """How many times as long commits took while a backlog was drained, the machine's own part taken out."""
    store = stage.open_store(folder / "data", ServerClock())
    await stage.outbox_of(store, ServerClock()).open()
    await keep_everything(rabbit.url)
    for session in LIVE + TOLD:
        await stage.create(store, session)
    gc.freeze()  # as the service does when it has started
    gc.set_threshold(50_000, 20, 50)
    samples: list[Sample] = []
    ended = asyncio.Event()
    try:
        async with AsyncExitStack() as stack:
            control = await stack.enter_async_context(controlling(folder / "control", COMMITS_PER_S))
            traffic = asyncio.ensure_future(commits(store, samples, ended))
            try:
                pairs = await turns(Relays(rabbit, store, broker_at, rules), store)
            finally:
                ended.set()
                await traffic
    finally:
        store.close()
    ratios = []
    for quiet, draining in pairs:
        before, during = ([of.p99_ms(samples), of.p99_ms(control)] for of in (quiet, draining))
        if not all(before + during):
            print("a disk that stood still for a whole turn: not counted")
            continue
        ours, theirs = (late / early for late, early in zip(during, before, strict=True))
        ratios.append(ours / theirs)
        print(
            f"commit p99 {before[0]:5.1f} ms, draining {draining.told / TURN_S:5.0f} a second {during[0]:5.1f} ms: "
            f"{ours:.2f} times; of a process without a relay {theirs:.2f} times"
        )
    return median(ratios)


def main(arguments: list[str]) -> int:
    """0 where the promise held; with the fault planted, 0 where it was seen."""
    is_planted = "--planted" in arguments
    rules = replace(RULES, per_s_min=50_000, per_s_max=50_000) if is_planted else RULES
    with ExitStack() as stack:
        if is_planted:
            # As fast as the broker confirms, a window's worth at once.
            stack.enter_context(patch.object(pacing, "AT_ONCE", rules.in_flight_max))
            stack.enter_context(patch.object(publisher, "WRITE_MAX", rules.in_flight_max))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        rabbit = Rabbit(Path(folder) / "rabbit")
        rabbit.start()
        try:
            slower = asyncio.run(measure(rabbit, Path(folder), rules))
        finally:
            rabbit.stop()
    print(f"slower by the relay's doing: {slower:.2f} times (median); load average {os.getloadavg()[0]:.1f}")
    return int((slower > SLOWER_MAX) is not is_planted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
