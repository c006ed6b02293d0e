"""Calls to one server in one order, over one connection at a time.

What is put within a turn of the loop goes out as one write. At the level `replicated` each such write that changes
anything ends with a WAIT, and its answers are told when the replicas have it. A server does nothing else on that
connection while it waits; so at most `WAITS_MAX` writes are on their way, and what comes meanwhile joins the next one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container
from typing import Protocol

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Batch, Call, nobody, packed
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.dialling import CannotConnect, Dialler, ServerState
from syncbridge.adapters.cluster.link.keeping import Keeper
from syncbridge.adapters.cluster.link.replies import Verdict
from syncbridge.adapters.cluster.link.rules import WAITS_MAX, Figures, Rules
from syncbridge.adapters.cluster.link.script import Script


class Router(Protocol):
    """Whoever knows where the calls of a slot go; see `routing`."""

    def settled(self, call: Call) -> None: ...
    def postponed(self, pipe: Pipe, call: Call, verdict: Verdict, text: str) -> None: ...
    def dropped(self, call: Call) -> None: ...
    def connected(self, pipe: Pipe, state: ServerState) -> None: ...
    def disconnected(self, pipe: Pipe) -> None: ...


class Pipe:
    """One ordered way to one server.

    Bounded   what is over the bounds is answered `unavailable` at once.
    Order     calls go out as they were put; after a loss those that were not sent wait for the next connection.
    """

    def __init__(
        self,
        address: Address,
        dialler: Dialler,
        router: Router,
        *,
        watched: Container[int],
        scripts: dict[bytes, Script],
        replicas_wanted: Callable[[], int],
        rules: Rules,
        figures: Figures,
    ) -> None:
        self.address = address
        self._dialler = dialler
        self._router = router
        self._watched = watched
        self._scripts = scripts
        self._replicas_wanted = replicas_wanted
        self._rules = rules
        self._figures = figures
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._next: Connection | None = None
        self._loaded: set[bytes] = set()
        self._unsent: list[Call] = []
        self._has_write = False
        self._is_scheduled = False
        self._calls_room = rules.calls_max
        self._bytes_room = rules.call_bytes_max
        self._came_at = 0
        self._keeper = Keeper(str(address), self._dial, self._came)
        self._keeper.start()

    # -- calls ----------------------------------------------------------------------------------------------------

    def put(self, call: Call) -> bool:
        """The call goes out with this turn's write, or as soon as there is a connection.

        False where there is no room: it was answered `unavailable`.
        """
        if self._calls_room <= 0 or self._bytes_room <= 0:
            call.done(self._figures.failed("unavailable", f"too many calls to {self.address} are unanswered"))
            return False
        self._calls_room -= 1
        self._bytes_room -= len(call.packed)
        script = call.script
        if script is not None and script.sha not in self._loaded:
            self._load(script)
        self._unsent.append(call)
        if call.is_write:
            self._has_write = True
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return True

    def forget(self, script: Script) -> None:
        """The server does not know the script (any more): it is told before the next call of it."""
        self._loaded.discard(script.sha)

    def take_back(self, is_leaving: Callable[[Call], bool]) -> list[Call]:
        """Those of the calls that were not sent, in order; they are this pipe's no more."""
        leaving = [call for call in self._unsent if is_leaving(call)]
        if leaving:
            self._unsent = [call for call in self._unsent if not is_leaving(call)]
            self._calls_room += len(leaving)
            self._bytes_room += sum(len(call.packed) for call in leaving)
        return leaving

    def in_flight(self, slot: int) -> int:
        """Calls of the slot that were sent and are not answered."""
        return self._connection.in_flight(slot) if self._connection is not None else 0

    def sent_slots(self) -> Counter[int]:
        """How many calls of each slot were sent and are not answered. Cost: of all that is on its way."""
        return self._connection.sent_slots() if self._connection is not None else Counter()

    def _load(self, script: Script) -> None:
        self._loaded.add(script.sha)
        self._scripts[script.sha] = script
        command = packed((b"SCRIPT", b"LOAD", script.source))
        self._calls_room -= 1
        self._bytes_room -= len(command)
        self._unsent.append(Call(-1, command, nobody, False, self._loop.time()))

    def _flush(self) -> None:
        self._is_scheduled = False
        connection = self._connection
        if connection is None or not self._unsent or connection.waits >= WAITS_MAX:
            return  # it goes with the next connection, or when a WAIT is answered
        calls, self._unsent = self._unsent, []
        replicas = self._replicas_wanted() if self._has_write else 0
        self._has_write = False
        figures = self._figures
        figures.calls += len(calls)
        figures.writes += 1
        connection.send(Batch(calls, sum([len(call.packed) for call in calls]), self._loop.time(), replicas))

    # -- the connection -------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether calls go out now."""
        return self._connection is not None

    @property
    def fault(self) -> str:
        """Why there is no connection; "" where none failed."""
        return self._keeper.fault

    def log_in(self) -> None:
        """The connection says the credentials that are in force now; what is under way goes on."""
        if self._connection is not None and (words := self._dialler.login()):
            self._unsent.insert(0, Call(-1, packed(words), self._dialler.logged_in, False, self._loop.time()))
            self._calls_room -= 1
            self._bytes_room -= len(self._unsent[0].packed)
            self._loop.call_soon(self._flush)

    def look(self, now: float) -> None:
        """A connection that answers nothing is given up; to be called every now and then."""
        if self._connection is None:
            return
        sent_at = self._connection.sent_at()
        if sent_at is not None and now - sent_at > self._rules.frozen_ms / 1000:
            self._figures.timeouts += 1
            self._connection.abort(f"no answer within {self._rules.frozen_ms} ms")

    def expire(self, now: float) -> None:
        """Calls that waited too long for a connection are answered `unavailable`."""
        oldest = now - self._rules.retry_ms / 1000
        if self._unsent and self._unsent[0].asked_at < oldest:
            reason = self.fault or ("too few replicas answer" if self.is_ready else "not connected")
            self._drop(lambda call: call.asked_at < oldest, f"{self.address} took no call in time: {reason}")

    def close(self) -> asyncio.Task[None] | None:
        """No connection once this task is over, and no call waits: what was sent is answered `unknown`."""
        task = self._keeper.stop()
        for connection in (self._connection, self._next):
            if connection is not None:
                connection.abort("closed")
        self._drop(lambda _: True, "closed")
        return task

    def _drop(self, is_leaving: Callable[[Call], bool], reason: str) -> None:
        for call in self.take_back(is_leaving):
            if call.slot in self._watched:
                self._router.dropped(call)
            call.done(self._figures.failed("unavailable", reason))

    async def _dial(self) -> tuple[Connection, ServerState]:
        rules = self._rules
        connection = Connection(self, self._loop, figures=Figures(), watched=self._watched, wait_ms=rules.wait_ms)
        self._next = connection
        known = list(self._scripts.values())
        state = await self._dialler.dial(self.address, connection, sources=[script.source for script in known])
        if not connection.is_open():
            raise CannotConnect(f"{self.address}: {connection.fault}")
        self._loaded = {script.sha for script in known}
        return connection, state

    def _came(self, live: tuple[Connection, ServerState]) -> None:
        self._connection, state = live
        self._connection.figures = self._figures  # what became of the greeting does not count
        self._next = None
        if self._came_at:
            self._figures.reconnects += 1
        self._came_at += 1
        self._router.connected(self, state)
        self._flush()

    # -- told by the connection -----------------------------------------------------------------------------------

    def settled(self, call: Call) -> None:
        self._router.settled(call)

    def postponed(self, call: Call, verdict: Verdict, text: str) -> None:
        if call.slot < 0:  # about this server: nobody else can answer it
            call.done(self._figures.failed("unavailable", text))
        else:
            self._router.postponed(self, call, verdict, text)

    def relieved(self, batch: Batch) -> None:
        if self._connection is None:
            return  # the greeting's: it took no room
        self._calls_room += len(batch.calls)
        self._bytes_room += batch.size_bytes
        if self._unsent and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def lost(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self._router.disconnected(self)
            self._keeper.lost()
