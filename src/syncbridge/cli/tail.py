"""Following a session from the command line: a device that joins and never pushes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import msgspec

from syncbridge.cli.failures import Failed, not_trusted
from syncbridge.client.transport import picows_dial

HELLO_TIMEOUT_S = 10
_FATAL = frozenset(
    {"not_found", "device_limit", "device_unknown", "forbidden", "token_invalid", "token_revoked", "token_expired"}
)


class _Inbox:
    """What the connection hears, in order; None when it is over."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.code: int | None = None

    def received(self, data: bytes) -> None:
        self.messages.put_nowait(data)

    def heard(self) -> None:
        """Nothing follows from a sign of life."""

    def closed(self, code: int | None) -> None:
        self.code = code
        self.messages.put_nowait(None)


async def follow(
    url: str, token: str, session: str, *, device: str, count: int | None, say: Callable[[str], None]
) -> None:
    """Each message of the session is said as one line of JSON; ends after ``count`` of them, or with the connection.

    Raises Failed when the service refuses or the connection ends.
    """
    inbox = _Inbox()
    try:
        transport = await picows_dial()(url.rstrip("/").replace("http", "ws", 1) + "/v1/ws", inbox)
    except ssl.SSLCertVerificationError as error:
        raise not_trusted(url, error) from error
    except OSError as error:
        raise Failed(f"No service answers at {url}: {error}") from error
    try:
        hello = {"type": "hello", "token": token, "device": {"id": device, "name": device, "platform": "cli"}}
        transport.send(msgspec.json.encode(hello))
        await _expect(inbox, "welcome")
        transport.send(msgspec.json.encode({"type": "join", "session": session}))
        said = 0
        while count is None or said < count:
            message = await _next(inbox)
            if message.get("type") == "error" and message.get("code") in _FATAL:
                raise Failed(f"{message['code']}: {message.get('message', '')}")
            if message.get("session") == session:
                # JSON escapes control characters, so nothing in it moves the terminal's cursor.
                say(msgspec.json.encode(message).decode())
                said += 1
    finally:
        transport.close()


async def _expect(inbox: _Inbox, kind: str) -> None:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            message = await _next(inbox)
    except TimeoutError as error:
        raise Failed(f"The service said nothing for {HELLO_TIMEOUT_S} s.") from error
    if message.get("type") != kind:
        raise Failed(f"{message.get('code', 'bad_message')}: {message.get('message', 'not the answer to a hello')}")


async def _next(inbox: _Inbox) -> dict[str, Any]:
    data = await inbox.messages.get()
    if data is None:
        raise Failed(f"The connection ended (close code {inbox.code}).")
    message = msgspec.json.decode(data)
    if not isinstance(message, dict):
        raise Failed("The service does not speak this protocol.")
    return message
