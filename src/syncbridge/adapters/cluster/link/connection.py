"""One connection to a Redis server: batches of calls go out, answers come in, in order.

Nothing here waits: a batch is one write, and an answer is matched by its place. An asyncio task or future for each
call would cost more than the call.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Container
from typing import Final, Protocol, cast

from hiredis import ProtocolError, PushNotification, Reader, ReplyError

from syncbridge.adapters.cluster.link.calls import Batch, Call, packed
from syncbridge.adapters.cluster.link.replies import Answer, Failure, Verdict, judge
from syncbridge.adapters.cluster.link.rules import Figures

NOT_YET: Final = object()


class Owner(Protocol):
    """Whoever sends calls over a connection; told in the loop's thread."""

    def settled(self, call: Call) -> None:
        """A call of a watched slot was carried out, or may have been, or was refused for good."""
        ...

    def postponed(self, call: Call, verdict: Verdict, text: str) -> None:
        """It had no effect, and may go out again: the server said so, or it only reads and lost its connection."""
        ...

    def relieved(self, batch: Batch) -> None:
        """The batch is over: its calls are answered, or handed back."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is over, and so is every batch of it."""
        ...


class Connection(asyncio.Protocol):
    """One TCP connection's life.

    Order    answers are told in the order in which their calls were sent, as far as they are answers.
    Unknown  a write that was sent and not answered when the connection ends is answered `unknown`, never repeated.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        *,
        figures: Figures,
        watched: Container[int] = (),
        wait_ms: int,
        on_push: Callable[[list[bytes]], None] | None = None,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self.figures = figures
        self._watched = watched
        self._wait_ms = wait_ms
        self._on_push = on_push
        self._reader = Reader(notEnoughData=NOT_YET)
        self._batches: deque[Batch] = deque()
        self._transport: asyncio.Transport | None = None
        self.waits = 0
        """Batches whose WAIT is not answered yet: the server does nothing else on this connection meanwhile."""
        self.fault = ""
        """Why it ended, where that is known."""

    # -- going out ------------------------------------------------------------------------------------------------

    def send(self, batch: Batch) -> None:
        """The batch is on its way, in one write."""
        assert self._transport is not None
        parts = [call.packed for call in batch.calls]
        if batch.replicas:
            batch.held = []
            self.waits += 1
            parts.append(packed((b"WAIT", b"%d" % batch.replicas, b"%d" % self._wait_ms)))
        self._batches.append(batch)
        self._transport.write(b"".join(parts))

    def sent_at(self) -> float | None:
        """When the oldest batch was sent that is not over; None where nothing is awaited."""
        return self._batches[0].sent_at if self._batches else None

    def in_flight(self, slot: int) -> int:
        """Calls of the slot that were sent and have no answer yet. Cost: of all that is on its way."""
        return sum(call.slot == slot for batch in self._batches for call in batch.calls[batch.answered :])

    def sent_slots(self) -> Counter[int]:
        """How many such calls there are of each slot. Cost: of all that is on its way."""
        return Counter(call.slot for batch in self._batches for call in batch.calls[batch.answered :])

    def abort(self, fault: str) -> None:
        """It ends now, without sending what is buffered."""
        self.fault = self.fault or fault
        if self._transport is not None:
            self._transport.abort()

    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # -- coming in ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Every answer that is whole now is told."""
        reader, batches = self._reader, self._batches
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not NOT_YET:
                if type(answer) is PushNotification:
                    self._pushed(answer)
                elif not batches:
                    return self.abort(f"it said what nobody asked: {str(answer)[:60]}")
                else:
                    self._take(batches[0], answer)
        except ProtocolError as error:
            self.abort(f"no Redis protocol: {error}")

    def _pushed(self, push: list[bytes]) -> None:
        # A subscription is confirmed by a push alone, in the place where its answer would stand.
        if self._batches and self._batches[0].calls[0].confirmed_by == tuple(push[:2]):
            self._take(self._batches[0], push[1])
        elif self._on_push is not None:
            try:
                self._on_push(push)
            except Exception as error:  # noqa: BLE001  as for an answer
                self._fail("a Redis channel's listener failed", error)

    def _take(self, batch: Batch, answer: object) -> None:
        calls = batch.calls
        place = batch.answered
        if place == len(calls):
            return self._waited(batch, answer)
        batch.answered = place + 1
        call = calls[place]
        if type(answer) is ReplyError:
            text = str(answer)
            verdict = judge(text)
            if verdict is not Verdict.REFUSED and verdict is not Verdict.AWAY:
                self._owner.postponed(call, verdict, text)
                if batch.answered == len(calls) and not batch.replicas:
                    self._end(batch)
                return None
            answer = self.figures.failed("refused" if verdict is Verdict.REFUSED else "unavailable", text)
        if call.slot in self._watched:
            self._owner.settled(call)
        if batch.replicas:
            batch.held.append((call, answer))  # type: ignore[arg-type]
            return None
        if batch.answered == len(calls):
            self._end(batch)
        self._tell(call, answer)  # type: ignore[arg-type]
        return None

    def _waited(self, batch: Batch, answer: object) -> None:
        self.waits -= 1
        self._end(batch)
        if isinstance(answer, int) and answer >= batch.replicas:
            for call, held in batch.held:
                self._tell(call, held)
            return
        have = answer if isinstance(answer, int) else str(answer)
        self.figures.short_waits += 1
        text = f"not on {batch.replicas} replica within {self._wait_ms} ms (WAIT: {have})"
        for call, held in batch.held:
            is_sure = isinstance(held, Failure) or not call.is_write
            self._tell(call, held if is_sure else self.figures.failed("unknown", text))

    def _end(self, batch: Batch) -> None:
        self._batches.popleft()
        self._owner.relieved(batch)

    def _tell(self, call: Call, answer: Answer) -> None:
        try:
            call.done(answer)
        except Exception as error:  # noqa: BLE001  one caller's fault must not cost the others their answers
            self._fail("a Redis answer's receiver failed", error)

    def _fail(self, message: str, error: Exception) -> None:
        self._loop.call_exception_handler({"message": message, "exception": error})

    def connection_lost(self, exc: Exception | None) -> None:
        """Every call that it carried is answered or handed back, in order."""
        self.fault = self.fault or (str(exc) if exc is not None else "the server closed it")
        self.waits = 0
        batches = list(self._batches)
        self._batches.clear()
        for batch in batches:
            for call, held in batch.held:
                self._give_up(call, held)
            for call in batch.calls[batch.answered :]:
                self._give_up(call, None)
            self._owner.relieved(batch)
        self._owner.lost(self)

    def _give_up(self, call: Call, held: Answer) -> None:
        if isinstance(held, Failure):
            self._tell(call, held)
        elif call.is_write:
            if call.slot in self._watched:
                self._owner.settled(call)
            self._tell(call, self.figures.failed("unknown", f"the connection was lost: {self.fault}"))
        else:
            self._owner.postponed(call, Verdict.LATER, f"the connection was lost: {self.fault}")
