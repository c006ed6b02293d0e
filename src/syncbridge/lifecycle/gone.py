"""Telling everybody who remembers a session that it is gone."""

from __future__ import annotations

from collections.abc import Callable

from syncbridge.core.ids import SessionId
from syncbridge.ports import SessionService


class Gone:
    """The one place where it is said that a session is no more: to its devices, and to whatever keeps it in memory."""

    def __init__(self, service: SessionService) -> None:
        self._service = service
        self._listeners: list[Callable[[SessionId], None]] = []

    def follow(self, listener: Callable[[SessionId], None]) -> None:
        """The listener is told each session that is gone from now on."""
        self._listeners.append(listener)

    def tell(self, session: SessionId, reason: str) -> None:
        """Devices that follow it are told that they do not any more, and why; nothing in memory answers for it."""
        self._service.gone(session, reason)
        for listener in self._listeners:
            listener(session)
