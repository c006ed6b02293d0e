"""Bytes to messages: what is accepted, what is refused, and that the place is named."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncbridge.core.entry import Entry, HandoffNote, Undoing
from syncbridge.core.ids import DeviceId, HandoffId
from syncbridge.core.messages import Ack, Clock, EntriesMessage, EntryMessage, Join, Leave, Push, Signal
from syncbridge.errors import BadMessage, SyncBridgeError, UnknownType
from syncbridge.limits import Limits
from syncbridge.wire import codec
from syncbridge.wire.codec import MessageDecoder

LIMITS = Limits()
decode = MessageDecoder(LIMITS).decode

PUSH = b'{"type":"push","session":"s1","seq":1,"base":0,"ops":[{"op":"add","path":"/a","value":%s}]}'
LEAVE = b'{"type":"leave","session":"%s"}'


def fault_of(frame: bytes) -> SyncBridgeError:
    with pytest.raises(SyncBridgeError) as caught:
        decode(frame)
    return caught.value


OUTCOMES = ("accepted", "bad_message", "unknown_type")


def outcome(frame: bytes) -> str:
    try:
        decode(frame)
    except SyncBridgeError as fault:
        return fault.code
    return "accepted"


def test_push_arrives_as_it_was_written() -> None:
    message = decode(PUSH % b'{"b":[1,2.5,null,true,"\xc3\xa9"]}')
    assert message == Push("s1", 1, 0, [{"op": "add", "path": "/a", "value": {"b": [1, 2.5, None, True, "é"]}}])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'{"type":"leave","session":"a"}', Leave("a")),
        (b' {"session":"a", "type" : "leave"}\n', Leave("a")),
        (b'{"type":"join","session":"a:b.c_d-1","ref":"x"}', Join("a:b.c_d-1", ref="x")),
        (b'{"type":"clock","t0":12.5}', Clock(12.5)),
        (b'{"type":"signal","session":"a","data":{"__proto__":1}}', Signal("a", {"__proto__": 1})),
    ],
    ids=["leave", "type_last_and_spaces", "join", "clock", "proto_is_data"],
)
def test_message_is_decoded(frame: bytes, message: object) -> None:
    assert decode(frame) == message


def test_unknown_fields_are_ignored() -> None:
    assert decode(b'{"type":"leave","session":"a","new":{"x":[1,2]},"other":":"}') == Leave("a")


def test_defaults_spelt_out_are_the_same_message() -> None:
    assert decode(PUSH[:-1] % b"1" + b',"intent":"edit","fence":null}') == decode(PUSH % b"1")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b'"a\\u0000b"', "$.ops[0].value: a string holds NUL"),
        (b'{"x":[1,"\\u0000"]}', "$.ops[0].value.x[1]: a string holds NUL"),
        (b'{"a\\u0000b":1}', "$.ops[0].value: a name holds NUL"),
    ],
)
def test_nul_in_a_string_is_refused_with_its_place(value: bytes, place: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode(PUSH % value)
    assert refused.value.message == place


def test_a_backslash_before_the_digits_of_nul_is_data() -> None:
    message = decode(PUSH % b'"a\\\\u0000b"')
    assert isinstance(message, Push)
    assert message.ops[0]["value"] == "a\\u0000b"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b"9007199254740992", "$.ops[0].value"),
        (b"-9007199254740992", "$.ops[0].value"),
        (b"18446744073709551616", "$.ops[0].value"),
        (b"123456789012345678901234567890", "$.ops[0].value"),
        (b'{"x":[0,9007199254740993]}', "$.ops[0].value.x[1]"),
        (b"1e400", "$.ops[0].value"),
        (b"-1e400", "$.ops[0].value"),
        (b"NaN", "$.ops[0].value"),
        (b"-Infinity", "$.ops[0].value"),
        (b'"\\ud800"', "$.ops[0].value"),
        (b'"\\udc00x"', "$.ops[0].value"),
        (b'{"\\ud800":1}', "$.ops[0].value"),
        (b"[" * 64 + b"]" * 64, "$.ops[0].value[0]"),
        (b'1,"op":"add"', "$.ops[0].op"),
        (b'1,"\\u006fp":"add"', "$.ops[0].op"),
        (b'{"a":1,"a":2}', "$.ops[0].value.a"),
        (b'{"a":":","b":[{"c d":1,"c d":1}]}', '$.ops[0].value.b[0]["c d"]'),
        (b'"\\u003a","path":"/b"', "$.ops[0].path"),
        (b'"a:b","path" :"/b"', "$.ops[0].path"),
        (b"1},3,{", "$.ops[1]"),
        (b"01", "$"),
        (b"[1,]", "$"),
        (b"'a'", "$"),
        (b'"\t"', "$"),
        (b'"\\x"', "$"),
        (b"\xff", "$"),
        (b'"\xed\xa0\x80"', "$"),
        (b"", "$"),
    ],
    ids=lambda value: value.decode("latin-1")[:24] if isinstance(value, bytes) else "",
)
def test_bad_value_is_refused_with_its_place(value: bytes, place: str) -> None:
    fault = fault_of(PUSH % value)
    assert fault.code == "bad_message"
    assert fault.message.startswith(place)
    assert fault.message[len(place)] in ":["


@pytest.mark.parametrize(
    ("frame", "place"),
    [
        (b"", "$: "),
        (b"nul", "$: "),
        (b"[]", "$: "),
        (b"{}", "$: "),
        (b"{} {}", "$: "),
        (b'{"type":"leave","session":"a"},', "$: "),
        (b'\xef\xbb\xbf{"type":"leave","session":"a"}', "$: "),
        (b"[" * 100_000, "$: "),
        (b'{"type":"leave","session":"a","x":' + b"[" * 60_000, "$: "),
        (b'{"type":"leave","session":"a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "$: "),
        (b'{"type":1}', "$.type: "),
        (b'{"type":"leave","type":"join","session":"a"}', "$.type: "),
        (b'{"type":"leave","session":"a","session":"b"}', "$.session: "),
        (b'{"type":"leave","session":"a","x":1,"x":1}', "$.x: "),
        (b'{"type":"leave","session":"a","session":"b"', "$: "),
        (b'{"type":"leave","session":7}', "$.session: "),
        (b'{"type":"push","session":"a","seq":true,"base":0,"ops":[]}', "$.seq: "),
        (b'{"type":"push","session":"a","seq":1.0,"base":0,"ops":[]}', "$.seq: "),
        (b'{"type":"push","session":"a","seq":0,"base":0,"ops":[]}', "$.seq: "),
        (b'{"type":"push","session":"a","seq":1,"base":-1,"ops":[]}', "$.base: "),
        (b'{"type":"push","session":"a","seq":1,"base":"0","ops":[]}', "$.base: "),
        (b'{"type":"push","session":"a","seq":1,"base":9007199254740992,"ops":[]}', "$.base: "),
        (b'{"type":"push","session":"a","seq":1,"base":0,"ops":{}}', "$.ops: "),
        (b'{"type":"push","session":"a","seq":1,"base":0,"ops":[],"intent":"x"}', "$.intent: "),
        (b'{"type":"clock","t0":9007199254740992}', "$.t0: "),
        (b'{"type":"clock","t0":true}', "$.t0: "),
        (b'{"type":"hello","token":"t","protocol":9007199254740992,"device":{"id":"a"}}', "$.protocol: "),
        (b'{"type":"hello","token":"t","device":{"id":"a","name":7}}', "$.device.name: "),
        (b'{"type":"signal","session":"a","data":9007199254740992}', "$.data: "),
    ],
    ids=lambda value: value.decode("latin-1")[:60] if isinstance(value, bytes) else "",
)
def test_bad_envelope_is_refused_with_its_place(frame: bytes, place: str) -> None:
    fault = fault_of(frame)
    assert isinstance(fault, BadMessage)
    assert fault.message.startswith(place)


@pytest.mark.parametrize(
    "session", ["", "a b", "a{b}", 'a"b', "a\\u0000b", "a\\n", "ä", "a" * 65], ids=lambda value: repr(value[:8])
)
def test_bad_id_is_refused(session: str) -> None:
    assert fault_of(LEAVE % session.encode()).message.startswith("$")


def test_unknown_type_is_its_own_error() -> None:
    assert isinstance(fault_of(b'{"type":"nix","session":"a"}'), UnknownType)


def test_a_sentence_is_short_whatever_was_sent() -> None:
    deep = b'{"type":"leave","session":"a","x":' + b'{"%s":' % (b"k" * 30) * 900 + b'{"a":1,"a":2}' + b"}" * 901
    assert len(fault_of(deep).message) < 400
    assert len(fault_of(b'{"type":"leave","session":"%s"}' % (b"x" * 60_000)).message) < 400


def test_depth_is_judged_at_the_limit_exactly() -> None:
    inner = LIMITS.message_depth_max - 3  # the message, `ops`, the op
    decode(PUSH % (b"[" * inner + b"]" * inner))
    assert "deeper" in fault_of(PUSH % (b"[" * (inner + 1) + b"]" * (inner + 1))).message


def hostile(members: int) -> bytes:
    body = b",".join(b'"k%d":[{"a":1}]' % index for index in range(members))
    return b'{"type":"leave","session":"a",%s,"z":{"a":1,"a":2}}' % body


def lines_run_for(frame: bytes) -> int:
    """How many lines of Python are run until the frame is refused: its cost, on any machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fault = fault_of(frame)
    finally:
        sys.settrace(before)
    assert fault.message.startswith("$.z.a: ")
    return count


