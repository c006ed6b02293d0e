"""What the layers above see of one socket: a protocol to implement, and who asked for the connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from syncbridge.net.outlet import Outlet


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The accepted request behind a socket. Its strings are bounded and safe to log.

    `client_address` is the peer's, or what a trusted proxy says; `origin` is set for browsers only.
    """

    client_address: str
    is_tls: bool
    subprotocol: str | None
    origin: str | None
    user_agent: str


class SocketHandler(Protocol):
    """One device connection, seen from above.

    Ordering  `on_open` first, `on_close` last and exactly once; nothing after it.
    Blocking  every call is made in the loop's thread and must return at once.
    Errors    an exception out of a handler is our own fault: it is logged and the socket closed with 1011.
    """

    def on_open(self, outlet: Outlet) -> None:
        """The socket is open; `outlet` is its send side until `on_close`."""

    def on_text(self, frame: bytes) -> None:
        """One whole message: valid UTF-8, at most `message_bytes_max`, and a copy that may be kept."""

    def on_heard(self) -> None:
        """A ping or a pong came: the device is there, though it says nothing."""

    def on_drained(self) -> None:
        """The outlet was over its budget and is below its low-water mark again: the time for a catch-up."""

    def on_close(self, code: int | None, reason: str) -> None:
        """The connection is gone. `code` is what closed it, None when it broke; `reason` is a fixed sentence."""


@runtime_checkable
class BinaryHandler(SocketHandler, Protocol):
    """A handler that takes binary messages too; any other's socket is closed with 1003 at the first one."""

    def on_binary(self, frame: bytes) -> None:
        """One whole binary message, bounded as a text is, and a copy that may be kept."""


MakeHandler = Callable[[Upgrade], SocketHandler]
