"""Named timers of one machine, over whatever clock the runtime was given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from syncbridge.ports import Clock


class Cancellable(Protocol):
    """What a scheduled call is held by."""

    def cancel(self) -> None: ...


CallSoon = Callable[[Callable[[], None]], object]
"""Runs a function after the present turn of the loop, in order."""

CallAt = Callable[[int, Callable[[], None]], Cancellable]
"""Runs a function at a time of the clock, in ms; may be early by the loop's grain, never lost."""


class Timers:
    """At most one timer a name; ``fire(name)`` is called once when it ran out, never before its time."""

    __slots__ = ("_call_at", "_clock", "_fire", "_handles")

    def __init__(self, clock: Clock, call_at: CallAt, fire: Callable[[str], None]) -> None:
        self._clock = clock
        self._call_at = call_at
        self._fire = fire
        self._handles: dict[str, Cancellable] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def set(self, name: str, at_ms: int) -> None:
        """``name`` fires at ``at_ms``; an earlier timer of that name is replaced."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()
        self._handles[name] = self._call_at(at_ms, partial(self._ran_out, name, at_ms))

    def clear(self) -> None:
        """No timer of this machine fires any more."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _ran_out(self, name: str, at_ms: int) -> None:
        if self._clock.now_ms() < at_ms:
            # A loop rounds to its grain and may come a millisecond early; a machine compares times exactly.
            self._handles[name] = self._call_at(at_ms, partial(self._ran_out, name, at_ms))
            return
        self._handles.pop(name, None)
        self._fire(name)
