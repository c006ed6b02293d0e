"""Publishing at the rate of a drain: many events a write, and of each event its own confirm.

The library writes one event at a time, each in a system call of its own after a dozen turns of the loop, which costs
four times what the event itself does. Here a write carries what was told since the one before. Connection, log-in,
heartbeats and confirms stay the library's: a delivery tag is registered with its channel as its own would be.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import aiormq
import pamqp.frame
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import ChannelAccessRefused, DeliveryError, PublishError
from pamqp.body import ContentBody
from pamqp.commands import Basic

from syncbridge.adapters.cluster.events.framing import header_frame
from syncbridge.core.facts import Fact
from syncbridge.ports import NotTold

WRITE_MAX: Final = 8
"""Events of one write: a third of a millisecond, in which a session's frame waits for them."""
PAUSE_S: Final = 0.001
"""The loop is the sessions' so long after a full write: 6,000 events a second are more than a broker's core takes."""
_CHECKS_A_PATIENCE: Final = 10

Encode = Callable[[Fact], bytes]


@dataclass(slots=True, eq=False)
class _Told:
    """One event on its way: where it goes, since when it waits or is sent, and the broker's word of it."""

    exchange: str
    fact: Fact
    since: float
    word: asyncio.Future[object]


class Publisher:
    """Events over one channel with confirms, in the order in which they are told.

    Bounded   what is told is as much as its callers let be under way; a write has at most `WRITE_MAX` of it.
    First     one event goes alone until it is confirmed: a broker that is short of memory or disk says so only to who
              publishes, and what it was sent by then it gets twice.
    Blocked   nothing is sent while the broker says so, and the connection stays: what was sent before counts then.
    Late      what has no word within ``patience_s`` (and a tenth of it) is not told, with all that is behind it: from
              when it was sent, for a broker that was blocked so long gets as long again.
    """

    def __init__(
        self, channel: aiormq.Channel, connection: AbstractConnection, encode: Encode, *, patience_s: float
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._encode = encode
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._told: deque[_Told] = deque()
        """What has no word yet, oldest first; some behind the first may have one."""
        self._unsent: deque[_Told] = deque()
        self._has_unsent = asyncio.Event()
        self._is_proved = False
        self.is_open = True
        channel.closing.add_done_callback(self._on_closed)
        self._tasks = [asyncio.ensure_future(self._send_all()), asyncio.ensure_future(self._watch())]
        for task in self._tasks:
            task.add_done_callback(self._on_ended)

    async def publish(self, exchange: str, fact: Fact) -> None:
        """The broker has it. Raises NotTold."""
        if not self.is_open:
            raise NotTold("away", "not connected")
        while self._told and self._told[0].word.done():
            self._told.popleft()
        told = _Told(exchange, fact, self._loop.time(), self._loop.create_future())
        self._told.append(told)
        self._unsent.append(told)
        self._has_unsent.set()
        try:
            await told.word
        except PublishError as error:
            raise NotTold("returned", f"no queue takes {fact.type}") from error
        except DeliveryError as error:
            raise NotTold("nacked") from error
        finally:
            self._channel.message_id_delivery_tag.pop(fact.id, None)

    async def close(self) -> None:
        """Nothing is sent any more, and what has no word has none to expect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._give_up(NotTold("away", "closed"))

    # -- sending --------------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        while True:
            await self._has_unsent.wait()
            await self._connection.ready()
            sent = await self._send(WRITE_MAX if self._is_proved else 1)
            if not self._unsent:
                self._has_unsent.clear()
            if not self._is_proved:
                self._is_proved = bool(sent) and await _has_word(sent[0])
            elif len(sent) == WRITE_MAX:
                await asyncio.sleep(PAUSE_S)

    async def _send(self, count_max: int) -> list[_Told]:
        """The oldest unsent ones, but those that nobody waits for any more, are in the socket's hands."""
        sent: list[_Told] = []
        payload: list[bytes] = []
        now = self._loop.time()
        while self._unsent and len(sent) < count_max:
            told = self._unsent.popleft()
            if told.word.done():
                continue
            try:
                frames = self._frames(told)
            except Exception as error:  # noqa: BLE001 - one event that is not to be written must not end all others
                told.word.set_exception(NotTold("unfit", f"{told.fact.type}: {type(error).__name__}"))
                continue
            payload += frames
            self._channel.delivery_tag += 1
            self._channel.confirmations[self._channel.delivery_tag] = told.word
            self._channel.message_id_delivery_tag[told.fact.id] = self._channel.delivery_tag
            told.since = now
            sent.append(told)
        if sent:
            is_written = self._loop.create_future()
            frame = ChannelFrame(payload=b"".join(payload), should_close=False, drain_future=is_written)
            await self._channel.write_queue.put(frame)
            await is_written
        return sent

    def _frames(self, told: _Told) -> list[bytes]:
        fact, channel = told.fact, self._channel.number
        body = self._encode(fact)
        step = self._channel.max_content_size
        return [
            _publish_frame(told.exchange, fact.type, channel),
            header_frame(fact.type, fact.id, fact.at, len(body), channel),
            *(pamqp.frame.marshal(ContentBody(body[at : at + step]), channel) for at in range(0, len(body), step)),
        ]

    # -- what comes of it -----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Whoever waits for a word that does not come is told so."""
        while True:
            await asyncio.sleep(self._patience_s / _CHECKS_A_PATIENCE)
            while self._told and self._told[0].word.done():
                self._told.popleft()
            if self._told and self._loop.time() - self._told[0].since > self._patience_s:
                if await self._is_blocked():
                    self._refuse(NotTold("blocked", "the broker is short of memory or disk"))
                else:
                    self._give_up(NotTold("timeout"))

    async def _is_blocked(self) -> bool:
        try:
            async with asyncio.timeout(0):
                await self._connection.ready()
        except TimeoutError:
            return True
        return False

    def _on_closed(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        if isinstance(error, ChannelAccessRefused):
            self._give_up(NotTold("refused", "the user may not write to the exchange"))
        else:
            self._give_up(NotTold("away", type(error).__name__))

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._give_up(NotTold("away", type(error).__name__))

    def _give_up(self, failure: NotTold) -> None:
        """What was told over this channel is not known any more: it is not used again."""
        self.is_open = False
        self._refuse(failure)

    def _refuse(self, failure: NotTold) -> None:
        """Nothing that has no word yet is told; what was not sent is not sent."""
        told, self._told = self._told, deque()
        self._unsent.clear()
        self._has_unsent.clear()
        for one in told:
            if not one.word.done():
                one.word.set_exception(NotTold(failure.reason, failure.detail))


async def _has_word(told: _Told) -> bool:
    """Whether the broker said something of it, be it that it does not take it."""
    await asyncio.wait([told.word])
    return not told.word.cancelled() and not isinstance(told.word.exception(), NotTold)


@lru_cache(maxsize=256)
def _publish_frame(exchange: str, routing_key: str, channel: int) -> bytes:
    """The same for every event of a type."""
    return pamqp.frame.marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel)
