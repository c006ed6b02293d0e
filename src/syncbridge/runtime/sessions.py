"""One session in memory: its machine, its timers, its encoder, and the last events it got."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from syncbridge.core.events import AnyEvent
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.core.session import SessionMachine
from syncbridge.runtime.fanout import Fanout
from syncbridge.runtime.timers import Timers

if TYPE_CHECKING:
    from syncbridge.runtime.engine import Engine

RECENT_EVENTS_MAX = 32
_TOLD = ("connection", "device", "txn", "request", "name", "code")
"""What a log line may say of an event: ids and names, never content."""


class LiveSession:
    """A loaded, or loading, session of this node. A dropped one is never called again."""

    __slots__ = ("account", "fanout", "is_followed", "machine", "recent", "session", "timers")

    def __init__(self, session: SessionId, engine: Engine, fire: Callable[[LiveSession, str], None]) -> None:
        self.session = session
        self.account = AccountId("")
        self.is_followed = False
        self.machine = SessionMachine(
            session, engine.limits, engine.new_id, engine.types, is_shared=engine.store.is_shared
        )
        self.fanout = Fanout(session)
        self.timers = Timers(engine.clock, engine.call_at, partial(fire, self))
        self.recent: deque[tuple[int, type[AnyEvent]]] = deque(maxlen=RECENT_EVENTS_MAX)

    def history(self) -> list[str]:
        """The last events, oldest first, as ``time type``: what they held is not kept."""
        return [f"{at} {kind.__name__}" for at, kind in self.recent]


def told(event: AnyEvent) -> str:
    """The event's type and ids, without anything a person wrote."""
    parts = [type(event).__name__]
    parts += [f"{name}={value}" for name in _TOLD if isinstance(value := getattr(event, name, None), str) and value]
    message = getattr(event, "message", None)
    for name in ("seq", "base", "position", "handoff"):
        value = getattr(message, name, None)
        if isinstance(value, int | str):
            parts.append(f"{name}={value}")
    return " ".join(parts)


def where(error: BaseException) -> str:
    """The error's type and stack. Not its text: that may quote what a person wrote."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
