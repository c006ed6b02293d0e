"""How long an offer waits where the nodes' clocks differ: as long as it was made for, at whichever node."""

from __future__ import annotations

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.entry import Entry, HandoffNote, Txn
from syncbridge.core.ids import ConnectionId, DeviceId, HandoffId, TxnId
from syncbridge.limits import Limits
from tests.unit.core.stage import ACCOUNT, Stage, conflict, request

DAY_MS = 86_400_000
LASTS_MS = Limits().handoff_ready_ms
APART = pytest.mark.parametrize("apart_ms", [DAY_MS, 10_000, -10_000, -DAY_MS])
"""By how much the clock of the node that wrote the offer is ahead of this one's."""


@pytest.fixture
def stage() -> Stage:
    stage = Stage(is_shared=True)
    for device in ("phone", "tv", "watch"):
        stage.joins(device)
    return stage


def offered(stage: Stage, apart_ms: int, lasts_ms: int = LASTS_MS, target: str = "tv") -> Entry:
    """The entry of an offer that another node made just now."""
    at = stage.now_ms + apart_ms
    note = HandoffNote(HandoffId("h1"), "offer", DeviceId("phone"), DeviceId(target), expires_at=at + lasts_ms)
    return Entry(version=2, kind="offer", at=at, device="phone", handoff=note)


def stored(stage: Stage, entry: Entry) -> None:
    """It is in the log, and this node has not heard of it."""
    txn = Txn(TxnId("other"), stage.session, ACCOUNT, "e1", 1, [entry], [0], "active")
    stage.txns.append(txn)


def learn(stage: Stage, entry: Entry, way: str) -> None:
    """This node comes to know of the offer."""
    if way == "told":
        stage.happens(on.EntriesSeen("e1", [entry], [0], "other"))
        stage.txns.append(Txn(TxnId("other"), stage.session, ACCOUNT, "e1", 1, [entry], [0], "active"))
    elif way == "a lost race":
        stage.holds = True
        stage.happens(on.ReadRequested(request()))
        stage.holds = False
        conflict(stage, [entry])
    else:
        stored(stage, entry)
        stage.offer_left_ms = entry.handoff.expires_at - entry.at if entry.handoff else None
        if way == "read again":
            stage.happens(on.HeadSeen("e1", 2))
        else:
            stage.crash()
            for device in ("phone", "tv", "watch"):
                stage.joins(device)


WAYS = pytest.mark.parametrize("way", ["told", "a lost race", "read again", "loaded"])


@APART
@WAYS
def test_an_offer_of_another_node_waits_as_long_as_it_was_made_for(stage: Stage, way: str, apart_ms: int) -> None:
    learn(stage, offered(stage, apart_ms), way)
    stage.passes(LASTS_MS - 1)
    assert not stage.all("tv", m.HandoffFailed)
    stage.passes(1)
    assert [failed.reason for failed in stage.all("tv", m.HandoffFailed)] == ["expired"]


@APART
@WAYS
@pytest.mark.parametrize("answer", ["ready", "decline", "cancel"])
def test_until_then_it_is_answered_and_afterwards_it_is_over(
    stage: Stage, way: str, apart_ms: int, answer: str
) -> None:
    learn(stage, offered(stage, apart_ms), way)
    stage.passes(LASTS_MS - 1)
    {"ready": stage.readies, "decline": stage.declines, "cancel": stage.cancels}[answer](
        "phone" if answer == "cancel" else "tv"
    )
    assert (stage.active, stage.stored[-1].kind) == (("tv", "handoff") if answer == "ready" else ("phone", "withdraw"))


@APART
def test_an_answer_that_comes_before_the_timer_but_too_late_is_refused(stage: Stage, apart_ms: int) -> None:
    learn(stage, offered(stage, apart_ms), "told")
    stage.now_ms += LASTS_MS
    stage.readies("tv")
    assert stage.last("tv", m.ErrorMessage).code == "handoff_expired"
    assert stage.active == "phone"


@APART
def test_a_second_offer_is_refused_while_the_first_waits_and_taken_after(stage: Stage, apart_ms: int) -> None:
    learn(stage, offered(stage, apart_ms), "told")
    stage.timers.clear()  # nobody noted its end
    stage.now_ms += LASTS_MS - 1
    stage.offers("phone", "watch", "h2")
    assert stage.last("phone", m.ErrorMessage).code == "handoff_busy"
    stage.now_ms += 1
    stage.offers("phone", "watch", "h2")
    assert stage.last("watch", m.HandoffPrepare).handoff == "h2"


@APART
def test_devices_are_told_its_end_in_the_time_of_their_own_node(stage: Stage, apart_ms: int) -> None:
    learn(stage, offered(stage, apart_ms, 60_000), "told")
    assert stage.last("tv", m.HandoffPrepare).expires_at == stage.now_ms + 60_000
    offer = stage.joins("watch").offer
    assert offer is not None
    assert offer.expires_at == stage.now_ms + 60_000


@APART
def test_a_device_that_arrives_is_told_of_what_the_store_says_waits_yet(stage: Stage, apart_ms: int) -> None:
    entry = offered(stage, apart_ms, 600_000, "laptop")
    stage.crash()
    stored(stage, entry)
    laptop = on.DeviceArrived(ConnectionId("laptop"), DeviceId("laptop"))
    stage.now_ms += 590_000
    stage.offer_left_ms = 10_000
    stage.happens(laptop)
    assert stage.last("laptop", m.HandoffPrepare).expires_at == stage.now_ms + 10_000
    stage.crash()
    stage.offer_left_ms = 0
    stage.happens(laptop)
    assert not stage.all("laptop", m.HandoffPrepare)
    stage.passes(1)
    assert stage.stored[-1].kind == "withdraw"


@pytest.mark.parametrize("apart_ms", [DAY_MS, 10_000, 0])
def test_where_the_store_cannot_say_it_lasts_no_longer_than_it_was_made_for(stage: Stage, apart_ms: int) -> None:
    stage.crash()
    stored(stage, offered(stage, apart_ms))
    stage.joins("phone")
    stage.passes(LASTS_MS)
    assert stage.last("phone", m.HandoffFailed).reason == "expired"


@APART
def test_how_long_a_handoff_took_is_measured_by_one_clock(stage: Stage, apart_ms: int) -> None:
    learn(stage, offered(stage, apart_ms), "told")
    began_at = stage.now_ms
    stage.passes(700)
    stage.readies("tv")
    (done,) = [one for one in stage.effects if isinstance(one, do.Measured) and one.name == "handoff_done"]
    assert done.value == began_at
