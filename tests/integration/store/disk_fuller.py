"""A process whose files may not grow for a while: it prints, as JSON, how the store took it."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from syncbridge.limits import Limits
from syncbridge.ports import WasCommitted, WasRefused
from tests.conformance.clocks import DEADLINE_S
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, create, loaded, session_named, submit

SESSION = session_named("full")


def allow(file_bytes_max: int) -> None:
    """No file of this process grows past this (SIGXFSZ is ignored by Python, so a write fails)."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, hard))


def main(path: Path) -> None:
    harness = SqliteHarness(path, Limits(), 20_000)
    create(harness, SESSION)
    unlimited, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    allow((path / "sessions.db-wal").stat().st_size + 40_000)
    head = 1
    refused: list[str] = []
    while len(refused) < 2 * 3:
        # Three at a time, each on top of the one before: decided in memory, refused together.
        batch = [change(SESSION, head + step, mark="x" * 2000) for step in range(3)]
        outcomes = submit(harness, *batch)
        committed = sum(isinstance(outcome, WasCommitted) for outcome in outcomes)
        assert committed in (0, 3), outcomes
        head += committed
        refused += [outcome.code for outcome in outcomes if isinstance(outcome, WasRefused)]
    was_healthy = harness.store.is_healthy()
    readable = len(loaded(harness, SESSION, 10**9).entries) + 1
    allow(unlimited)
    deadline = time.monotonic() + DEADLINE_S
    while not harness.store.is_healthy():
        assert time.monotonic() < deadline, "it did not notice the room"
    again = [type(outcome).__name__ for outcome in submit(harness, *batch)]
    harness.reopen()
    after = len(loaded(harness, SESSION, 10**9).entries) + 1
    harness.close()
    figures = {"head": head, "refused": refused, "was_healthy": was_healthy, "readable": readable}
    print(json.dumps({**figures, "again": again, "after": after}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
