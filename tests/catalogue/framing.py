"""Bad frames, and too many of them."""

from __future__ import annotations

import asyncio

from tests.catalogue.rows import Row
from tests.catalogue.stage import Send, Stage, frames
from tests.wire.rawclient import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

FAMILY = "Frames"
LIMIT = 64 * 1024
PROTOCOL, KIND, ENCODING, SIZE, RATE = "close 1002", "close 1003", "close 1007", "close 1009", "close 4429"


def parts(*payloads: bytes, last: bool = True) -> list[bytes]:
    """One message in fragments."""
    kinds = [TEXT, *[CONTINUATION] * (len(payloads) - 1)]
    final = [False] * (len(payloads) - 1) + [last]
    return [frame(kind, one, is_final=end) for kind, one, end in zip(kinds, payloads, final, strict=True)]


def flood(kind: int, count: int = 20_000) -> Send:
    """That many control frames at once, answers unread."""

    async def send(stage: Stage) -> str:
        async with await stage.device(await stage.session()) as device:
            device.send(frame(kind, b"x" * 125) * count)
            while True:
                got = await asyncio.wait_for(device.frame(), 10)
                if got.opcode == CLOSE:
                    return f"close {got.close_code}"

    return send


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


_TABLE: list[tuple[str, str, str, Send]] = [
    *[("RSV bits", f"RSV{4 - bit.bit_length()}", PROTOCOL, frames(frame(TEXT, b"{}", rsv=bit))) for bit in (4, 2, 1)],
    *[("reserved opcodes", f"opcode {code}", PROTOCOL, frames(frame(code, b""))) for code in (3, 7, 11, 15)],
    ("unmasked", "an unmasked frame", PROTOCOL, frames(frame(TEXT, b"{}", is_masked=False))),
    ("orphan continuation", "a continuation of nothing", PROTOCOL, frames(frame(CONTINUATION, b"{}"))),
    (
        "interleaved data",
        "a message inside a fragmented one",
        PROTOCOL,
        frames(*parts(b"{", last=False), frame(TEXT, b"{}")),
    ),
    ("fragmented or long control frames", "a ping in fragments", PROTOCOL, frames(frame(PING, b"", is_final=False))),
    ("fragmented or long control frames", "a ping of 126 bytes", PROTOCOL, frames(frame(PING, b"x" * 126))),
    (
        "bad lengths",
        "a length of 2^63",
        PROTOCOL,
        frames(frame(TEXT, b"", length=b"\xff" + (1 << 63).to_bytes(8, "big"))),
    ),
    (
        "bad lengths",
        "a length of 2^62",
        SIZE,
        frames(frame(TEXT, b"", length=b"\xff" + (1 << 62).to_bytes(8, "big"))),
    ),
    *[("bad close codes", f"close {one}", PROTOCOL, frames(closing(one))) for one in (0, 999, 1005, 1006, 2999, 5000)],
    ("bad close codes", "a close of one byte", PROTOCOL, frames(frame(CLOSE, b"\x03"))),
    ("bad close codes", "a close whose reason is not UTF-8", ENCODING, frames(closing(1000, b"\xff"))),
    ("bad UTF-8", "bad UTF-8", ENCODING, frames(frame(TEXT, b'{"type":"\xff"}'))),
    ("bad UTF-8", "bad UTF-8 split over fragments", ENCODING, frames(*parts(b"\xf0\x9f", b"\x28\x80"))),
    ("bad UTF-8", "a surrogate in UTF-8", ENCODING, frames(frame(TEXT, b"\xed\xa0\x80"))),
    ("binary", "a binary message", KIND, frames(frame(BINARY, b"{}"))),
    ("over 64 KiB in all fragments", "one frame of 64 KiB + 1", SIZE, frames(frame(TEXT, b"x" * (LIMIT + 1)))),
    ("over 64 KiB in all fragments", "64 KiB + 1 in three fragments", SIZE,
     frames(*parts(b"x" * 30_000, b"x" * 30_000, b"x" * 5_537))),
    ("more than 16 fragments", "17 fragments", SIZE, frames(*parts(*[b"x"] * 17))),
    ("more than 16 fragments", "10,000 empty fragments", SIZE, frames(*parts(*[b""] * 10_000))),
    ("ping or pong floods", "20,000 pings, answers unread", RATE, flood(PING)),
    ("ping or pong floods", "20,000 pongs", RATE, flood(PONG)),
]  # fmt: skip

ROWS = [Row(FAMILY, *row) for row in _TABLE]
