"""`kill -9` on a real process that commits: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from syncbridge.core.ids import SessionId
from syncbridge.limits import Limits
from syncbridge.ports import WasCommitted
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, loaded, submit
from tests.integration.store.committer import SESSIONS

ROUNDS = 10
ROOT = Path(__file__).parents[3]


class Tried(NamedTuple):
    session: SessionId
    expected: int
    entries: int
    name: str


def run_and_kill(path: Path, round_number: int, after_acks: int) -> tuple[list[Tried], set[str]]:
    """What the process tried and what it saw acknowledged before it was killed after so many answers."""
    command = [sys.executable, "-m", "tests.integration.store.committer", str(path), str(round_number)]
    tried: list[Tried] = []
    acknowledged: set[str] = set()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            match line.split():
                case ["try", session, expected, count, name]:
                    tried.append(Tried(SessionId(session), int(expected), int(count), name))
                case ["ack", name]:
                    acknowledged.add(name)
            if len(acknowledged) == after_acks:
                process.kill()  # what is still in the pipe was said before, and is read on
        assert process.wait(timeout=60) == -9
    return tried, acknowledged


def test_kill_at_any_moment_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    draw = random.Random(20260)
    path = tmp_path / "data"
    stands: dict[str, Tried] = {}
    lost = doubled = acknowledged_count = open_count = 0
    for round_number in range(ROUNDS):
        tried, acknowledged = run_and_kill(path, round_number, draw.randint(1, 400))
        harness = SqliteHarness(path, Limits(), 20_000)
        logs = {session: loaded(harness, session, 10**9) for session in SESSIONS}
        held = {entry.ops[1]["value"] for log in logs.values() for entry in log.entries}
        lost += len(acknowledged - held)
        acknowledged_count += len(acknowledged)
        # Whoever got no answer sends the same again, and is answered that it stands.
        open_ones = [one for one in tried if one.name not in acknowledged]
        open_count += len(open_ones)
        again = [change(one.session, one.expected, one.entries, name=one.name) for one in open_ones]
        assert all(isinstance(outcome, WasCommitted) for outcome in submit(harness, *again))
        stands.update((one.name, one) for one in tried)
        seen: Counter[str] = Counter()
        for session in SESSIONS:
            log = loaded(harness, session, 10**9)
            assert [entry.version for entry in log.entries] == list(range(2, len(log.entries) + 2))
            seen.update(str(entry.ops[1]["value"]) for entry in log.entries)
        doubled += sum(1 for name, count in seen.items() if count != stands[name].entries)
        lost += len(stands.keys() - seen.keys())
        harness.close()
    print(f"{ROUNDS} kills, {acknowledged_count} acknowledged, {open_count} open, lost {lost}, doubled {doubled}")
    assert (lost, doubled) == (0, 0)
    assert acknowledged_count > ROUNDS
    assert open_count > 0, "no kill came between a submission and its answer"
