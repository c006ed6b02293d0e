"""How long anybody waits for the store: each from when it asked, until it has its answer or is told not to wait."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.ids import ConnectionId, DeviceId
from tests.unit.core.stage import ACCOUNT, ROSTER, Stage, conflict, orders
from tests.unit.core.stage import request as named

SET = [{"op": "add", "path": "/n", "value": 1}]
OTHER = [{"op": "add", "path": "/n", "value": 2}]


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    stage = Stage(is_shared=getattr(request, "param", False))
    stage.joins("phone")
    stage.joins("tv")
    return stage


def breaths(value: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/totals/breaths", "value": value}]


def is_online(stage: Stage, device: str) -> bool:
    """As the tv was told last."""
    told = [one.online for one in stage.all("tv", m.PresenceMessage) if one.device == device]
    return bool(told) and told[-1]


def test_silent_store_is_answered_unavailable_in_time_and_nothing_doubles(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(5), base=1, seq=1)
    stage.happens(on.ReadRequested(named("r9")))
    stage.passes(stage.limits.store_timeout_ms)
    reject = stage.last("phone", m.Reject)
    assert (reject.code, reject.retry, reject.retry_after_ms > 0) == ("unavailable", "same", True)
    assert stage.replies["r9"].code == "unavailable"
    stage.commits()
    stage.holds = False
    again = stage.pushes("phone", breaths(5), base=1, seq=1)
    assert isinstance(again, m.Ack)
    assert again.version == 2
    assert stage.state["totals"]["breaths"] == 5


def test_push_that_waited_behind_a_commit_is_told_in_time_from_when_it_was_made(stage: Stage) -> None:
    timeout_ms = stage.limits.store_timeout_ms
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.passes(timeout_ms - 500)
    stage.pushes("tv", breaths(2), base=1, seq=1)
    stage.passes(400)
    stage.commits()
    assert len(stage.held) == 1
    stage.passes(timeout_ms - 400 - 1)
    assert stage.all("tv", m.Reject) == []
    stage.passes(1)
    assert stage.last("tv", m.Reject).code == "unavailable"


def test_join_in_flight_is_refused_in_time_and_follows_nothing_until_it_joins_again(stage: Stage) -> None:
    stage.holds = True
    laptop = ConnectionId("laptop")
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", breaths(2), base=1, seq=2)
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1", ref="a")))
    stage.commits()
    stage.passes(stage.limits.store_timeout_ms)
    assert (stage.last("laptop", m.ErrorMessage).code, stage.last("laptop", m.ErrorMessage).ref) == ("unavailable", "a")
    stage.passes(stage.limits.store_timeout_ms)
    assert len(stage.all("laptop", m.ErrorMessage)) == 1
    stage.commits()
    assert stage.all("laptop", m.Joined) == []
    assert not is_online(stage, "laptop")
    stage.holds = False
    assert stage.joins("laptop").position.version == 3
    assert is_online(stage, "laptop")


@pytest.mark.parametrize("stage", [False, True], indirect=True, ids=["alone", "shared"])
def test_member_whose_next_join_is_refused_in_time_is_offline_for_the_others_until_it_joins_again(stage: Stage) -> None:
    stage.joins("laptop")
    stage.holds = True
    laptop = ConnectionId("laptop")
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1", ref="a")))
    assert is_online(stage, "laptop")
    stage.passes(stage.limits.store_timeout_ms)
    assert stage.last("laptop", m.ErrorMessage).code == "unavailable"
    assert not is_online(stage, "laptop")
    assert ("laptop" in [one.device for one in orders(stage, do.Absent)]) is stage.machine.is_shared
    stage.commits()
    assert not is_online(stage, "laptop")
    stage.holds = False
    stage.joins("laptop")
    assert is_online(stage, "laptop")


@pytest.mark.parametrize("stage", [True], indirect=True, ids=["shared"])
def test_push_that_loses_race_after_race_is_told_in_time_all_the_same(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", SET, base=1)
    for number in range(5):
        assert stage.all("phone", m.Reject) == []
        stage.passes(stage.limits.store_timeout_ms // 5)
        if stage.held:
            conflict(stage, [stage.entry(2 + number, ops=OTHER)])
    assert stage.last("phone", m.Reject).code == "unavailable"