def test_refusing_a_hostile_frame_costs_no_more_than_its_size() -> None:
    few, many = lines_run_for(hostile(200)), lines_run_for(hostile(2_000))
    assert 200 < few < many <= 10 * few


def test_a_cost_that_grows_with_the_square_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    find = codec._doubled_place

    def search(value: dict[str, Any]) -> str:
        for _ in value:
            for _ in value:
                pass
        return find(value)

    monkeypatch.setattr(codec, "_doubled_place", search)
    assert lines_run_for(hostile(500)) > 20 * lines_run_for(hostile(50))


def test_doubled_name_is_found_without_comparing_each_with_each() -> None:
    comparisons = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

    names = [*(f"k{index}" for index in range(2_000)), "k7"]
    found = codec._PairsSeen()([(Name(name), 1) for name in names])
    assert isinstance(found, codec._Doubled)
    assert found.name == "k7"
    assert comparisons < 10


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.booleans())
@example({"a:b": ":"}, True)
def test_any_json_value_passes_through_unchanged(value: object, is_ascii: bool) -> None:
    ops = [{"op": "add", "path": "/x", "value": value}]
    text = json.dumps({"type": "push", "session": "s", "seq": 1, "base": 0, "ops": ops}, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    )
    message = decode(text)
    assert isinstance(message, Push)
    assert message.ops == ops


