"""The order of a session's calls and answers, where one of them takes more than one trip.

Most calls are one trip, and the link keeps their order: nothing of a session is in here then. A line is closed while
something must be done before a call is sent, or before an answer is told; what comes of the session meanwhile waits
behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from syncbridge.adapters.cluster.log.steps import Steps, drive
from syncbridge.core.ids import SessionId

T = TypeVar("T")
Call = Callable[[], None]

_log = structlog.get_logger(__name__)


class Lines:
    """The closed lines, by session, and what waits in each."""

    def __init__(self) -> None:
        self._waiting: dict[SessionId, deque[Call]] = {}

    def __contains__(self, session: SessionId) -> bool:
        """Whether what comes of the session has to wait."""
        return session in self._waiting

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, session: SessionId, call: Call) -> None:
        """`call` is made at its turn: at once where nothing is before it."""
        waiting = self._waiting.get(session)
        if waiting is None:
            call()
        else:
            waiting.append(call)

    def close(self, session: SessionId) -> None:
        """What comes waits until `open`. The session must not be closed."""
        if session in self._waiting:
            raise RuntimeError(f"the line of {session} is closed already")
        self._waiting[session] = deque()

    def open(self, session: SessionId) -> None:
        """Everything that waited is called in order, as far as none of it closes the line again.

        Raises nothing: what one call raises is logged, for those behind it are of others.
        """
        waiting = self._waiting.pop(session)
        while waiting:
            call = waiting.popleft()
            try:
                call()
            except Exception:  # noqa: BLE001 - our own fault: it is logged, and others are not held up
                _log.exception("session_call_failed", session=session)
            again = self._waiting.get(session)
            if again is not None:
                again.extend(waiting)
                return

    def alone(self, session: SessionId, work: Callable[[], Steps[T]], done: Callable[[T], None]) -> None:
        """The work of several trips is done at its turn, and what is asked after it waits until it is."""

        def watched() -> Steps[T]:
            try:
                return (yield from work())
            except Exception:
                self.open(session)  # our own fault: what waits must not wait for ever
                raise

        def begin() -> None:
            self.close(session)

            def end(result: T) -> None:
                try:
                    done(result)
                finally:
                    self.open(session)

            drive(watched(), end)

        self.add(session, begin)
