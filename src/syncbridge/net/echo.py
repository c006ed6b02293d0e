"""The echo of a test: every message comes back, text as text and binary as binary.

A suite for RFC 6455 needs a peer that says nothing of its own. This one is the real thing but for two points: it
takes binary messages, and its bounds fit messages of 16 MiB in as many fragments as there are. Frames, fragments,
control frames, the closing handshake, places and deadlines are those of every socket, by the same code. For whoever
can reach it, it is a way to make the process hold tens of MiB a socket: so it is there only when asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from syncbridge.net.handler import Upgrade
from syncbridge.net.options import ServerOptions
from syncbridge.net.outlet import Outlet

ECHO_PATH: Final = "/v1/test/echo"
_MIB: Final = 1024 * 1024


def echo_options(options: ServerOptions) -> ServerOptions:
    """`options` with the echo's address and its bounds."""
    return replace(
        options,
        ws_path=ECHO_PATH,
        message_bytes_max=16 * _MIB,
        fragments_max=_MIB,  # 16 MiB in fragments of 16 bytes
        outlet_low_bytes=_MIB,
        outlet_bytes_max=24 * _MIB,
        outlet_bytes_hard_max=48 * _MIB,
    )


class Echo:
    """A `net.handler.BinaryHandler` that sends back what it gets."""

    __slots__ = ("_outlet",)

    def __init__(self, _upgrade: Upgrade) -> None:
        self._outlet: Outlet | None = None

    def on_open(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def on_text(self, frame: bytes) -> None:
        if self._outlet is not None:
            self._outlet.send(frame)

    def on_binary(self, frame: bytes) -> None:
        if self._outlet is not None:
            self._outlet.send_binary(frame)

    def on_heard(self) -> None:
        """Nothing: a pong is no message."""

    def on_drained(self) -> None:
        """Nothing: nothing was held back."""

    def on_close(self, code: int | None, reason: str) -> None:
        self._outlet = None
