"""The composition root's own small things."""

from __future__ import annotations

import msgspec

from syncbridge.app import make_ids
from syncbridge.core.messages import Id


def test_ids_are_unique_within_a_process_and_between_two() -> None:
    one, other = make_ids(), make_ids()
    ids = [one() for _ in range(1_000)] + [other() for _ in range(1_000)]
    assert len(set(ids)) == 2_000


def test_ids_may_stand_in_a_message_and_come_back() -> None:
    new_id = make_ids()
    for _ in range(300):
        msgspec.convert(new_id(), Id)
