"""Bad patches, over the socket and over REST."""

from __future__ import annotations

from typing import Any

from tests.catalogue.rows import Row
from tests.catalogue.stage import Send, patch, push

FAMILY = "Patch"
OK: dict[str, Any] = {"op": "replace", "path": "/n", "value": 2}
BAD = "bad_patch at op 1"


def op(kind: str, path: str, **more: Any) -> list[dict[str, Any]]:
    """An op that is fine, and then this one: the index in the answer is 1, and the first one must not stay."""
    return [OK, {"op": kind, "path": path, **({"value": 1} if kind in ("add", "replace", "test") else {}), **more}]


def bomb(doublings: int) -> list[dict[str, Any]]:
    """Each op copies the whole object into itself."""
    return [{"op": "copy", "from": "/object", "path": f"/object/c{number}"} for number in range(doublings)]


def both(clause: str, sent: str, gets: str, ops: Any, *, status: int = 422) -> list[Row]:
    """The same patch over the socket and over REST."""
    return [
        Row(FAMILY, clause, sent, f"reject {gets}; stays", push(ops)),
        Row(FAMILY, clause, f"REST: {sent}", f"{status} {gets}", patch(ops)),
    ]


_OTHERS: list[tuple[str, str, str, Send]] = [
    ("over the state limit", "REST: a state of 300 kB", "413 state_too_large at op 0",
     patch({"text": "x" * 300_000}, media="application/merge-patch+json")),
    ("over the state limit", "REST: a body of 10 MB", "413 message_too_large",
     patch(b'{"a":"' + b"x" * 10_000_000 + b'"}', media="application/merge-patch+json")),
    ("missing path", "REST: a patch that is no list", "422 validation_failed at $", patch({"op": "add"})),
    ("missing path", "REST: a merge patch that is a list", "422 validation_failed at $",
     patch([1], media="application/merge-patch+json")),
    ("missing path", "REST: another media type", "415 unsupported_media_type", patch([], media="text/plain")),
    ("whole root", "the whole state replaced by a list", "reject bad_patch; stays",
     push([{"op": "replace", "path": "", "value": []}])),
]  # fmt: skip

ROWS = [
    *both("missing path", "an op without a path", BAD, [OK, {"op": "add", "value": 1}]),
    *both("missing path", "an op without a value", BAD, [OK, {"op": "add", "path": "/n"}]),
    *both("missing path", "an op that does not exist", BAD, op("frobnicate", "/n")),
    *both("missing path", "replace of what is not there", BAD, op("replace", "/gone")),
    *both("missing path", "remove of what is not there", BAD, op("remove", "/gone")),
    *both("missing path", "add below what is not there", BAD, op("add", "/gone/deeper")),
    *both("missing path", "add below a number", BAD, op("add", "/n/deeper")),
    *both("bad pointer", "~2 in a pointer", BAD, op("add", "/a~2")),
    *both("bad pointer", "~ at the end of a pointer", BAD, op("add", "/a~")),
    *both("bad pointer", "a pointer without its first slash", BAD, op("add", "n")),
    *both("- on an object", "- for an object's last", BAD, op("remove", "/object/-")),
    *both("- on an object", "remove of a list's -", BAD, op("remove", "/list/-")),
    *both("index 01, -1, 10^9", "index 01", BAD, op("replace", "/list/01")),
    *both("index 01, -1, 10^9", "index -1", BAD, op("replace", "/list/-1")),
    *both("index 01, -1, 10^9", "index 1,000,000,000", BAD, op("add", "/list/1000000000")),
    *both("index 01, -1, 10^9", "an index of 5,000 digits", BAD, op("add", "/list/" + "9" * 5_000)),
    *both("index 01, -1, 10^9", "an index in other digits", BAD, op("replace", "/list/\u0661")),
    *both("test fails", "a test that fails", "patch_test_failed at op 1", op("test", "/n", value=7), status=409),
    *both("test fails", "a test of true for 1", "patch_test_failed at op 1",
          [{"op": "replace", "path": "/n", "value": 1}, {"op": "test", "path": "/n", "value": True}], status=409),
    *both("move into own child", "a move into its own child", BAD, op("move", "/object/a/b", **{"from": "/object"})),
    *both("a copy bomb", "a copy bomb of 40 doublings", "state_too_large at op 13", bomb(40), status=413),
    *both("a copy bomb", "a copy bomb of 128 doublings", "state_too_large at op 13", bomb(128), status=413),
    *both("over 128 ops", "129 ops", "bad_patch", [OK] * 129),
    *[Row(FAMILY, *row) for row in _OTHERS],
]  # fmt: skip
