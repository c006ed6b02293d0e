"""One connection to a server, as long as there can be one: what calls (`pipe`) and news (`hearing`) have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.dialling import CannotConnect, Dialler, ServerState
from syncbridge.adapters.cluster.link.keeping import Keeper
from syncbridge.adapters.cluster.link.rules import Figures, Rules


class Line(ABC):
    """Dials from the start, and again whenever the connection is lost, until `close`.

    A subclass says what a connection of its kind is (`_make_connection`, `_greet`), and what follows from its coming
    and going (`_begun`, `_ended`); it is the connection's `Owner`.
    """

    def __init__(self, name: str, address: Address, dialler: Dialler, *, rules: Rules, figures: Figures) -> None:
        self.address = address
        self._dialler = dialler
        self._rules = rules
        self._figures = figures
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._next: Connection | None = None
        self._times_come = 0
        self._keeper = Keeper(name, self._dial, self._came)
        self._keeper.start()  # it dials in a turn to come: the subclass is whole by then

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def fault(self) -> str:
        """Why there is no connection; "" where none failed."""
        return self._keeper.fault

    def look(self, now: float) -> None:
        """A connection that answers nothing is given up; to be called every now and then."""
        if self._connection is None:
            return
        sent_at = self._connection.sent_at()
        if sent_at is not None and now - sent_at > self._rules.frozen_ms / 1000:
            self._figures.timeouts += 1
            self._connection.abort(f"no answer within {self._rules.frozen_ms} ms")

    def close(self) -> asyncio.Task[None] | None:
        """No connection any more, once this task is over."""
        task = self._keeper.stop()
        for connection in (self._connection, self._next):
            if connection is not None:
                connection.abort("closed")
        return task

    def lost(self, connection: Connection) -> None:
        """Told by the connection: dial again."""
        if self._connection is connection:
            self._connection = None
            self._ended()
            self._keeper.lost()

    @abstractmethod
    def _make_connection(self) -> Connection:
        """One that is not dialled yet, with figures of its own: what becomes of the greeting does not count."""

    @abstractmethod
    async def _greet(self, connection: Connection) -> ServerState:
        """The connection is open and logged in, and knows what this line wants of it. Raises CannotConnect."""

    @abstractmethod
    def _begun(self, state: ServerState) -> None:
        """There is a connection, to a server that says this of itself."""

    @abstractmethod
    def _ended(self) -> None:
        """There is none any more."""

    async def _dial(self) -> tuple[Connection, ServerState]:
        connection = self._next = self._make_connection()
        state = await self._greet(connection)
        if not connection.is_open():
            raise CannotConnect(f"{self.address}: {connection.fault}")
        return connection, state

    def _came(self, live: tuple[Connection, ServerState]) -> None:
        self._connection, state = live
        self._connection.figures = self._figures
        self._next = None
        if self._times_come:
            self._figures.reconnects += 1
        self._times_come += 1
        self._begun(state)
