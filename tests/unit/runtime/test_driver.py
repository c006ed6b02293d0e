"""One connection between socket and engine: how it ends, and what operators count of that."""

from __future__ import annotations

import pytest

from syncbridge.limits import Limits
from syncbridge.wire.close import CLOSED_BY_DEVICE, CONNECTION_LOST, REASONS, CloseCode
from tests.unit.runtime.world import World


def _faults(world: World) -> list[str]:
    return [label for name, _, label in world.figures.seen if name == "connection_error"]


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        (CloseCode.PROTOCOL_ERROR, ["bad_frame"]),
        (CloseCode.UNSUPPORTED_DATA, ["bad_frame"]),
        (CloseCode.MESSAGE_TOO_BIG, ["message_too_large"]),
        (CloseCode.TOO_SLOW, ["too_slow"]),
        (CloseCode.RATE_LIMITED, ["rate_limited"]),
        (CloseCode.NORMAL, []),
        (CloseCode.SERVICE_RESTART, []),
    ],
)
def test_a_fault_that_the_socket_ends_is_counted_by_its_name(code: CloseCode, counted: list[str]) -> None:
    world = World()
    world.device("phone").driver.on_close(code, REASONS[code])
    assert _faults(world) == counted


def test_a_code_that_the_device_chose_or_a_cut_is_no_fault() -> None:
    world = World()
    world.device("phone").driver.on_close(CloseCode.MESSAGE_TOO_BIG, CLOSED_BY_DEVICE)
    world.device("tv").driver.on_close(None, CONNECTION_LOST)
    assert _faults(world) == []


def test_a_fault_that_was_told_is_counted_once() -> None:
    world = World()
    device = world.connect()
    device.say(type="hello", token="", device={"id": "phone"}, protocol=2)
    device.driver.on_close(CloseCode.BAD_MESSAGE, REASONS[CloseCode.BAD_MESSAGE])
    assert _faults(world) == ["protocol_unsupported"]


def test_a_close_carries_the_sentence_of_its_code() -> None:
    world = World()
    device = world.connect()
    device.say(type="join", session="s1")
    assert device.outlet.closed == (CloseCode.UNAUTHENTICATED, "")  # empty: the code's own, in the frame


# -- renewal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "next_one", "outcome"),
    [
        ("ann", "ann", "token.accepted"),
        ("ann", "ann/s1", "forbidden"),
        ("ann/s1", "ann/s1", "token.accepted"),
        ("ann/s1", "ann/s2", "forbidden"),
        ("ann/s1", "ann", "token.accepted"),
    ],
)
def test_token_that_reaches_less_does_not_keep_a_connection_that_reaches_more(
    first: str, next_one: str, outcome: str
) -> None:
    device = World().connect()
    device.hello("tv", first)
    told = device.say(type="auth", token=next_one)[-1]
    assert told.get("code", told["type"]) == outcome
    assert device.outlet.closed == ((CloseCode.FORBIDDEN, "") if outcome == "forbidden" else None)


def test_connection_of_one_session_that_an_account_s_token_renewed_takes_one_of_its_session_again() -> None:
    device = World().connect()
    device.hello("tv", "ann/s1")
    told = [device.say(type="auth", token=token)[-1]["type"] for token in ("ann", "ann/s1")]
    assert told == ["token.accepted"] * 2


# -- before hello -----------------------------------------------------------------------------------------------


def test_the_oldest_socket_without_a_hello_gives_way() -> None:
    world = World(Limits(hello_pending_max=3))
    known = world.device("phone")
    silent = [world.connect() for _ in range(3)]
    world.loop.turn()
    assert [device.outlet.closed for device in silent] == [None] * 3
    late = world.connect()
    world.loop.turn()
    assert silent[0].outlet.closed == (CloseCode.TRY_AGAIN_LATER, "")
    assert silent[0].outlet.take()[-1]["code"] == "busy"
    assert [device.outlet.closed for device in (*silent[1:], late, known)] == [None] * 4
    assert _faults(world) == ["busy"]
    assert late.hello("tv")["type"] == "welcome"
    assert world.engine.hub.strangers == 2


def test_a_hello_or_an_end_makes_room_for_the_next() -> None:
    world = World(Limits(hello_pending_max=2))
    for number in range(20):
        device = world.connect()
        if number % 2:
            device.hello(f"d{number % 4}")
        else:
            device.hang_up()
    assert (world.engine.hub.strangers, _faults(world).count("busy")) == (0, 0)
    waiting = [world.connect() for _ in range(2)]
    world.loop.turn()
    assert [device.outlet.closed for device in waiting] == [None, None]


def test_one_that_gave_way_and_does_not_go_costs_nobody_else_a_place() -> None:
    world = World(Limits(hello_pending_max=1))
    devices = [world.connect() for _ in range(5)]
    world.loop.turn()
    assert [device.outlet.closed is not None for device in devices] == [True] * 4 + [False]
    assert world.engine.hub.strangers == 1
    for device in devices:
        device.hang_up()
    assert (world.engine.hub.strangers, len(world.engine.hub)) == (0, 0)


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (CloseCode.NORMAL, CLOSED_BY_DEVICE, "closed"),
        (None, CONNECTION_LOST, "lost"),
        (CloseCode.TOO_SLOW, REASONS[CloseCode.TOO_SLOW], "too_slow"),
    ],
)
def test_how_a_device_left_its_session_is_recorded(code: CloseCode | None, reason: str, cause: str) -> None:
    world = World()
    world.create()
    device = world.device("phone", "s1")
    device.driver.on_close(code, reason)
    noted = [(one.session, one.device, one.kind, one.code) for one in world.recorder.seen]
    assert noted == [("s1", "phone", "joined", "new"), ("s1", "phone", "left", cause)]
