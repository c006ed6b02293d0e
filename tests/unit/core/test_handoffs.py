"""Handoff: one owner at any time, and a handoff that fails changes nothing."""

from __future__ import annotations

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.ids import ConnectionId, DeviceId
from syncbridge.core.playhead import of_state
from tests.unit.core.stage import ROSTER, Stage, request


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    stage.moves("phone", 100, intent="seek")
    return stage


def fence(stage: Stage) -> int:
    log = stage.machine.log
    assert log is not None
    return log.fence


def test_offer_prepare_ready_moves_ownership_in_one_entry(stage: Stage) -> None:
    stage.offers("phone", "tv")
    assert stage.active == "phone"
    prepare = stage.last("tv", m.HandoffPrepare)
    assert prepare.playhead == stage.playhead
    stage.readies("tv")
    assert (stage.active, fence(stage)) == ("tv", 2)
    for device in ("phone", "tv"):
        done = stage.last(device, m.HandoffDone)
        assert (done.active, done.fence, done.source) == ("tv", 2, "phone")
    assert stage.stored[-1].kind == "handoff"


def test_old_owner_is_refused_and_the_new_one_goes_on(stage: Stage) -> None:
    stage.takes("tv")
    stage.passes(1_000)
    stale = stage.moves("phone", 101, intent="progress")
    fresh = stage.moves("tv", 101, intent="progress")
    assert isinstance(stale, m.Reject)
    assert isinstance(fresh, m.Ack)


def test_old_fence_is_refused_for_any_intent(stage: Stage) -> None:
    stage.takes("tv")
    answer = stage.pushes("tv", [{"op": "add", "path": "/notes", "value": "x"}], base=3, fence=1)
    assert isinstance(answer, m.Reject)
    assert (answer.code, answer.fence) == ("stale_fence", 2)


@pytest.mark.parametrize("how", ["declined", "cancelled", "expired"])
def test_offer_that_comes_to_nothing_leaves_owner_fence_and_playhead(stage: Stage, how: str) -> None:
    before = (stage.active, fence(stage), stage.playhead)
    stage.offers("phone", "tv")
    if how == "declined":
        stage.declines("tv")
    elif how == "cancelled":
        stage.cancels("phone")
    else:
        stage.passes(stage.limits.handoff_ready_ms)
    assert (stage.active, fence(stage), stage.playhead) == before
    for device in ("phone", "tv"):
        failed = stage.last(device, m.HandoffFailed)
        assert (failed.reason, failed.active) == (how, "phone")
    stage.readies("tv")
    assert stage.last("tv", m.ErrorMessage).code == "handoff_unknown"


def test_two_offers_at_once_one_wins(stage: Stage) -> None:
    stage.joins("laptop")
    stage.offers("phone", "tv", "h1")
    stage.offers("phone", "laptop", "h2")
    assert stage.last("phone", m.ErrorMessage).code == "handoff_busy"
    stage.readies("tv", "h1")
    assert stage.active == "tv"


def test_take_supersedes_a_waiting_offer_and_says_so(stage: Stage) -> None:
    stage.joins("laptop")
    stage.offers("phone", "tv")
    stage.takes("laptop")
    assert stage.active == "laptop"
    assert stage.last("tv", m.HandoffFailed).reason == "superseded"
    stage.readies("tv")
    assert stage.active == "laptop"
    assert fence(stage) == 2


@pytest.mark.parametrize(
    ("to", "code"), [("phone", "handoff_self"), ("fridge", "device_unknown")], ids=["itself", "unknown"]
)
def test_offer_to_nobody_is_refused_by_name(stage: Stage, to: str, code: str) -> None:
    stage.offers("phone", to)
    assert stage.last("phone", m.ErrorMessage).code == code
    assert stage.machine.version == 2


def test_only_the_active_device_offers(stage: Stage) -> None:
    stage.joins("laptop")
    stage.offers("tv", "laptop")
    assert stage.last("tv", m.ErrorMessage).code == "stale_owner"


def test_only_the_target_says_ready(stage: Stage) -> None:
    stage.joins("laptop")
    stage.offers("phone", "tv")
    stage.readies("laptop")
    assert stage.last("laptop", m.ErrorMessage).code == "handoff_unknown"
    assert stage.active == "phone"


