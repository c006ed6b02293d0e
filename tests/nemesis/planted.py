"""A node with faults planted in it: ``python -m tests.nemesis.planted NAME,... serve``. Each has to be found.

=========== ==============================================================================================
name        the fault
=========== ==============================================================================================
repeats     a push that comes again is judged anew
rows        what a merge overwrote is listed nowhere
fences      a push under a fence that is not in force any more is taken
deaf        what other nodes committed is not heard, nor looked for
unheeded    what another node revoked is not asked for
hasty       a node that is told to end waits for no answer of Redis, and says goodbye to nobody
false-acks  what Redis refused is acknowledged
no-lead     a new signing key signs at once
kept-keys   a signing key that was deleted in Vault stays in force
tied        a push waits for PostgreSQL
patient     a log-in waits for PostgreSQL as long as that takes
=========== ==============================================================================================
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from deploy.local.node import Node
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.auth.revocations import Revocations
from syncbridge.core import admission, work
from syncbridge.core import events as on
from syncbridge.core.ids import AccountId, TxnId
from syncbridge.core.ledger import Ledger
from syncbridge.ports import Outcome, WasCommitted
from syncbridge.secrets.schedule import Overlap, Version


def _repeats() -> None:
    real = work.WORKERS[on.PushReceived]

    def push(batch: Any, event: on.PushReceived) -> None:
        expected = Ledger.expected
        Ledger.expected = lambda self, device, last_seq: event.message.seq  # type: ignore[method-assign]
        try:
            real(batch, event)
        finally:
            Ledger.expected = expected  # type: ignore[method-assign]

    work.WORKERS[on.PushReceived] = push


def _rows() -> None:
    real: Callable[..., tuple[Any, Any]] = admission._brought_over
    admission._brought_over = lambda *what: (real(*what)[0], [])


def _fences() -> None:
    real = admission._check_standing
    admission._check_standing = lambda log, change, limits: real(log, replace(change, fence=None), limits)


def _deaf() -> None:
    from syncbridge.adapters.cluster.mesh.session_news import SessionNews

    for name in ("_heard", "_see_head"):
        setattr(SessionNews, name, lambda *_: None)


def _unheeded() -> None:
    async def nothing(self: Revocations) -> list[AccountId]:
        return []

    Revocations.catch_up = nothing  # type: ignore[method-assign]


def _hasty() -> None:
    from syncbridge import app

    async def settled(engine: object, timeout_ms: int) -> bool:
        return True

    async def silent(engine: object) -> int:
        return 0

    app.settle, app.say_goodbye = settled, silent  # type: ignore[attr-defined]


def _false_acks() -> None:
    from syncbridge.adapters.cluster.log import commits

    def acknowledged(txn: TxnId, failure: Failure) -> Outcome:
        return WasCommitted(txn)

    commits._failed = acknowledged


def _with_versions(change: Callable[[list[Version], Overlap], tuple[list[Version], Overlap]]) -> None:
    from syncbridge.adapters.cluster.vault import keys

    real = keys.schedule  # type: ignore[attr-defined]
    keys.schedule = lambda versions, overlap: real(*change(list(versions), overlap))  # type: ignore[attr-defined]


def _no_lead() -> None:
    _with_versions(lambda versions, overlap: (versions, Overlap(0, overlap.last_use_ms)))


def _kept_keys() -> None:
    # Of keys that the node holds: one that was gone before it began cannot be had any more.
    _with_versions(
        lambda versions, overlap: ([replace(one, gone_at=None) if one.secret else one for one in versions], overlap)
    )


def _tied() -> None:
    from syncbridge.adapters.cluster.log.store import RedisStore
    from syncbridge.records.database import Database

    databases: list[Database] = []
    tasks: set[asyncio.Task[None]] = set()
    made, submitted = Database.__init__, RedisStore.submit

    def make(self: Database, *what: Any, **more: Any) -> None:
        made(self, *what, **more)
        databases.append(self)

    def submit(self: RedisStore, *what: Any) -> None:
        async def wait() -> None:
            while not await databases[0].is_healthy():  # noqa: ASYNC110 - a fault need not be a good one
                await asyncio.sleep(0.05)
            submitted(self, *what)

        task = asyncio.ensure_future(wait())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    Database.__init__, RedisStore.submit = make, submit  # type: ignore[assignment, method-assign]


def _patient() -> None:
    from syncbridge.records import engines

    engines.POSTGRES_WAIT_S = engines.ANSWER_WITHIN_S = 4.0


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "repeats": _repeats,
    "rows": _rows,
    "fences": _fences,
    "deaf": _deaf,
    "unheeded": _unheeded,
    "hasty": _hasty,
    "false-acks": _false_acks,
    "no-lead": _no_lead,
    "kept-keys": _kept_keys,
    "tied": _tied,
    "patient": _patient,
}


def plant(node: Node, names: str) -> None:
    """The node will be started with these faults."""
    node.process.command = [sys.executable, "-m", "tests.nemesis.planted", names, "serve"]
    node.process.environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)


def main(names: str, *arguments: str) -> None:
    """The command line of the service, with these faults in it."""
    for name in names.split(","):
        PLANTS[name]()
    from syncbridge.cli import main as service

    sys.argv = ["syncbridge", *arguments]
    service()


if __name__ == "__main__":
    main(*sys.argv[1:])
