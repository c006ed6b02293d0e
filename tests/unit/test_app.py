"""The composition root's own small things."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.app import make_ids, session_types_of
from syncbridge.config import Settings
from syncbridge.core.messages import Id
from syncbridge.errors import PolicyError


def test_ids_are_unique_within_a_process_and_between_two() -> None:
    one, other = make_ids(), make_ids()
    ids = [one() for _ in range(1_000)] + [other() for _ in range(1_000)]
    assert len(set(ids)) == 2_000


def test_ids_may_stand_in_a_message_and_come_back() -> None:
    new_id = make_ids()
    for _ in range(300):
        msgspec.convert(new_id(), Id)


def test_an_operators_session_types_join_the_shipped_ones() -> None:
    table = {"swim": {"policies": {"/laps": "counter"}, "ranges": {"/laps": [0, 500]}, "initial": {"laps": 0}}}
    types = session_types_of(Settings(session_types=table))
    assert {"breathing", "custom", "swim"} <= set(types)
    assert types["swim"].initial_state()["laps"] == 0


def test_a_session_type_that_makes_no_sense_is_named() -> None:
    with pytest.raises(PolicyError, match="newest"):
        session_types_of(Settings(session_types={"swim": {"policies": {"/laps": "newest"}}}))
