"""Who may come in: counts and caps of connections, shared by every listening socket of a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from syncbridge.net.endpoint import Endpoint
from syncbridge.net.options import ServerOptions
from syncbridge.wire.handshake import BUSY, RESTARTING, Refusal, path_of

if TYPE_CHECKING:
    from syncbridge.net.handover import SocketProtocol


ORIGINS_TOLD_MAX = 3
ORIGIN_CHARS_MAX = 100


class Newcomer(Protocol):
    """A connection whose first request has not fully arrived."""

    def turn_away(self) -> None:
        """The connection is dropped at once."""


class Connection(Protocol):
    """Any open connection, as the end of the server sees it."""

    def shutdown(self) -> None:
        """What is under way ends in its own time, then the connection."""

    def abort(self) -> None:
        """The connection is dropped at once."""

    def beat(self, now_ms: int) -> None:
        """A look at it, once in a while: whether it is still of use to somebody."""


class Door:
    """The state that all connections share, and what a metrics page reads.

    Newcomers are capped by letting the oldest go: an honest client is one for milliseconds, so the oldest is the
    likeliest to be one that only holds a place.
    """

    __slots__ = (
        "_newcomers",
        "closes",
        "connections",
        "endpoints",
        "is_draining",
        "opened_total",
        "options",
        "origins_refused",
        "refusals",
        "sockets",
    )

    def __init__(self, options: ServerOptions, endpoints: Iterable[Endpoint], connections: set[Connection]) -> None:
        self.connections = connections  # the set that uvicorn's protocols keep
        self.options = options
        self.endpoints = {endpoint.rules.path: endpoint for endpoint in endpoints}
        self.sockets: set[SocketProtocol] = set()
        self._newcomers: dict[Newcomer, None] = {}
        self.is_draining = False
        self.opened_total = 0
        self.refusals: Counter[str] = Counter()
        self.origins_refused: dict[str, None] = {}
        self.closes: Counter[int | None] = Counter()

    @property
    def newcomers_count(self) -> int:
        return len(self._newcomers)

    def endpoint_for(self, target: bytes) -> Endpoint | None:
        """Where a request's target opens sockets; None means that it is a REST resource, or its 404."""
        return self.endpoints.get(path_of(target))

    def admit(self, newcomer: Newcomer) -> None:
        """`newcomer` holds one of the places; when all are taken, the oldest loses its own."""
        self._newcomers[newcomer] = None
        if len(self._newcomers) > self.options.handshakes_max:
            oldest = next(iter(self._newcomers))
            del self._newcomers[oldest]
            self.refusals["handshakes_max"] += 1
            oldest.turn_away()

    def settle(self, newcomer: Newcomer) -> None:
        """`newcomer` is none any more: its request has arrived, or it is gone."""
        self._newcomers.pop(newcomer, None)

    def refuse_origin(self, origin: str) -> None:
        """The page's origin is told in the log, with the count of refusals: a few, and not whole where it is long."""
        if len(self.origins_refused) < ORIGINS_TOLD_MAX:
            self.origins_refused[origin[:ORIGIN_CHARS_MAX]] = None

    def has_no_room(self, connections_count: int) -> bool:
        """Whether one more connection of any kind would be too many; REST keeps places when sockets fill theirs."""
        return connections_count > self.options.connections_max + self.options.handshakes_max

    def refusal(self) -> Refusal | None:
        """Why no socket can be opened just now, whoever asks."""
        if self.is_draining:
            return RESTARTING
        if len(self.sockets) >= self.options.connections_max:
            return BUSY
        return None
