"""Bad JSON, in messages and in bodies."""

from __future__ import annotations

import json
from typing import Any

from tests.catalogue.rows import Row
from tests.catalogue.stage import Send, Stage, patch, push, rest, text, told

FAMILY = "JSON"
BRACKETS = 100_000
PUSH = '{"type":"push","session":"SESSION","seq":1,"base":1,"ops":[{"op":"add","path":"/x","value":VALUE}]}'
AT_TOP = "error bad_message at $; stays"
AT_VALUE = "error bad_message at $.ops[0].value; stays"
BODY = "400 bad_message"


def valued(value: str) -> Send:
    """A push that adds this text as a value."""
    return text(PUSH.replace("VALUE", value))


def body(value: str | bytes) -> Send:
    """A merge patch that is this text."""
    return patch(value if isinstance(value, bytes) else value.encode(), media="application/merge-patch+json")


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def proto(stage: Stage) -> str:
    """Names that mean something in JavaScript are data like any other."""
    session = await stage.session()
    names = {"__proto__": {"isAdmin": True}, "constructor": {"prototype": 1}, "__class__": "x", "": "empty"}
    async with await stage.device(session) as device:
        ops = [{"op": "add", "path": f"/{name}", "value": value} for name, value in names.items()]
        device.say(type="push", session=session, seq=1, base=1, ops=ops)
        outcome = await device.outcome("error", "reject", "ack")
    state = json.loads((await stage.rest("GET", f"/v1/sessions/{session}/state")).body)
    assert {name: state[name] for name in names} == names
    return outcome


async def shallow(stage: Stage) -> str:
    """A first state that is deeper than the limit."""
    answer = await stage.rest("POST", "/v1/sessions", {"type": "custom", "state": {"x": nested(33)}})
    return told(answer)


_TABLE: list[tuple[str, str, str, Send]] = [
    ("empty", "an empty message", AT_TOP, text("")),
    ("empty", "REST: an empty body", "422 validation_failed", body("")),
    ("two values", "two messages in one frame", AT_TOP, text('{"type":"clock","t0":1}{"type":"clock","t0":1}')),
    ("two values", "REST: two values", BODY, body('{"a":1} {"b":2}')),
    ("trailing comma", "a comma before the end", AT_TOP, text('{"type":"clock","t0":1,}')),
    ("trailing comma", "REST: a comma before the end", BODY, body('{"a":1,}')),
    ("BOM", "a byte order mark first", AT_TOP, text('\ufeff{"type":"clock","t0":1}')),
    ("BOM", "REST: a byte order mark first", f"{BODY} at $", body('\ufeff{"a":1}')),
    ("NaN", "NaN as a value", AT_VALUE, valued("NaN")),
    ("NaN", "-Infinity as a value", AT_VALUE, valued("-Infinity")),
    ("NaN", "REST: NaN", f"{BODY} at $.a", body('{"a":NaN}')),
    ("1e400", "1e400 as a value", AT_VALUE, valued("1e400")),
    ("1e400", "REST: 1e400", f"{BODY} at $.a", body('{"a":1e400}')),
    ("depth over the limit", "a message 41 levels deep", "error bad_message at $.ops[0].value[0]...; stays",
     valued(json.dumps(nested(41)))),
    ("depth over the limit", "a state 33 levels deep", "reject depth_exceeded; stays",
     push([{"op": "add", "path": "/x", "value": nested(33)}])),
    ("depth over the limit", "REST: a state 33 levels deep", "422 depth_exceeded at $.state.x[0]...", shallow),
    ("100,000 brackets", "30,000 brackets, open and shut", AT_TOP, valued("[" * 30_000 + "]" * 30_000)),
    ("100,000 brackets", "60,000 brackets, never shut", AT_TOP, text("[" * 60_000)),
    ("100,000 brackets", "100,000 brackets", "close 1009", text("[" * BRACKETS)),
    ("100,000 brackets", "REST: 100,000 brackets", "422 depth_exceeded", body('{"a":' + "[" * BRACKETS)),
    ("100,000 brackets", "REST: 100,000 brackets, open and shut", "422 depth_exceeded",
     body('{"a":' + "[" * BRACKETS + "]" * BRACKETS + "}")),
    ("duplicate keys", "a member of the envelope twice", "error bad_message at $.session; stays",
     text('{"type":"leave","session":"SESSION","session":"SESSION"}')),
    ("duplicate keys", "the type twice", "error bad_message at $.type; stays",
     text('{"type":"clock","type":"leave","t0":1}')),
    ("duplicate keys", "a member of an op twice", "error bad_message at $.ops[0].op; stays",
     text('{"type":"push","session":"SESSION","seq":1,"base":1,"ops":[{"op":"add","op":"test","path":"/n","value":1}]}')),
    ("duplicate keys", "REST: a member twice", f"{BODY} at $", body('{"a":1,"a":2}')),
    ("lone surrogates", "a lone surrogate", AT_VALUE, valued('"\\ud800"')),
    ("lone surrogates", "REST: a lone surrogate", f"{BODY} at $.a", body('{"a":"\\udc00"}')),
    ("bad UTF-8", "REST: bad UTF-8", BODY, body(b'{"a":"\xff"}')),
    ("NUL in strings", "NUL in a value", AT_VALUE, valued('"a\\u0000b"')),
    ("NUL in strings", "NUL in a name", "error bad_message at $.ops[0].value; stays", valued('{"a\\u0000b":1}')),
    ("NUL in strings", "REST: NUL in a value", f"{BODY} at $.a", body('{"a":"\\u0000"}')),
    ("integers beyond 2^53", "2^53", AT_VALUE, valued("9007199254740992")),
    ("integers beyond 2^53", "2^64", AT_VALUE, valued("18446744073709551616")),
    ("integers beyond 2^53", "an integer of 5,000 digits", AT_VALUE, valued("1" * 5_000)),
    ("integers beyond 2^53", "seq 2^53", "error bad_message at $.seq; stays",
     text('{"type":"push","session":"SESSION","seq":9007199254740992,"base":1,"ops":[]}')),
    ("integers beyond 2^53", "REST: 2^64", f"{BODY} at $.a", body('{"a":18446744073709551616}')),
    ("true where an integer belongs", "seq: true", "error bad_message at $.seq; stays",
     text('{"type":"push","session":"SESSION","seq":true,"base":1,"ops":[]}')),
    ("true where an integer belongs", "base: 1.5", "error bad_message at $.base; stays",
     text('{"type":"push","session":"SESSION","seq":1,"base":1.5,"ops":[]}')),
    ("true where an integer belongs", "an op that is a number", "error bad_message at $.ops[0]; stays",
     text('{"type":"push","session":"SESSION","seq":1,"base":1,"ops":[3]}')),
    ("true where an integer belongs", "a path that is a number", "reject bad_patch at op 0; stays",
     text('{"type":"push","session":"SESSION","seq":1,"base":1,"ops":[{"op":"add","path":3,"value":1}]}')),
    ("true where an integer belongs", "REST: expires_ms: true", "422 validation_failed at $.expires_ms", rest(
        "POST", "/v1/sessions/MINE/handoffs", {"mode": "offer", "to": "tv", "expires_ms": True})),
    ("__proto__", "__proto__, constructor and the like as names", "ack; stays", proto),
    ("a type nobody knows", "a type nobody knows", "error unknown_type; stays", text('{"type":"dance"}')),
    ("a type nobody knows", "a message without a type", AT_TOP, text('{"session":"SESSION"}')),
]  # fmt: skip


ROWS = [Row(FAMILY, *row) for row in _TABLE]
