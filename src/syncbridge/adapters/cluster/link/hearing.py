"""The connection to a server over which news come, and over which it is asked about itself.

It speaks RESP3: there news (pushes) and answers share a connection. Calls for keys have pipes of their own, which wait
for replicas; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Batch, Call, Done, nobody, packed
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.dialling import Dialler, ServerState
from syncbridge.adapters.cluster.link.line import Line
from syncbridge.adapters.cluster.link.replies import Answer, Failure, Verdict
from syncbridge.adapters.cluster.link.rules import Figures, Rules


class Listener(Protocol):
    """Whoever wants the news; see `subscriptions`."""

    def heard(self, channel: bytes, payload: bytes) -> None: ...
    def came(self, hearing: Hearing) -> None: ...
    def went(self, hearing: Hearing) -> None: ...
    def confirmed(self, hearing: Hearing, channel: bytes) -> None: ...
    def refused(self, hearing: Hearing, channel: bytes, text: str) -> None: ...
    def dismissed(self, hearing: Hearing, channel: bytes) -> None: ...


class Hearing(Line):
    """One connection for news and questions, as long as there can be one.

    Lost      news of the time without a connection are gone: whoever subscribed is told of each new beginning.
    """

    def __init__(
        self,
        address: Address,
        dialler: Dialler,
        listener: Listener,
        told_state: Callable[[ServerState], None],
        *,
        rules: Rules,
        figures: Figures,
    ) -> None:
        super().__init__(f"{address} news", address, dialler, rules=rules, figures=figures)
        self._listener = listener
        self._told_state = told_state

    def ask(self, words: Sequence[bytes], done: Done) -> None:
        """The server is asked; `unavailable` where there is no connection."""
        if self._connection is None:
            done(self._figures.failed("unavailable", f"{self.address}: {self._keeper.fault or 'not connected'}"))
            return
        self._send(Call(-1, packed(words), done, False, self._loop.time()))

    def publish(self, channel: bytes, frame: bytes) -> None:
        """The frame is on its way to those who hear the channel, or lost."""
        if self._connection is not None:
            self._send(Call(-1, packed((b"SPUBLISH", channel, frame)), nobody, False, self._loop.time()))

    def subscribe(self, channel: bytes) -> None:
        """The channel's news come from here, once the listener is told that it is confirmed."""

        def done(answer: Answer) -> None:
            if isinstance(answer, Failure):
                self._listener.refused(self, channel, answer.text)
            else:
                self._listener.confirmed(self, channel)

        self._send(
            Call(-1, packed((b"SSUBSCRIBE", channel)), done, False, self._loop.time(), None, (b"ssubscribe", channel))
        )

    def unsubscribe(self, channel: bytes) -> None:
        """They come no more."""
        command = packed((b"SUNSUBSCRIBE", channel))
        self._send(Call(-1, command, nobody, False, self._loop.time(), None, (b"sunsubscribe", channel)))

    def log_in(self) -> None:
        """The connection says the credentials that are in force now."""
        if words := self._dialler.login():
            self.ask(words, self._dialler.logged_in)

    def _send(self, call: Call) -> None:
        if self._connection is not None:
            self._connection.send(Batch([call], len(call.packed), call.asked_at))

    def _make_connection(self) -> Connection:
        return Connection(self, self._loop, figures=Figures(), wait_ms=self._rules.wait_ms, on_push=self._pushed)

    async def _greet(self, connection: Connection) -> ServerState:
        return await self._dialler.dial(self.address, connection, protocol=3)

    def _begun(self, state: ServerState) -> None:
        self._told_state(state)
        self._listener.came(self)

    def _ended(self) -> None:
        self._listener.went(self)

    def _pushed(self, push: list[bytes]) -> None:
        kind = push[0]
        if kind == b"smessage":
            self._listener.heard(push[1], push[2])
        elif kind == b"sunsubscribe":
            self._listener.dismissed(self, push[1])

    # -- told by the connection -----------------------------------------------------------------------------------

    def settled(self, call: Call) -> None:
        """No slot is watched here."""

    def postponed(self, call: Call, _verdict: Verdict, text: str) -> None:
        """Whoever asked is told: another server may be the one to ask."""
        call.done(self._figures.failed("unavailable", text))

    def relieved(self, batch: Batch) -> None:
        """Nothing is counted here."""