def test_offer_waits_for_a_device_that_is_away_and_outlives_a_crash(stage: Stage) -> None:
    stage.offers("phone", "watch", expires_ms=60_000)
    offered = stage.last("phone", m.HandoffOffered)
    assert (offered.waiting, offered.expires_at) == (True, stage.now_ms + 60_000)
    assert stage.txns[-1].waiting_for == "watch"
    stage.crash()
    stage.passes(10_000)
    stage.happens(on.DeviceArrived(ConnectionId("watch"), DeviceId("watch")))
    assert stage.last("watch", m.HandoffPrepare).handoff == "h1"
    stage.joins("watch")
    stage.readies("watch")
    assert stage.active == "watch"
    assert stage.txns[-1].waiting_for is None


def test_offer_that_ran_out_while_nobody_was_in_memory_is_withdrawn_on_load(stage: Stage) -> None:
    stage.offers("phone", "watch", expires_ms=60_000)
    stage.crash()
    stage.now_ms += 61_000
    stage.joins("phone")
    stage.passes(1)
    assert stage.last("phone", m.HandoffFailed).reason == "expired"


def test_end_of_the_session_ends_its_waiting_offer(stage: Stage) -> None:
    stage.offers("phone", "tv")
    stage.moves("phone", 100, rate=0, intent="finish")
    assert stage.last("tv", m.HandoffFailed).reason == "ended"
    stage.readies("tv")
    assert stage.last("tv", m.ErrorMessage).code == "handoff_unknown"


def test_playing_goes_on_without_a_jump_over_a_live_handoff(stage: Stage) -> None:
    before = of_state(stage.state)
    stage.passes(5_000)
    stage.takes("tv", heard_at=stage.now_ms - 100)
    after = of_state(stage.state)
    assert before is not None
    assert after is not None
    for later_ms in (0, 1_000, 3_600_000):
        there = stage.now_ms + later_ms
        assert after.position_at(there) == pytest.approx(before.position_at(there), abs=0.001)
    assert stage.last("tv", m.HandoffDone).uncertainty_ms == 0


def test_paused_stays_paused_and_the_whole_state_moves(stage: Stage) -> None:
    stage.moves("phone", 100, rate=0, intent="seek")
    state = stage.state
    stage.passes(60_000)
    stage.takes("tv")
    assert stage.state == state
    assert stage.playhead["rate"] == 0


def test_dead_source_is_taken_up_where_it_was_last_heard_and_the_uncertainty_is_said(stage: Stage) -> None:
    stage.passes(20_000)
    stage.leaves("phone", heard_at=stage.now_ms)
    stage.passes(300_000)
    stage.takes("tv")
    done = stage.last("tv", m.HandoffDone)
    assert stage.playhead["position"] == pytest.approx(120, abs=0.01)
    assert stage.playhead["at"] == stage.now_ms
    assert stage.playhead["rate"] == 1
    assert done.uncertainty_ms == 300_000


def test_take_of_a_device_that_is_active_is_answered_and_not_repeated(stage: Stage) -> None:
    stage.takes("phone", "h7")
    assert stage.last("phone", m.HandoffDone).fence == 1
    assert fence(stage) == 1


def test_handoff_over_rest_moves_it_at_once(stage: Stage) -> None:
    reply = stage.asks(on.TakeRequested(request(), "phone", DeviceId("tv"), "take", "h5", ROSTER, None, stage.now_ms))
    assert reply.result is not None
    assert (reply.result.active, reply.result.fence, reply.result.handoff) == ("tv", 2, "h5")
    assert stage.last("phone", m.HandoffDone).active == "tv"


def test_thousand_handoffs_refuse_every_old_fence(stage: Stage) -> None:
    devices = ["phone", "tv"]
    for count in range(1_000):
        new, old = devices[(count + 1) % 2], devices[count % 2]
        stage.takes(new, f"h{count}")
        stale = stage.moves(old, 500_000, intent="progress")
        assert isinstance(stale, m.Reject)
        assert stage.active == new
        stage.inbox[new].clear()
    assert fence(stage) == 1_001


def test_latency_is_measured_from_the_request(stage: Stage) -> None:
    asked_at = stage.now_ms
    stage.offers("phone", "tv")
    stage.passes(40)
    stage.readies("tv")
    measured = [effect for effect in stage.effects if isinstance(effect, do.Measured) and effect.name == "handoff_done"]
    assert measured == [do.Measured("handoff_done", asked_at, "offer")]
