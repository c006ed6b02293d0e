"""A device's side of the codec."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.core.messages import Ack, ClockMessage, Push
from syncbridge.errors import BadMessage
from syncbridge.wire.codec_client import decode, encode


def test_a_message_is_read_and_unknown_fields_are_passed_over() -> None:
    assert decode(b'{"type":"clock","t0":1,"t1":2,"t2":3,"from":"later"}') == ClockMessage(1, 2, 3)


@pytest.mark.parametrize("text", ['{"type":"later"}', '{"session":"s","type":"later","x":[]}'])
def test_a_message_of_an_unknown_type_is_none(text: str) -> None:
    assert decode(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"type":"ack","session":"s","seq":"1","version":1,"at":1}', r"\$\.seq"),
        ('{"type":"ack"}', "session"),
        ("{}", "type"),
        ('{"type":7}', "type"),
        ("[]", "object"),
        ("nonsense", "."),
        ('{"type":"signal","session":"s","device":"d","data":"\\ud800"}', "."),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(BadMessage, match=place):
        decode(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except BadMessage:
        return


def test_the_type_comes_first_on_the_wire() -> None:
    push = Push("s", 1, 0, [{"op": "remove", "path": "/a"}], epoch="e")
    assert encode(push).startswith(b'{"type":"push","session":"s","seq":1,"base":0,')
    assert msgspec.json.decode(encode(push), type=Push) == push


def test_an_ack_without_ops_says_that_they_are_what_was_sent() -> None:
    message = decode(b'{"type":"ack","session":"s","seq":1,"version":2,"at":3}')
    assert isinstance(message, Ack)
    assert message.ops is None


def test_bad_utf8_in_a_name_is_refused_as_any_other() -> None:
    with pytest.raises(BadMessage):
        decode(b'{"type":"left","se\xa4sion":"s"}')
