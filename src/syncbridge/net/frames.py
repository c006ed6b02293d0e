"""RFC 6455 frames as a server sends them: whole, unmasked, no extension (section 5.2)."""

from __future__ import annotations

from typing import Final

from syncbridge.wire.close import REASON_BYTES_MAX, REASONS

_TEXT: Final = 0x81
_BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
HEADER_BYTES_MAX: Final = 10

_SHORT: Final = tuple(bytes((_TEXT, size)) for size in range(126))


def text_frame(payload: bytes) -> bytes:
    """`payload` as one text frame; the length in the shortest form, as section 5.2 asks."""
    size = len(payload)
    if size < 126:
        return _SHORT[size] + payload
    return _header(_TEXT, size) + payload


def binary_frame(payload: bytes) -> bytes:
    """`payload` as one binary frame."""
    return _header(_BINARY, len(payload)) + payload


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def control_frame(kind: int, payload: bytes = b"") -> bytes:
    """A ping, pong or close with at most 125 bytes."""
    return bytes((kind, len(payload))) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame; None sends no code. Without a `reason` the code's own sentence is sent."""
    if code is None:
        return control_frame(CLOSE)
    text = (reason or REASONS.get(code, "")).encode()[:REASON_BYTES_MAX]
    return control_frame(CLOSE, code.to_bytes(2, "big") + text.decode(errors="ignore").encode())


def close_code_of(frame: bytes) -> int | None:
    """The code in a close frame as a server sends it; None when there is none."""
    start = 2 if frame[1] < 126 else 4
    code = frame[start : start + 2]
    return int.from_bytes(code, "big") if len(code) == 2 else None
