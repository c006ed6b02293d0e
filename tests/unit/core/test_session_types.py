"""Session types: what is compiled for them, and what a configured one may not be."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import messages as m
from syncbridge.core.session_types import SESSION_TYPES, SessionType, touched
from syncbridge.errors import PolicyError
from tests.unit.core.stage import Stage


@pytest.mark.parametrize("name", sorted(SESSION_TYPES))
def test_shipped_type_starts_paused_at_0_within_its_own_ranges(name: str) -> None:
    stage = Stage(name)
    stage.joins("phone")
    assert stage.playhead == {"position": 0, "rate": 0, "at": 0}
    assert isinstance(stage.pushes("phone", [{"op": "add", "path": "/pace", "value": 1}], base=1), m.Ack)


@pytest.mark.parametrize(
    ("op", "may_own"),
    [
        ({"op": "add", "path": "/device/battery", "value": 1}, True),
        ({"op": "replace", "path": "", "value": {}}, True),
        ({"op": "move", "from": "/device", "path": "/notes"}, True),
        ({"op": "add", "value": 1}, True),
        ({"op": "add", "path": "device", "value": 1}, True),
        ({"op": "add", "path": "/notes", "value": 1}, False),
        ({"op": "add", "path": "/devices", "value": 1}, False),
    ],
    ids=str,
)
def test_what_may_touch_the_owners_place_is_never_passed_over(op: dict[str, Any], may_own: bool) -> None:
    assert SESSION_TYPES["breathing"].may_own(touched([op])) is may_own


def test_others_may_not_write_the_owners_place_even_on_the_head() -> None:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    answer = stage.pushes("tv", [{"op": "add", "path": "/device", "value": "tv"}], base=1)
    assert isinstance(answer, m.Ack)
    assert [row["policy"] for row in answer.conflicts] == ["owner"]
    assert "device" not in stage.state
    stage.pushes("phone", [{"op": "add", "path": "/device", "value": "phone"}], base=2)
    assert stage.state["device"] == "phone"


@pytest.mark.parametrize("value", [101, -1, "60", True, None, [1]], ids=repr)
def test_number_out_of_its_range_is_refused_by_name(value: Any) -> None:
    stage = Stage()
    stage.joins("phone")
    answer = stage.pushes("phone", [{"op": "replace", "path": "/settings/volume", "value": value}], base=1)
    if value is None:
        assert isinstance(answer, m.Ack), "null takes the number away"
        return
    assert isinstance(answer, m.Reject)
    assert answer.code == "validation_failed"
    assert "/settings/volume is a number from 0 to 100" in answer.message


def test_range_holds_for_a_patch_of_the_object_around_it() -> None:
    stage = Stage()
    stage.joins("phone")
    answer = stage.pushes("phone", [{"op": "replace", "path": "/settings", "value": {"volume": 500}}], base=1)
    assert isinstance(answer, m.Reject)


@pytest.mark.parametrize(
    "table",
    [
        {"polices": {}},
        {"policies": {"/x": "newest"}},
        {"ranges": {"/x": [5]}},
        {"ranges": {"/x": [5, 1]}},
        {"ranges": {"x": [1, 5]}},
    ],
    ids=str,
)
def test_configured_type_that_makes_no_sense_is_named(table: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=r"custom-2|newest"):
        SessionType.from_mapping("custom-2", table)


def test_configured_type_merges_as_it_says() -> None:
    table = {"policies": {"/laps": "counter"}, "ranges": {"/laps": [0, 9]}, "initial": {"laps": 0}}
    kind = SessionType.from_mapping("swim", table)
    assert kind.initial_state()["laps"] == 0
    assert kind.ranges["laps"][0].most == 9
