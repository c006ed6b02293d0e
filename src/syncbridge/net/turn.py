"""One write a turn: what every outlet got within one turn of the loop leaves when the turn ends.

A send costs the kernel 4 to 5 microseconds and us a tenth of that, so the lever is fewer sends: several messages
for one device go out as one write, and one message for several devices is framed once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncbridge.net.frames import text_frame
from syncbridge.net.options import ServerOptions

if TYPE_CHECKING:
    from syncbridge.net.outlet import Outlet


class Turn:
    """The outlets with something to do when this turn of the loop ends; one for all sockets of a server."""

    __slots__ = ("_frame", "_outlets", "_payload", "loop", "options")

    def __init__(self, loop: asyncio.AbstractEventLoop, options: ServerOptions) -> None:
        self.loop = loop
        self.options = options
        self._outlets: list[Outlet] = []
        self._payload: bytes | None = None
        self._frame = b""

    def frame_of(self, payload: bytes) -> bytes:
        """`payload` framed; framed once however many outlets get the same object within the turn."""
        if payload is not self._payload:
            self._payload = payload
            self._frame = text_frame(payload)
        return self._frame

    def add(self, outlet: Outlet) -> None:
        """`outlet.end_turn()` is called once when this turn ends. The caller adds itself once a turn."""
        if not self._outlets:
            self.loop.call_soon(self.end)
        self._outlets.append(outlet)

    def end(self) -> None:
        """What was sent in this turn has left. The loop calls it; who knows that all was sent may do so before."""
        outlets, self._outlets = self._outlets, []
        self._payload = None
        for outlet in outlets:
            outlet.end_turn()
