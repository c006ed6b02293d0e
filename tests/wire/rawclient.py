"""A client that can say anything: bytes as they are, frames as no library would send them."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, Self

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for KEY: RFC 6455 section 1.3
TIMEOUT_S = 30.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

GOOD_HEADERS = (
    ("Host", "127.0.0.1"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
)


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    is_final: bool = True

    @property
    def close_code(self) -> int | None:
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        return self.payload[2:].decode()


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def head(
    line: str = "GET /v1/ws HTTP/1.1",
    *,
    without: str = "",
    extra: tuple[tuple[str, str], ...] = (),
    **changed: str,
) -> bytes:
    """A handshake's head; `changed` replaces a header (``sec_websocket_key="x"``), `extra` adds more."""
    replaced = {name.replace("_", "-"): value for name, value in changed.items()}
    headers = [(name, replaced.get(name.lower(), value)) for name, value in GOOD_HEADERS if name != without]
    lines = [line, *(f"{name}: {value}" for name, value in (*headers, *extra)), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    is_final: bool = True,
    rsv: int = 0,
    is_masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """One frame; `length` replaces the length field (mask bit included) by any bytes."""
    first = (0x80 if is_final else 0) | rsv << 4 | opcode
    mark = 0x80 if is_masked else 0
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes((mark | size,))
        elif size < 65536:
            length = bytes((mark | 126,)) + size.to_bytes(2, "big")
        else:
            length = bytes((mark | 127,)) + size.to_bytes(8, "big")
    mask = b"\x11\x22\x33\x44" if is_masked else b""
    if is_masked:
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        payload = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
    return bytes((first,)) + length + mask + payload


class RawClient:
    """One TCP (or TLS) connection; every read has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext | None = None) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 20))

    @classmethod
    async def upgraded(cls, port: int, context: ssl.SSLContext | None = None) -> Self:
        client = await cls.open(port, context)
        client.send(head())
        assert (await client.response()).status == 101
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        # The peer may have reset the connection before; that is for a test to ask, not for the end of one.
        await asyncio.gather(asyncio.wait_for(self.writer.wait_closed(), TIMEOUT_S), return_exceptions=True)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, timeout_s: float = TIMEOUT_S) -> Response:
        """One HTTP response; a body only with Content-Length."""
        async with asyncio.timeout(timeout_s):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(lines[0].split(" ")[1]), headers, body)

    async def frame(self) -> Frame:
        async with asyncio.timeout(TIMEOUT_S):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server masks nothing"
            assert not first & 0x70, "a server sets no reserved bit"
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return Frame(first & 0x0F, await self.reader.readexactly(size), bool(first & 0x80))

    async def rest(self) -> bytes:
        """Everything up to the end of the connection; a reset is an end as well."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def echo(self, text: str) -> str:
        self.send(frame(TEXT, text.encode()))
        return (await self.frame()).payload.decode()
