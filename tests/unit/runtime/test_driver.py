"""One connection between socket and engine: how it ends, and what operators count of that."""

from __future__ import annotations

import pytest

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
