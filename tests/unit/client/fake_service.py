"""A service without sockets: the client's transport seam on one side, the reference server on the other."""

from __future__ import annotations

import asyncio

import msgspec

from syncbridge.client.transport import Receiver, Transport
from syncbridge.core.messages import (
    AnyClientMessage,
    Auth,
    Clock,
    ClockMessage,
    ErrorMessage,
    Goodbye,
    HandoffConfirm,
    HandoffDone,
    HandoffOffer,
    HandoffOffered,
    HandoffTake,
    Hello,
    Join,
    Leave,
    Left,
    Push,
    ServerMessage,
    Signal,
    SignalMessage,
    TokenAccepted,
    Welcome,
    WelcomeLimits,
)
from syncbridge.errors import Unavailable
from tests.unit.client.reference_server import ReferenceServer

_decoder = msgspec.json.Decoder(AnyClientMessage)
_encode = msgspec.json.Encoder().encode

SERVER_TIME = 1_700_000_000_000


class FakeTransport:
    """One connection; answers are delivered in the loop's next turn, as a socket would."""

    def __init__(self, service: FakeService, receiver: Receiver) -> None:
        self.service = service
        self.receiver = receiver
        self.device = ""
        self.is_open = True
        self.heard: list[AnyClientMessage] = []

    def send(self, data: bytes) -> None:
        if self.is_open:
            message = _decoder.decode(data)
            self.heard.append(message)
            if not self.service.is_deaf:
                self.service.handle(self, message)

    def say(self, message: ServerMessage) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, _encode(message))

    def say_raw(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if self.is_open:
            self.receiver.received(data)

    def close(self, code: int = 1000) -> None:
        self.end(None)

    def end(self, code: int | None) -> None:
        """The line breaks, or is closed by the server with ``code``."""
        if self.is_open:
            self.is_open = False
            self.service.server.disconnect(self.device)
            if self in self.service.lines:
                self.service.lines.remove(self)
            asyncio.get_running_loop().call_soon(self.receiver.closed, code)


class FakeService:
    """Speaks to any number of clients about one session, "s"."""

    def __init__(self, state: dict[str, object] | None = None) -> None:
        self.server = ReferenceServer({"notes": "", "list": []} if state is None else state)
        self.lines: list[FakeTransport] = []
        self.tokens: list[str] = []
        self.dials = 0
        self.is_down = False
        self.is_deaf = False
        self.refuse_hello: tuple[str, int] | None = None
        self.heartbeat_ms = 15_000

    async def dial(self, url: str, receiver: Receiver) -> Transport:
        self.dials += 1
        if self.is_down:
            raise Unavailable("nobody listens")
        line = FakeTransport(self, receiver)
        self.lines.append(line)
        return line

    def line_of(self, device: str) -> FakeTransport:
        return next(line for line in self.lines if line.device == device)

    def goodbye(self, reconnect_after_ms: int) -> None:
        for line in list(self.lines):
            line.say(Goodbye("restart", reconnect_after_ms))
            asyncio.get_running_loop().call_soon(line.end, 1012)

    def cut(self) -> None:
        for line in list(self.lines):
            line.end(None)

    def flush(self) -> None:
        """What the reference server said goes out."""
        for line in self.lines:
            member = self.server.members.get(line.device)
            if member is not None:
                for message in member.unread:
                    line.say(message)
                member.unread.clear()

    def handle(self, line: FakeTransport, message: AnyClientMessage) -> None:
        if isinstance(message, Hello):
            self._hello(line, message)
        elif isinstance(message, Join):
            if message.session == "s":
                self.server.join(line.device, message)
            else:
                line.say(ErrorMessage("not_found", "no", "never", "join", message.session, message.ref))
        elif isinstance(message, Push):
            self.server.push(line.device, message)
        elif isinstance(message, Clock):
            line.say(ClockMessage(message.t0, SERVER_TIME, SERVER_TIME))
        elif isinstance(message, Auth):
            self.tokens.append(message.token)
            line.say(TokenAccepted(0))
        elif isinstance(message, Leave):
            line.say(Left(message.session, "left"))
        elif isinstance(message, Signal):
            for other in self.lines:
                if other is not line:
                    other.say(SignalMessage(message.session, line.device, message.data))
        elif isinstance(message, HandoffOffer):
            line.say(HandoffOffered(message.session, "h-1", message.to, SERVER_TIME, True, message.ref))
        elif isinstance(message, HandoffTake):
            for each in self.lines:
                each.say(HandoffDone(message.session, "h-2", 2, line.device, self.server.version))
        elif isinstance(message, HandoffConfirm):
            pass
        self.flush()

    def _hello(self, line: FakeTransport, message: Hello) -> None:
        self.tokens.append(message.token)
        line.device = message.device.id
        if self.refuse_hello is not None:
            code, close = self.refuse_hello
            line.say(ErrorMessage(code, "refused", "never", "hello"))
            asyncio.get_running_loop().call_soon(line.end, close)
            return
        limits = WelcomeLimits(65536, 262144, 32, 128, 64, 32, 5)
        line.say(Welcome("c", line.device, SERVER_TIME, self.heartbeat_ms, limits))
