"""Close codes of the socket: which there are, the one sentence each carries, and how a peer's close is answered.

RFC 6455 section 7.4 reserves 1000 to 2999 for the protocol and leaves 4000 to 4999 to applications. The reason
on the wire is always one of the sentences below: a peer's bytes never come back to it, nor go into a log.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

REASON_BYTES_MAX: Final = 123
"""A control frame carries 125 bytes and the code takes two (RFC 6455 section 5.5)."""


class CloseCode(IntEnum):
    """Every code this server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    REPLACED = 4409
    RATE_LIMITED = 4429


REASONS: Final[dict[int, str]] = {
    CloseCode.NORMAL: "Done.",
    CloseCode.GOING_AWAY: "The server goes away.",
    CloseCode.PROTOCOL_ERROR: "The frame is not what RFC 6455 says.",
    CloseCode.UNSUPPORTED_DATA: "Messages are JSON in text frames; this was binary.",
    CloseCode.INVALID_TEXT: "The text is not valid UTF-8.",
    CloseCode.MESSAGE_TOO_BIG: "The message is larger, or in more fragments, than the limit.",
    CloseCode.INTERNAL_ERROR: "An error of ours; reconnect and resume.",
    CloseCode.SERVICE_RESTART: "The node restarts; reconnect and resume.",
    CloseCode.TRY_AGAIN_LATER: "The node is at its limit; reconnect later.",
    CloseCode.BAD_MESSAGE: "Too many messages that the protocol does not know.",
    CloseCode.UNAUTHENTICATED: "The token is missing, invalid or expired.",
    CloseCode.FORBIDDEN: "This identity may not do this, or was revoked.",
    CloseCode.TOO_SLOW: "The device reads nothing; reconnect and resume.",
    CloseCode.REPLACED: "The same device connected again.",
    CloseCode.RATE_LIMITED: "Too many messages or frames a second; reconnect later.",
}

CLOSED_BY_DEVICE: Final = "The device closed the connection."
CONNECTION_LOST: Final = "The connection was lost."

# IANA's registry of what a peer may put on the wire below 3000; 1004, 1005, 1006 and 1015 never travel.
_PROTOCOL_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class PeerClose(NamedTuple):
    """What a peer's close frame said, and what goes back.

    `code` is None when it gave none. `answer` is the code to answer with; None is an empty close frame.
    """

    code: int | None
    answer: int | None


def may_travel(code: int) -> bool:
    """Whether `code` may stand in a close frame (RFC 6455 section 7.4)."""
    return code in _PROTOCOL_CODES or 3000 <= code <= 4999


def read_close(payload: bytes) -> PeerClose:
    """The meaning of a close frame's payload and its answer: an echo, or the error it is.

    Echo     a valid code comes back as it is, none comes back as none (section 5.5.1).
    Errors   a code of one byte, or one that may not travel: 1002. A reason that is not UTF-8: 1007.
    """
    if not payload:
        return PeerClose(None, None)
    if len(payload) == 1:
        return PeerClose(None, CloseCode.PROTOCOL_ERROR)
    code = int.from_bytes(payload[:2], "big")
    if not may_travel(code):
        return PeerClose(None, CloseCode.PROTOCOL_ERROR)
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return PeerClose(code, CloseCode.INVALID_TEXT)
    return PeerClose(code, code)
