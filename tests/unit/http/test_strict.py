"""Bodies: each kind of bad JSON has its answer, with the place."""

import json
import time

import pytest

from syncbridge.errors import BadMessage, DepthExceeded, SyncBridgeError, ValidationFailed
from syncbridge.http.strict import parse_json

REFUSED: dict[str, tuple[bytes, type[SyncBridgeError], str]] = {
    "empty": (b"", ValidationFailed, "empty"),
    "white space": (b" \n", ValidationFailed, "empty"),
    "two values": (b"{} {}", BadMessage, "line 1 column 4"),
    "trailing comma": (b'{"a": 1,}', BadMessage, "line 1"),
    "cut off": (b'{"a": [1', BadMessage, "line 1"),
    "byte order mark": (b"\xef\xbb\xbf{}", BadMessage, "byte order mark"),
    "bad UTF-8": (b'{"a": "\xff"}', BadMessage, "byte 7"),
    "NaN": (b'{"a": [1, NaN]}', BadMessage, "$.a[1]"),
    "Infinity": (b'{"a": -Infinity}', BadMessage, "$.a"),
    "1e400": (b'{"a": {"b": 1e400}}', BadMessage, "$.a.b"),
    "2^53": (b'{"a": 9007199254740992}', BadMessage, "$.a"),
    "10,000 digits": (b'{"a": [0, ' + b"9" * 10_000 + b"]}", BadMessage, "$.a[1]"),
    "a member twice": (b'{"ops": [{}, {"path": 1, "path": 2}]}', BadMessage, "$.ops[1]"),
    "lone surrogate": (rb'{"a": ["\ud800"]}', BadMessage, "$.a[0]"),
    "lone surrogate in a name": (rb'{"a": {"\udfff": 1}}', BadMessage, "$.a"),
    "NUL": (rb'{"a": {"b": "x\u0000y"}}', BadMessage, "$.a.b"),
    "NUL in a name": (rb'{"a": {"\u0000": 1}}', BadMessage, "$.a"),
    "raw control character": (b'{"a": "\x00"}', BadMessage, "line 1"),
    "41 levels": (b"[" * 41 + b"]" * 41, DepthExceeded, "$[0][0]"),
    "100,000 brackets": (b"[" * 100_000, DepthExceeded, "40"),
    "100,000 objects": (b'{"a":' * 100_000, DepthExceeded, "40"),
}


@pytest.mark.parametrize(("body", "error", "place"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_json_is_refused_with_its_place(body: bytes, error: type[SyncBridgeError], place: str) -> None:
    with pytest.raises(error) as refused:
        parse_json(body, depth_max=40)
    assert place in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"__proto__": {"x": 1}, "constructor": null}',
        rb'{"a": "\ud83d\ude00 \\u0000"}',
        b'{"brackets in text": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \\" ["}',
        b"[" * 40 + b"]" * 40,
        b"[9007199254740991, -9007199254740991, 1e300, -0.0, true]",
    ],
)
def test_good_json_is_taken_as_it_is(body: bytes) -> None:
    assert parse_json(body, depth_max=40) == json.loads(body)


def test_cost_grows_with_the_size_and_no_faster() -> None:
    def took(count: int) -> float:
        body = b'{"a": [' + b'{"b": "\\u0041[["},' * count + b"0]}"
        begin = time.thread_time()
        parse_json(body, depth_max=40)
        return time.thread_time() - begin

    small = min(took(1_000) for _ in range(5))
    large = min(took(10_000) for _ in range(3))
    assert large < 30 * small