@given(json_values.filter(lambda value: isinstance(value, dict) and bool(value)), st.data())
def test_a_doubled_name_is_always_found(value: dict[str, object], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    members = [f"{json.dumps(key)}:{json.dumps(item)}" for key, item in value.items()]
    members.insert(
        data.draw(st.integers(0, len(members))), f"{json.dumps(name)}{data.draw(st.sampled_from(['', ' ']))}:0"
    )
    fault = fault_of(PUSH % ("{" + ",".join(members) + "}").encode())
    assert "twice" in fault.message


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_message_or_a_documented_error(frame: bytes) -> None:
    assert outcome(frame) in OUTCOMES


@given(st.data())
def test_any_damage_to_a_good_frame_is_a_message_or_a_documented_error(data: st.DataObject) -> None:
    frame = bytearray(PUSH % b'{"a":[1,{"b":"c"}],"d":-1.5e3}')
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(frame)) in OUTCOMES


# -- what goes out ----------------------------------------------------------------------------------------------

ENTRY = Entry(7, "patch", 1_700, device="phone", seq=3, ops=[{"op": "add", "path": "/a", "value": "x\u2028y"}])
HANDOFF = Entry(
    8, "handoff", 1_800, fence=2, active="tv", handoff=HandoffNote(HandoffId("h1"), "take", source=DeviceId("phone"))
)


def test_type_stands_first() -> None:
    assert codec.encode_message(Ack("s", 1, 2, 3)).startswith(b'{"type":"ack",')


@pytest.mark.parametrize("entry", [ENTRY, HANDOFF], ids=["patch", "handoff"])
def test_an_entry_frame_is_its_journal_body_with_a_head(entry: Entry) -> None:
    body = codec.encode_entry(entry)
    assert codec.decode_entry(body) == entry
    frame = codec.entry_frame(codec.entry_head("s:1"), body)
    assert frame.endswith(body[1:])
    message = msgspec.json.decode(frame, type=EntryMessage)
    assert (message.session, message.version, message.ops, message.fence) == (
        "s:1",
        entry.version,
        entry.ops,
        entry.fence,
    )
    assert json.loads(frame) == {"type": "entry", "session": "s:1", **json.loads(body)}


def test_entry_alone_on_the_wire_tells_all_that_it_tells_in_a_burst() -> None:
    """A device reads both alike: no member of an entry may be dropped with the frame it came in."""
    undo = msgspec.structs.replace(ENTRY, undoes=Undoing(1, 0, "theirs"))
    alone = msgspec.json.decode(codec.entry_frame(codec.entry_head("s:1"), codec.encode_entry(undo)), type=EntryMessage)
    assert set(EntryMessage.__struct_fields__) == {"session", *Entry.__struct_fields__}
    assert msgspec.to_builtins(alone)["undoes"] == {"version": 1, "index": 0, "chosen": "theirs"}


def test_several_entries_are_one_message() -> None:
    frame = codec.entries_frame("s:1", [codec.encode_entry(ENTRY), codec.encode_entry(HANDOFF)])
    assert msgspec.json.decode(frame, type=EntriesMessage) == EntriesMessage("s:1", [ENTRY, HANDOFF])
