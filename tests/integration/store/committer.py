"""A process that commits until it is killed, and says on stdout what it tries and what was acknowledged.

``try SESSION EXPECTED COUNT NAME`` goes out before the transaction is submitted, ``ack NAME`` after its answer.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from syncbridge.core.ids import SessionId, TxnId
from syncbridge.limits import Limits
from syncbridge.ports import Outcome, StoredLog, Submission, WasCommitted
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, create, load, loaded, session_named, snapshot_of

SESSIONS = [session_named(str(number)) for number in range(8)]


def say(line: str) -> None:
    os.write(1, (line + "\n").encode())


def main(path: Path, round_number: int) -> None:
    harness = SqliteHarness(path, Limits(), 20_000)
    draw = random.Random(round_number)
    heads: dict[SessionId, int] = {}
    for session in SESSIONS:
        if not isinstance(load(harness, session), StoredLog):
            create(harness, session)
        log = loaded(harness, session)
        heads[session] = log.entries[-1].version if log.entries else log.snapshot.version
    say("ready")
    in_flight = 0
    number = 0

    names: dict[TxnId, str] = {}

    def answered(outcome: Outcome) -> None:
        nonlocal in_flight
        in_flight -= 1
        assert isinstance(outcome, WasCommitted), outcome
        say(f"ack {names.pop(outcome.txn)}")

    def has_room() -> bool:
        return in_flight < 24

    while True:
        batch: list[Submission] = []
        for session in draw.sample(SESSIONS, draw.randint(1, 4)):
            number += 1
            count, name = draw.randint(1, 3), f"r{round_number}-{number}"
            snapshot = snapshot_of(session, heads[session] + count) if draw.random() < 0.05 else None
            batch.append(change(session, heads[session], count, name=name, snapshot=snapshot))
            names[batch[-1].txn.id] = name
            say(f"try {session} {heads[session]} {count} {name}")
            heads[session] += count
        in_flight += len(batch)
        harness.store.submit(batch, answered)
        harness.wait(has_room)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
