"""Frames between nodes: what one says another understands, and nothing else does any harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.channel import (
    Arrived,
    Asked,
    Broken,
    Deleted,
    Entries,
    Moved,
    Signal,
    Statement,
    Stays,
    Told,
)
from syncbridge.core.entry import Entry
from syncbridge.core.ids import ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.wire.codec import encode_entry

PHONE, WATCH = DeviceId("phone"), DeviceId("watch")

ENTRIES = [
    Entry(7, "patch", 1_000, device="phone", seq=3, ops=[{"op": "add", "path": "/a", "value": "ü\n\u2028"}]),
    Entry(8, "handoff", 1_001, fence=2, active="watch"),
]

FRAMES = {
    "entries": channel.encode_entries("ep", 7, 'phone"3', [11, 0], [encode_entry(entry) for entry in ENTRIES]),
    "moved": b'h{"epoch":"ep","first":7,"last":9}',
    "statement": channel.encode_statement(Statement("n1", 5, {PHONE: 1_000, WATCH: 2_000})),
    "signal": channel.encode_signal("n1", PHONE, b'{"type":"signal","data":"a\\nb"}\n{}'),
    "deleted": channel.encode_deleted("n1", "deleted"),
    "arrived": channel.encode_arrived(Arrived("n1", PHONE, ConnectionId("c1"), 9, answers=True)),
    "asked": channel.encode_asked(Asked("n1", PHONE, ConnectionId("c1"), 9, ConnectionId("c2"), 10, 3)),
    "stays": channel.encode_stays(Stays("n2", PHONE, ConnectionId("c2"), 10, 70, "n1", 3)),
    "told": channel.encode_told("n1", PHONE, SessionId("s1"), b"{}"),
}


def read(frame: bytes) -> channel.Message | Broken:
    """What the frame says, its entries read as well."""
    message = channel.decode(frame)
    if isinstance(message, Entries):
        entries = channel.read_entries(message.first, message.copies())
        if isinstance(entries, Broken):
            return entries
    return message


def test_committed_entries_arrive_as_they_were_committed() -> None:
    bodies = [encode_entry(entry) for entry in ENTRIES]
    message = channel.decode(FRAMES["entries"])
    assert message == Entries("ep", 7, TxnId('phone"3'), [11, 0], [Raw(body) for body in bodies])
    assert isinstance(message, Entries)
    assert channel.read_entries(message.first, message.copies()) == ENTRIES
    told = channel.encode_entries("ep", 7, "t", [0], bodies[:1], previous_at=900)
    assert channel.decode(told) == Entries("ep", 7, TxnId("t"), [0], [Raw(bodies[0])], 900)


def test_every_other_message_arrives_as_it_was_said() -> None:
    assert channel.decode(FRAMES["moved"]) == Moved("ep", 7, 9)
    assert channel.decode(FRAMES["statement"]) == Statement("n1", 5, {PHONE: 1_000, WATCH: 2_000})
    assert channel.decode(FRAMES["signal"]) == Signal("n1", PHONE, b'{"type":"signal","data":"a\\nb"}\n{}')
    assert channel.decode(FRAMES["deleted"]) == Deleted("n1", "deleted")
    assert channel.decode(FRAMES["arrived"]) == Arrived("n1", PHONE, ConnectionId("c1"), 9, answers=True)
    assert channel.decode(FRAMES["asked"]) == Asked("n1", PHONE, ConnectionId("c1"), 9, ConnectionId("c2"), 10, 3)
    assert channel.decode(FRAMES["stays"]) == Stays("n2", PHONE, ConnectionId("c2"), 10, 70, "n1", 3)
    assert channel.decode(FRAMES["told"]) == Told("n1", PHONE, SessionId("s1"), b"{}")


def test_entries_too_large_to_be_said_leave_word_of_their_versions() -> None:
    body = b'{"version":7,"kind":"patch","at":1,"ops":["%s"]}' % (b"x" * channel.ENTRIES_BYTES_MAX)
    frame = channel.encode_entries("ep", 7, "t", [0, 0], [body, body])
    assert len(frame) < 100
    assert channel.decode(frame) == Moved("ep", 7, 8)


def said(digests: str, entries: str) -> bytes:
    return f'e{{"epoch":"ep","first":1,"txn":"t","digests":{digests},"entries":{entries}}}'.encode()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "unknown"),
        (b"x{}", "unknown"),
        (b"e", "malformed"),
        (b"e{}", "malformed"),
        (said("[]", "[]"), "malformed"),
        (said("[0,0]", '[{"version":1,"kind":"patch","at":1}]'), "malformed"),
        (said("[0]", '[{"version":2,"kind":"patch","at":1}]'), "malformed"),
        (said("[0]", '[{"version":1,"kind":"other","at":1}]'), "malformed"),
        (b'p{"node":"n1","number":0,"devices":{}}', "malformed"),
        (b'p{"node":"","number":1,"devices":{}}', "malformed"),
        (b'p{"node":"n1","number":true,"devices":{}}', "malformed"),
        (b'p{"node":"n1","number":1,"devices":{"phone":-1}}', "malformed"),
        (b'p{"node":"n1","number":1,"devices":{"phone":9007199254740992}}', "malformed"),
        (b'p{"node":"\xff","number":1,"devices":{}}', "malformed"),
        (b"p" + b"[" * 100_000, "malformed"),
        (b's{"node":"n1","device":"phone"}', "malformed"),
        (b's{"node":"n1","device":"phone"}\n' + b"x" * (channel.SIGNAL_BYTES_MAX + 1), "malformed"),
        (b"t\n{}", "malformed"),
        (b'q{"node":"n1","device":"phone","connection":"c1","number":1}', "malformed"),
        (
            b'y{"node":"n1","device":"phone","connection":"c1","number":1,"age_ms":-1,"asker":"n","question":1}',
            "malformed",
        ),
        (b"d" + b"x" * channel.FRAME_BYTES_MAX, "large"),
    ],
    ids=repr,
)
def test_a_frame_that_is_none_is_refused_with_its_reason(frame: bytes, reason: str) -> None:
    assert read(frame) == Broken(reason)  # type: ignore[arg-type]


def test_a_statement_of_more_devices_than_can_be_is_refused() -> None:
    devices = {DeviceId(f"d{number}"): 1 for number in range(channel.DEVICES_MAX + 1)}
    assert channel.decode(channel.encode_statement(Statement("n1", 1, devices))) == Broken("malformed")


def test_what_a_later_version_adds_is_ignored() -> None:
    assert channel.decode(b'd{"node":"n1","reason":"expired","since":1}') == Deleted("n1", "expired")


@given(
    st.binary(max_size=200)
    | st.builds(bytes.__add__, st.sampled_from([b"e", b"p", b"s", b"t", b"q", b"y"]), st.binary())
)
def test_any_bytes_give_a_message_or_a_reason(frame: bytes) -> None:
    assert isinstance(read(frame), channel.Message | Broken)


@pytest.mark.parametrize("name", FRAMES)
@given(data=st.data())
def test_a_frame_cut_or_changed_anywhere_never_raises(name: str, data: st.DataObject) -> None:
    frame = FRAMES[name]
    place = data.draw(st.integers(0, len(frame)))
    read(frame[:place])
    read(frame[:place] + bytes([data.draw(st.integers(0, 255))]) + frame[place + 1 :])


def test_an_arrival_is_whole_once_its_number_is_known() -> None:
    arriving = channel.encode_arriving("n1", PHONE, ConnectionId("c1"))
    assert channel.decode(arriving + b"9}") == Arrived("n1", PHONE, ConnectionId("c1"), 9, answers=True)


def test_an_arrival_at_a_node_of_an_earlier_version_is_not_asked_after() -> None:
    frame = b'a{"node":"n1","device":"phone","connection":"c1","number":9}'
    assert channel.decode(frame) == Arrived("n1", PHONE, ConnectionId("c1"), 9, answers=False)


def test_who_left_is_said_where_somebody_did() -> None:
    assert b"left" not in FRAMES["statement"]
    statement = Statement("n1", 6, {}, {PHONE: 3_000})
    assert channel.decode(channel.encode_statement(statement)) == statement
