"""One encoding for the journal and for every device."""

from __future__ import annotations

import json

import pytest

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.runtime import fanout
from syncbridge.runtime.fanout import Fanout


def entries(first: int, count: int) -> list[Entry]:
    return [
        Entry(version, "patch", 1, ops=[{"op": "remove", "path": f"/{version}"}])
        for version in range(first, first + count)
    ]


def test_committed_entries_are_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Fanout(SessionId("s"))
    committed = entries(5, 3)
    bodies = encoder.journal(committed)
    monkeypatch.setattr(fanout, "encode_entry", None)
    assert encoder.frame(committed[1:2]).endswith(bodies[1][1:])
    assert encoder.frame(committed) == b'{"type":"entries","session":"s","entries":[' + b",".join(bodies) + b"]}"


@pytest.mark.parametrize("first", [1, 4, 5, 6, 8, 100])
def test_entries_of_others_are_encoded_for_themselves(first: int) -> None:
    encoder = Fanout(SessionId("s"))
    encoder.journal(entries(5, 3))
    others = [Entry(first, "patch", 2, device="other")]
    message = json.loads(encoder.frame(others))
    assert (message["type"], message["session"], message["version"], message["device"]) == (
        "entry",
        "s",
        first,
        "other",
    )


def test_before_the_first_commit_entries_can_be_told_too() -> None:
    [one, two] = json.loads(Fanout(SessionId("s")).frame(entries(1, 2)))["entries"]
    assert (one["version"], two["version"]) == (1, 2)


def test_what_another_node_committed_is_told_as_it_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Fanout(SessionId("s"))
    own, theirs = entries(5, 2), entries(7, 2)
    bodies = [b'{"version":%d,"of":"theirs"}' % entry.version for entry in theirs]
    encoder.heard(theirs, bodies)
    own_bodies = encoder.journal(own)
    monkeypatch.setattr(fanout, "encode_entry", None)
    assert encoder.frame(theirs).endswith(b",".join(bodies) + b"]}")
    assert encoder.frame(own).endswith(b",".join(own_bodies) + b"]}")


def test_entries_that_were_heard_of_without_their_bodies_are_encoded() -> None:
    encoder = Fanout(SessionId("s"))
    encoder.heard(entries(5, 2), [b"{}", b"{}"])
    later = entries(6, 1)
    encoder.heard(later, ())
    assert json.loads(encoder.frame(later))["ops"] == [{"op": "remove", "path": "/6"}]
