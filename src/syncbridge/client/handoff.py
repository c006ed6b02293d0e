"""Handoffs as an app holds them: offer a session to another device, take it, accept or decline one.

The source runs until `HandoffDone`; whatever goes wrong before changes nothing. An answer that a cut swallowed is
read from the log at the next join, so that waiting survives a reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from syncbridge.client.replica import Replica
from syncbridge.client.streams import Changes
from syncbridge.core.messages import (
    ClientMessage,
    ErrorMessage,
    HandoffCancel,
    HandoffConfirm,
    HandoffDecline,
    HandoffDone,
    HandoffFailed,
    HandoffOffer,
    HandoffOffered,
    HandoffPrepare,
    HandoffReady,
    HandoffTake,
)
from syncbridge.errors import (
    HandoffExpired,
    HandoffUnknown,
    HandoffWithdrawn,
    SyncBridgeError,
    Unavailable,
)

Move = asyncio.Future[HandoffDone | HandoffFailed | SyncBridgeError]


class OutgoingOffer:
    """An offer that stands. ``is_waiting``: the device is not there; the offer waits for it until ``expires_at``."""

    def __init__(self, face: HandoffFace, offered: HandoffOffered, move: Move) -> None:
        self.handoff = offered.handoff
        self.to = offered.to
        self.expires_at = offered.expires_at
        self.is_waiting = offered.waiting
        self._face = face
        self._move = move

    async def done(self) -> HandoffDone:
        """The other device runs the session. Raises HandoffExpired or HandoffWithdrawn (declined, cancelled)."""
        return _outcome(await asyncio.shield(self._move))

    def cancel(self) -> None:
        """The offer is taken back; `done` raises unless it was too late."""
        self._face.cancel(self.handoff)


class HandoffFace:
    """The handoffs of one session."""

    def __init__(self, replica: Replica, send: Callable[[ClientMessage], None], changes: Changes) -> None:
        self._replica = replica
        self._send = send
        self._changes = changes
        self._refs = 0
        self._offers: dict[str, asyncio.Future[HandoffOffered | SyncBridgeError]] = {}
        self._moves: dict[str, tuple[str, Move]] = {}
        self._takes: dict[str, Move] = {}
        self.incoming: HandoffPrepare | None = None
        self.last: HandoffDone | HandoffFailed | None = None

    # -- the source -------------------------------------------------------------------------------------------------

    async def offer(self, to: str, *, expires_ms: int | None = None) -> OutgoingOffer:
        """The device ``to`` is asked to take over; this one runs on until it does.

        Raises   DeviceUnknown, HandoffSelf, HandoffBusy, StaleOwner, SessionEnded, Unavailable (offline, or cut off
                 before the answer: it may stand; offering again then says HandoffBusy).
        """
        self._need_join()
        ref = self._ref()
        answer: asyncio.Future[HandoffOffered | SyncBridgeError] = asyncio.get_running_loop().create_future()
        self._offers[ref] = answer
        self._send(HandoffOffer(self._replica.session, to, expires_ms, ref))
        try:
            offered = await answer
        finally:
            self._offers.pop(ref, None)
        if isinstance(offered, SyncBridgeError):
            raise offered
        return OutgoingOffer(self, offered, self._move(offered.handoff, offered.to))

    def cancel(self, handoff: str) -> None:
        """The offer is withdrawn, if it still stands."""
        self._send(HandoffCancel(self._replica.session, handoff))

    # -- the target -------------------------------------------------------------------------------------------------

    async def take(self) -> HandoffDone:
        """ "Continue here": this device runs the session. Survives a reconnect: taking twice is taking once.

        Raises   SessionEnded, HandoffBusy, Unavailable (offline).
        """
        self._need_join()
        ref = self._ref()
        move: Move = asyncio.get_running_loop().create_future()
        self._takes[ref] = move
        self._send(HandoffTake(self._replica.session, ref))
        try:
            return _outcome(await move)
        finally:
            self._takes.pop(ref, None)

    async def accept(self) -> HandoffDone:
        """The session offered to this device runs here. Raises HandoffUnknown (none is), HandoffExpired, ..."""
        offered = self._offered()
        move = self._move(offered.handoff, self._replica.device)
        self._send(HandoffReady(self._replica.session, offered.handoff))
        return _outcome(await asyncio.shield(move))

    def decline(self) -> None:
        """The offer to this device is refused; the source runs on. Raises HandoffUnknown when there is none."""
        offered, self.incoming = self._offered(), None
        self._send(HandoffDecline(self._replica.session, offered.handoff))

    def watch(self) -> AsyncIterator[HandoffPrepare | None]:
        """The offer that waits for this device now (None: none), and after each change."""
        return self._changes.values(lambda: self.incoming, lambda a, b: a is b)

    # -- what the session tells -------------------------------------------------------------------------------------

    def received(self, message: HandoffOffered | HandoffPrepare | HandoffDone | HandoffFailed) -> None:
        """A message about a handoff of this session."""
        match message:
            case HandoffOffered():
                answer = self._offers.get(message.ref)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case HandoffPrepare():
                self.incoming = message
            case HandoffDone() | HandoffFailed():
                self._ended(message)

    def _ended(self, message: HandoffDone | HandoffFailed) -> None:
        self.last = message
        if self.incoming is not None and self.incoming.handoff == message.handoff:
            self.incoming = None
        _, move = self._moves.pop(message.handoff, ("", None))
        _settle(move, message)
        if isinstance(message, HandoffDone) and message.active == self._replica.device:
            for take in self._takes.values():
                _settle(take, message)
            self._send(HandoffConfirm(self._replica.session, message.handoff))

    def refused(self, message: ErrorMessage, fault: SyncBridgeError) -> None:
        """The server refused a request about a handoff."""
        if message.ref in self._offers:
            answer = self._offers[message.ref]
            if not answer.done():
                answer.set_result(fault)
        elif message.ref in self._takes:
            _settle(self._takes[message.ref], fault)
        elif message.about == "handoff.ready" and self.incoming is not None:
            _, move = self._moves.pop(self.incoming.handoff, ("", None))
            self.incoming = None
            _settle(move, fault)

    def disconnected(self) -> None:
        """Offers without an answer may or may not stand; everything else waits for the next join."""
        for answer in self._offers.values():
            if not answer.done():
                answer.set_result(Unavailable("the connection was lost before the offer was answered"))

    def joined(self) -> None:
        """What a cut swallowed is in the log: who is active, and which offer waits."""
        replica = self._replica
        waiting = None if replica.offer is None else replica.offer.handoff
        for handoff, (target, move) in list(self._moves.items()):
            if handoff == waiting:
                if target == replica.device:
                    self._send(HandoffReady(replica.session, handoff))
                continue
            del self._moves[handoff]
            if replica.active == target:
                version = 0 if replica.position is None else replica.position.version
                _settle(move, HandoffDone(replica.session, handoff, replica.fence, target, version))
            else:
                _settle(move, HandoffWithdrawn())
        if self.incoming is not None and self.incoming.handoff != waiting:
            self.incoming = None
        for ref in self._takes:
            self._send(HandoffTake(replica.session, ref))

    def close(self, fault: SyncBridgeError) -> None:
        """Whoever waits gets ``fault``."""
        for answer in self._offers.values():
            if not answer.done():
                answer.set_result(fault)
        for move in (*self._takes.values(), *(move for _, move in self._moves.values())):
            _settle(move, fault)

    # -- small things -----------------------------------------------------------------------------------------------

    def _need_join(self) -> None:
        if not self._replica.is_joined:
            raise Unavailable("a handoff needs a connection; this device is offline")

    def _offered(self) -> HandoffPrepare:
        if self.incoming is None:
            raise HandoffUnknown("no offer waits for this device")
        return self.incoming

    def _move(self, handoff: str, target: str) -> Move:
        if handoff in self._moves:
            return self._moves[handoff][1]
        move: Move = asyncio.get_running_loop().create_future()
        if self.last is not None and self.last.handoff == handoff:
            move.set_result(self.last)  # its end came in the same breath as its beginning
        else:
            self._moves[handoff] = (target, move)
        return move

    def _ref(self) -> str:
        self._refs += 1
        return f"h{self._refs}"


def _settle(move: Move | None, outcome: HandoffDone | HandoffFailed | SyncBridgeError) -> None:
    if move is not None and not move.done():
        move.set_result(outcome)


def _outcome(outcome: HandoffDone | HandoffFailed | SyncBridgeError) -> HandoffDone:
    if isinstance(outcome, HandoffDone):
        return outcome
    if isinstance(outcome, SyncBridgeError):
        raise outcome
    if outcome.reason == "expired":
        raise HandoffExpired
    raise HandoffWithdrawn(f"the handoff was {outcome.reason}")
