"""Workers for the supervisor's tests: each serves nobody, and says what happens to it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from syncbridge.supervisor import Worker

Say = Callable[..., None]


def work_of(kind: str, say: Say) -> Callable[[Worker], int]:
    """The work of this name."""

    def work(worker: Worker) -> int:
        say("begins", worker.index)
        if kind == "refuse" or (kind == "second_refuses" and worker.index == 1):
            return 1
        if kind == "start_slowly":
            select.select([worker.parent_fd], [], [])
        heard, ear = os.pipe()
        signal.set_wakeup_fd(_unblocked(ear))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, lambda _number, _frame: None)
        say("serves", worker.index, os.getpid())
        worker.serving()
        if kind == "die_soon":
            say("dies", worker.index, time.monotonic())
            os.kill(os.getpid(), signal.SIGKILL)
        return _serve(worker, heard, kind, say)

    return work


def _serve(worker: Worker, heard: int, kind: str, say: Say) -> int:
    while True:
        ready, _, _ = select.select([heard, worker.parent_fd], [], [])
        if worker.parent_fd in ready:
            say("orphaned", worker.index)
            return 0
        name = signal.Signals(os.read(heard, 1)[0]).name
        say(name, worker.index)
        if name not in ("SIGTERM", "SIGINT"):
            continue
        if kind == "hang":
            say("hangs", worker.index)
            continue
        say("drained", worker.index)
        return 3 if kind == "end_badly" else 0


def _unblocked(descriptor: int) -> int:
    os.set_blocking(descriptor, False)
    return descriptor
