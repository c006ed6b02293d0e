"""A parent of equal worker processes: it starts them, starts anew what died, passes signals on, and ends them all.

The parent serves nobody: no loop, no thread, nothing open but a socket to each worker, so that a fork of it is a clean
process with every module imported. A worker says over its socket when it serves; that the socket ends tells it that the
parent is gone, however the parent ended.

::

    supervisor = Supervisor(count=4, work=serve_as_worker, on_serving=announce)
    exit_code = supervisor.run()  # returns in the parent alone, when all have ended
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

RESTART_FIRST_S: Final = 0.5
"""A worker that died is there again after so long, after twice that when it dies again, and so on."""
RESTART_LAST_S: Final = 30.0
STEADY_S: Final = 60.0
"""One that served this long died of something new: its count begins anew."""
END_S_MAX: Final = 60.0
"""A worker ends well below this (`net.shutdown_grace_ms`); one that hangs is killed, and the exit code says so."""

_log = structlog.get_logger("syncbridge.supervisor")


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows of its parent."""

    index: int
    _parent: socket.socket

    def serving(self) -> None:
        """The parent knows that this worker serves."""
        with contextlib.suppress(OSError):  # a parent that is gone: `parent_fd` tells
            self._parent.send(b"s")

    @property
    def parent_fd(self) -> int:
        """Readable when the parent is gone."""
        return self._parent.fileno()


@dataclass(slots=True)
class _Child:
    index: int
    pid: int = 0
    link: socket.socket | None = None
    is_serving: bool = False
    has_served: bool = False
    started_at: float = 0.0
    deaths: int = 0
    due_at: float | None = None
    """When it is started again; None while it lives or need not."""

    @property
    def lives(self) -> bool:
        return self.pid != 0


