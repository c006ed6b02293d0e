"""A node with faults planted in it: ``python -m tests.nemesis.planted NAME,... serve``. Each has to be found.

=========== ==============================================================================================
name        the fault
=========== ==============================================================================================
repeats     a push that comes again is judged anew
rows        what a merge overwrote is listed nowhere
fences      a push under a fence that is not in force any more is taken
deaf        what other nodes committed is not heard, nor looked for
=========== ==============================================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from syncbridge.core import admission, work
from syncbridge.core import events as on
from syncbridge.core.ledger import Ledger


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
    admission._check_standing = lambda log, change, limits: real(log, change._replace(fence=None), limits)


def _deaf() -> None:
    from syncbridge.adapters.cluster.mesh.session_news import SessionNews

    for name in ("_heard", "_see_head"):
        setattr(SessionNews, name, lambda *_: None)


PLANTS: Final[dict[str, Callable[[], None]]] = {"repeats": _repeats, "rows": _rows, "fences": _fences, "deaf": _deaf}


def main(names: str, *arguments: str) -> None:
    """The command line of the service, with these faults in it."""
    for name in names.split(","):
        PLANTS[name]()
    from syncbridge.cli import main as service

    sys.argv = ["syncbridge", *arguments]
    service()


if __name__ == "__main__":
    main(*sys.argv[1:])
