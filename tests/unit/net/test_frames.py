"""Frames as a server sends them, and messages put together from fragments."""

from __future__ import annotations

import pytest

from syncbridge.net.fragments import Fragments
from syncbridge.net.frames import CLOSE, PING, binary_frame, close_code_of, close_frame, control_frame, text_frame
from syncbridge.wire.close import REASONS, CloseCode


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_text_frame_has_the_shortest_length(size: int, header: bytes) -> None:
    assert text_frame(b"x" * size) == header + b"x" * size
    assert binary_frame(b"x" * size) == b"\x82" + header[1:] + b"x" * size


def test_control_frame_is_final_and_unmasked() -> None:
    assert control_frame(PING, b"now") == b"\x89\x03now"


@pytest.mark.parametrize(
    ("code", "reason", "frame"),
    [
        (None, "", b"\x88\x00"),
        (1000, "bye", b"\x88\x05\x03\xe8bye"),
        (4999, "", b"\x88\x02\x13\x87"),
        (1002, "", b"\x88" + bytes((2 + len(REASONS[1002]),)) + b"\x03\xea" + REASONS[1002].encode()),
    ],
)
def test_close_frame_carries_code_and_sentence(code: int | None, reason: str, frame: bytes) -> None:
    assert close_frame(code, reason) == frame
    assert close_code_of(frame) == code


def test_close_reason_that_is_too_long_ends_at_a_whole_character() -> None:
    frame = close_frame(1000, "é" * 99)
    assert frame[:2] == bytes((CLOSE, 124))
    assert frame[4:].decode() == "é" * 61


def test_close_code_is_found_behind_a_long_header() -> None:
    assert close_code_of(b"\x88\x7e\x00\xc8\x03\xea" + b"x" * 198) == 1002


def add(fragments: Fragments, *parts: bytes, bytes_max: int = 8, fragments_max: int = 3) -> list[CloseCode | None]:
    last = len(parts) - 1
    return [
        fragments.add(part, index == last, bytes_max=bytes_max, fragments_max=fragments_max)
        for index, part in enumerate(parts)
    ]


def test_fragments_within_their_bounds_are_one_message() -> None:
    fragments = Fragments()
    assert add(fragments, b"abc", b"", b"defgh") == [None, None, None]
    assert fragments.message() == b"abcdefgh"


def test_fragments_of_a_binary_message_are_any_bytes() -> None:
    fragments = Fragments(is_text=False)
    assert add(fragments, b"\xff", b"\xe2") == [None, None]
    assert fragments.message() == b"\xff\xe2"


@pytest.mark.parametrize(
    ("parts", "faults"),
    [
        ([b"abcdefgh", b"i"], [None, 1009]),
        ([b"a", b"b", b"c", b"d"], [None, None, None, 1009]),
        ([b"\xe2", b"\x82", b"\xac"], [None, None, None]),
        ([b"\xe2", b"\x28", b""], [None, 1007, 1007]),
        ([b"\xe2", b"\x82"], [None, 1007]),
    ],
)
def test_fault_shows_at_the_fragment_that_makes_it(parts: list[bytes], faults: list[int | None]) -> None:
    found = add(Fragments(), *parts)
    end = next((index for index, fault in enumerate(found) if fault is not None), len(found) - 1)
    assert found[: end + 1] == faults[: end + 1]
