"""The send side of a connection, as the runtime sees it; `net` has the real one, a simulator its own."""

from __future__ import annotations

from typing import Protocol


class Outlet(Protocol):
    """Where one connection's frames go. Nothing here blocks or raises for what the peer does."""

    is_over_budget: bool
    """The device takes less than it is sent: entries and droppable messages are to be held back."""

    def send(self, payload: bytes) -> bool:
        """One frame is queued; False when the caller must hold entries back until `on_drained`."""

    def close(self, code: int, reason: str = "") -> None:
        """What was queued goes first, then the close; the connection ends in a bounded time."""

    def abort(self) -> None:
        """The connection ends at once."""
