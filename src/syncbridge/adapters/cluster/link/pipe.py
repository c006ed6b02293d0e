"""Calls to one server in one order, over one connection at a time.

What is put within a turn of the loop goes out as one write, at `Pipe.flush` or with the next turn. At the level
`replicated` each such write that changes anything ends with a WAIT, and its answers are told when the replicas have it.
A server does nothing else on that connection while it waits; so at most `WAITS_MAX` writes are on their way, and what
comes meanwhile joins the next one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container
from typing import Protocol

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Batch, Call, nobody, packed
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.dialling import Dialler, ServerState
from syncbridge.adapters.cluster.link.line import Line
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


class Pipe(Line):
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
        super().__init__(str(address), address, dialler, rules=rules, figures=figures)
        self._router = router
        self._watched = watched
        self._scripts = scripts
        self._replicas_wanted = replicas_wanted
        self._loaded: set[bytes] = set()
        self._unsent: list[Call] = []
        self._has_write = False
        self._is_scheduled = False
        self._calls_room = rules.calls_max
        self._bytes_room = rules.call_bytes_max

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
            self._loop.call_soon(self.flush)
        return True

    def flush(self) -> None:
        """What was put is sent, where there is a connection that takes it now; else it is sent when there is."""
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

    # -- the connection -------------------------------------------------------------------------------------------

    def log_in(self) -> None:
        """The connection says the credentials that are in force now; what is under way goes on."""
        if self._connection is not None and (words := self._dialler.login()):
            self._unsent.insert(0, Call(-1, packed(words), self._dialler.logged_in, False, self._loop.time()))
            self._calls_room -= 1
            self._bytes_room -= len(self._unsent[0].packed)
            self._loop.call_soon(self.flush)

    def expire(self, now: float) -> None:
        """Calls that waited too long for a connection are answered `unavailable`."""
        oldest = now - self._rules.retry_ms / 1000
        if self._unsent and self._unsent[0].asked_at < oldest:
            reason = self.fault or ("too few replicas answer" if self.is_ready else "not connected")
            self._drop(lambda call: call.asked_at < oldest, f"{self.address} took no call in time: {reason}")

    def close(self) -> asyncio.Task[None] | None:
        """No connection once this task is over, and no call waits: what was sent is answered `unknown`."""
        task = super().close()
        self._drop(lambda _: True, "closed")
        return task

    def _drop(self, is_leaving: Callable[[Call], bool], reason: str) -> None:
        for call in self.take_back(is_leaving):
            if call.slot in self._watched:
                self._router.dropped(call)
            call.done(self._figures.failed("unavailable", reason))

    def _make_connection(self) -> Connection:
        wait_ms = self._rules.wait_ms
        return Connection(self, self._loop, figures=Figures(), watched=self._watched, wait_ms=wait_ms)

    async def _greet(self, connection: Connection) -> ServerState:
        known = list(self._scripts.values())
        state = await self._dialler.dial(self.address, connection, sources=[script.source for script in known])
        self._loaded = {script.sha for script in known}
        return state

    def _begun(self, state: ServerState) -> None:
        self._router.connected(self, state)
        self.flush()

    def _ended(self) -> None:
        self._router.disconnected(self)

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
            self._loop.call_soon(self.flush)