@dataclass(slots=True)
class Supervisor:
    """Runs ``work(worker)`` in ``count`` processes until a signal of ``stopping`` comes; its result is an exit code.

    Start      the first worker alone: what is wrong with a configuration is said once, not ``count`` times. The
               others follow when it serves, and ``on_serving`` is called when all do.
    Death      a worker that dies is started anew, later each time; one that dies before it ever served ends all.
    Signals    of ``stopping`` the first drains every worker, the second kills them; those of ``passing`` go to every
               worker, those of ``to_one`` to one that lives.
    """

    count: int
    work: Callable[[Worker], int]
    on_serving: Callable[[], None]
    stopping: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    passing: Sequence[signal.Signals] = ()
    to_one: Sequence[signal.Signals] = ()
    end_s_max: float = END_S_MAX
    restart_first_s: float = RESTART_FIRST_S
    _children: list[_Child] = field(init=False)
    _selector: selectors.BaseSelector = field(init=False)
    _signals: socket.socket = field(init=False)
    _exit_code: int = field(init=False, default=0)
    _ends_at: float | None = field(init=False, default=None)
    _is_announced: bool = field(init=False, default=False)

    def run(self) -> int:
        """Every worker has ended. 0 when each ended with 0 after it was told to, else 1."""
        self._children = [_Child(index) for index in range(self.count)]
        with self._hearing_signals(), selectors.DefaultSelector() as self._selector:
            self._selector.register(self._signals, selectors.EVENT_READ)
            self._start(self._children[0])
            while any(child.lives for child in self._children) or (self._ends_at is None and self._is_awaited()):
                self._turn()
        return self._exit_code

    # -- the parent's turn --------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Whatever happened, or is due, is dealt with."""
        for key, _ in self._selector.select(self._patience_s()):
            if key.fileobj is self._signals:
                for number in self._signals.recv(4096):
                    self._heard(signal.Signals(number))
            elif isinstance(key.data, _Child):
                self._told(key.data)
        self._reap()
        now = time.monotonic()
        if self._ends_at is None:
            for child in self._children:
                if child.due_at is not None and child.due_at <= now:
                    self._start(child)
        elif now >= self._ends_at:
            self._kill("it did not end in time")

    def _patience_s(self) -> float | None:
        due = [child.due_at for child in self._children if child.due_at is not None]
        moments = due if self._ends_at is None else [self._ends_at]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _is_awaited(self) -> bool:
        return any(child.due_at is not None for child in self._children)

    def _told(self, child: _Child) -> None:
        assert child.link is not None
        if not child.link.recv(16):  # its end: the process is about to be reaped
            self._unlink(child)
            return
        child.is_serving = child.has_served = True
        if self._ends_at is not None:
            return
        for other in self._children:
            if not other.lives and other.due_at is None:
                self._start(other)
        if not self._is_announced and all(one.is_serving for one in self._children):
            self._is_announced = True
            self.on_serving()

    def _reap(self) -> None:
        for child in self._children:
            if not child.lives:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        pid, was_serving = child.pid, child.is_serving
        child.pid, child.is_serving = 0, False
        self._unlink(child)
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if self._ends_at is not None:
            # Told to end while it was still starting, it had no handler yet, and nothing to drain.
            if code and (was_serving or code != -signal.SIGTERM):
                self._exit_code = 1
                _log.error("a worker did not end cleanly", worker=child.index, pid=pid, ended=how)
            return
        if not child.has_served:
            self._exit_code = 1
            _log.error("a worker cannot start; all end", worker=child.index, pid=pid, ended=how)
            self._stop(signal.SIGTERM)
            return
        lived_s = time.monotonic() - child.started_at
        child.deaths = 1 if lived_s >= STEADY_S else child.deaths + 1
        wait_s = min(RESTART_LAST_S, self.restart_first_s * 2 ** (child.deaths - 1))
        child.due_at = time.monotonic() + wait_s
        _log.error("a worker died; another takes its place", worker=child.index, pid=pid, ended=how, wait_s=wait_s)

    # -- signals ------------------------------------------------------------------------------------------------

    def _heard(self, number: signal.Signals) -> None:
        if number in self.stopping:
            if self._ends_at is not None:
                self._kill("a second signal came")
            else:
                _log.info("draining every worker; once more to stop at once", signal=number.name)
                self._stop(signal.SIGTERM)
        elif number in self.passing:
            self._send(number, self._children)
        elif number in self.to_one:
            self._send(number, [child for child in self._children if child.is_serving][:1])

    def _stop(self, number: signal.Signals) -> None:
        self._ends_at = time.monotonic() + self.end_s_max
        for child in self._children:
            child.due_at = None
        self._send(number, self._children)

    def _kill(self, reason: str) -> None:
        self._exit_code = 1
        left = [child for child in self._children if child.lives]
        _log.warning("workers are killed", reason=reason, workers=[child.index for child in left])
        self._ends_at = time.monotonic() + self.end_s_max
        self._send(signal.SIGKILL, left)

    def _send(self, number: signal.Signals, children: Sequence[_Child]) -> None:
        for child in children:
            if child.lives:  # and was not reaped, so the id is still its own
                os.kill(child.pid, number)

    @contextlib.contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        """Signals come as bytes at `_signals`; the handlers are as they were when the block is left."""
        self._signals, ear = socket.socketpair()
        self._signals.setblocking(False)
        ear.setblocking(False)
        numbers = (signal.SIGCHLD, *self.stopping, *self.passing, *self.to_one)
        handlers = {number: signal.signal(number, _leave_to_the_loop) for number in numbers}
        before = signal.set_wakeup_fd(ear.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            ear.close()
            self._signals.close()

    # -- a worker's birth ---------------------------------------------------------------------------------------

    def _start(self, child: _Child) -> None:
        parents, childs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        # Between the fork and the worker's own handlers a signal would fall to the parent's, which do nothing there.
        held = (*self.stopping, *self.passing, *self.to_one)
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        child.pid = os.fork()
        if child.pid == 0:
            parents.close()
            self._become(Worker(child.index, childs), held)
        childs.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        child.due_at, child.started_at, child.link = None, time.monotonic(), parents
        parents.setblocking(False)
        self._selector.register(parents, selectors.EVENT_READ, child)

    def _become(self, worker: Worker, held: Sequence[signal.Signals]) -> None:
        """This process is a worker from now on; the call never returns."""
        code = 1
        try:
            # A group of its own: Ctrl-C in a terminal reaches the parent alone, which tells the workers once.
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, *held):
                signal.signal(number, signal.SIG_DFL)
            # What belongs to the parent: with a copy of its end of a socket here, nobody would learn of its death.
            self._signals.close()
            for other in self._children:
                if other.link is not None:
                    other.link.close()
            self._selector.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
            code = self.work(worker)
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run on in here
            _log.exception("a worker broke", worker=worker.index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _unlink(self, child: _Child) -> None:
        if child.link is not None:
            self._selector.unregister(child.link)
            child.link.close()
            child.link = None


def _leave_to_the_loop(number: int, frame: object) -> None:
    """The signal's byte is at the wakeup socket already."""
