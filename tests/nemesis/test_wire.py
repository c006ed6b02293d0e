"""What the wire finds wrong: each kind of silence is shown to it once."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from tests.nemesis.wire import Line, Wire

JOIN = {"type": "join", "session": "s", "ref": "j1", "position": {"epoch": "e", "version": 4}}
RESUMED = {"type": "joined", "session": "s", "ref": "j1", "mode": "resumed", "position": {"version": 6}}
SNAPSHOT = {"type": "joined", "session": "s", "ref": "j1", "mode": "snapshot", "position": {"version": 6}}
BOTH = [{"version": 5}, {"version": 6}]


class Nobody:
    """A device and a node that do nothing with what they get."""

    def send(self, data: bytes) -> None:
        pass

    def close(self, code: int = 1000) -> None:
        pass

    def received(self, data: bytes) -> None:
        pass

    def heard(self) -> None:
        pass

    def closed(self, code: int | None) -> None:
        pass


def told(*messages: dict[str, Any]) -> list[str]:
    """What is wrong with these, after a join from version 4."""
    wire = Wire(random.Random(1), lambda: "")
    line = Line(wire, "phone", Nobody())
    line.transport = Nobody()
    line.send(msgspec.json.encode(JOIN))
    for message in messages:
        line.received(msgspec.json.encode({"session": "s", **message}))
    return wire.violations


@pytest.mark.parametrize(
    "messages",
    [
        [{**RESUMED, "entries": BOTH}, {"type": "entry", "version": 7}, {"type": "ack", "seq": 1, "version": 8}],
        [{**SNAPSHOT, "reason": "behind"}, {"type": "entries", "entries": [{"version": 7}, {"version": 8}]}],
        [{**RESUMED, "entries": BOTH}, {**SNAPSHOT, "ref": "", "reason": "slow", "position": {"version": 20}}],
        [{**RESUMED, "entries": BOTH}, {"type": "ack", "seq": 1, "version": 3}],
    ],
)
def test_a_device_that_is_told_everything_or_why_not_is_not_behind(messages: list[dict[str, Any]]) -> None:
    assert told(*messages) == []


def test_a_device_that_is_replaced_on_its_only_connection_is_found() -> None:
    replaced = {"type": "error", "code": "device_replaced"}
    assert told(replaced) != []
    wire = Wire(random.Random(1), lambda: "")
    left = Line(wire, "phone", Nobody())
    left.transport = Nobody()
    left.close(1001)
    left.received(msgspec.json.encode(replaced))
    assert wire.violations == []


@pytest.mark.parametrize(
    "messages",
    [
        [{**RESUMED, "entries": BOTH[1:]}],
        [{**RESUMED, "entries": BOTH[:1]}],
        [SNAPSHOT],
        [{"type": "entry", "version": 5}],
        [{**RESUMED, "entries": BOTH}, {"type": "entry", "version": 8}],
        [{**RESUMED, "entries": BOTH}, {"type": "entry", "version": 6}],
        [{**RESUMED, "entries": BOTH}, {"type": "left", "reason": "unavailable"}, {"type": "entry", "version": 7}],
    ],
)
def test_a_device_that_misses_a_version_unsaid_is_found(messages: list[dict[str, Any]]) -> None:
    assert len(told(*messages)) == 1
