"""The connection machine: nobody until admitted, then one device, and never a word after the end."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from syncbridge import errors
from syncbridge.core import connection_events as c
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.connection import ConnectionMachine, ConnectionState
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.limits import Limits

NOW = 1_700_000_000_000
PHONE = m.DeviceInfo("phone", "Phone")
HELLO = c.MessageReceived(m.Hello("token", PHONE))
ADMITTED = c.Admitted(AccountId("anna"), DeviceId("phone"), NOW + 900_000, (PHONE,))


@pytest.fixture
def machine() -> ConnectionMachine:
    machine = ConnectionMachine(ConnectionId("c1"), Limits())
    machine.receive(c.Opened(), NOW)
    return machine


@pytest.fixture
def ready(machine: ConnectionMachine) -> ConnectionMachine:
    machine.receive(HELLO, NOW)
    machine.receive(ADMITTED, NOW)
    return machine


def messages_in(effects: list[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, c.SendMessage)]


def close_in(effects: list[Any]) -> int | None:
    closes = [effect.code for effect in effects if isinstance(effect, c.CloseConnection)]
    assert len(closes) <= 1
    return closes[0] if closes else None


def every_message() -> list[Any]:
    """One of each message a device can say."""
    made: dict[type, Any] = {
        m.Hello: m.Hello("t", PHONE),
        m.Auth: m.Auth("t"),
        m.Join: m.Join("s1"),
        m.Leave: m.Leave("s1"),
        m.Push: m.Push("s1", 1, 1, []),
        m.HandoffOffer: m.HandoffOffer("s1", "tv"),
        m.HandoffTake: m.HandoffTake("s1"),
        m.HandoffReady: m.HandoffReady("s1", "h1"),
        m.HandoffDecline: m.HandoffDecline("s1", "h1"),
        m.HandoffCancel: m.HandoffCancel("s1", "h1"),
        m.HandoffConfirm: m.HandoffConfirm("s1", "h1"),
        m.Signal: m.Signal("s1", {}),
        m.Clock: m.Clock(1),
    }
    assert set(made) == set(typing.get_args(m.AnyClientMessage))
    return list(made.values())


def every_event() -> list[Any]:
    """One of each event, messages included."""
    others: dict[type, Any] = {
        c.Opened: c.Opened(),
        c.MalformedReceived: c.MalformedReceived("bad_message", "x"),
        c.Admitted: ADMITTED,
        c.Refused: c.Refused("token_invalid", "no"),
        c.Renewed: c.Renewed(NOW + 900_000),
        c.RosterKnown: c.RosterKnown((PHONE,)),
        c.SessionLost: c.SessionLost(SessionId("s1")),
        c.Dismissed: c.Dismissed("device_replaced"),
        c.Draining: c.Draining(1_000),
        c.PeerClosed: c.PeerClosed(NOW),
        c.ConnectionTimer: c.ConnectionTimer("hello"),
    }
    assert {*others, c.MessageReceived} == set(typing.get_args(c.AnyConnectionEvent))
    return [*others.values(), *(c.MessageReceived(message) for message in every_message())]


def machine_in(state: ConnectionState) -> ConnectionMachine:
    machine = ConnectionMachine(ConnectionId("c1"), Limits())
    steps: dict[ConnectionState, list[Any]] = {
        ConnectionState.AWAITING: [],
        ConnectionState.CHECKING: [HELLO],
        ConnectionState.READY: [HELLO, ADMITTED, c.MessageReceived(m.Join("s1"))],
        ConnectionState.CLOSED: [HELLO, ADMITTED, c.MessageReceived(m.Join("s1")), c.Dismissed("forbidden")],
    }
    for step in steps[state]:
        machine.receive(step, NOW)
    assert machine.state is state
    return machine


@pytest.mark.parametrize("state", list(ConnectionState), ids=lambda state: state.value)
@pytest.mark.parametrize("event", every_event(), ids=lambda e: type(getattr(e, "message", e)).__name__)
def test_every_event_in_every_state_gives_effects_and_never_raises(state: ConnectionState, event: Any) -> None:
    machine = machine_in(state)
    effects = machine.receive(event, NOW)
    assert all(isinstance(effect, typing.get_args(c.AnyConnectionEffect)) for effect in effects)
    if state is ConnectionState.CLOSED:
        assert all(isinstance(effect, c.ToSession) for effect in effects)
    if close_in(effects) is not None:
        assert machine.state is ConnectionState.CLOSED


@pytest.mark.parametrize(
    "message",
    [message for message in every_message() if not isinstance(message, m.Hello)],
    ids=lambda e: type(e).__name__,
)
def test_anything_before_hello_closes_with_4401(machine: ConnectionMachine, message: Any) -> None:
    effects = machine.receive(c.MessageReceived(message), NOW)
    assert messages_in(effects)[0].code == "hello_required"
    assert close_in(effects) == 4401


def test_hello_is_admitted_and_welcomed_with_limits(machine: ConnectionMachine) -> None:
    asked = machine.receive(HELLO, NOW)
    assert asked == [c.Admit("token", PHONE)]
    effects = machine.receive(ADMITTED, NOW)
    welcome = messages_in(effects)[0]
    assert isinstance(welcome, m.Welcome)
    assert welcome.limits.devices_max == ADMITTED.plan.devices_max == 5
    assert c.Announce(AccountId("anna"), DeviceId("phone")) in effects


def test_no_hello_in_time_closes_with_4401(machine: ConnectionMachine) -> None:
    assert close_in(machine.receive(c.ConnectionTimer("hello"), NOW + 10_000)) == 4401


def test_silent_gate_is_bounded_by_the_hello_timer(machine: ConnectionMachine) -> None:
    machine.receive(HELLO, NOW)
    assert close_in(machine.receive(c.ConnectionTimer("hello"), NOW + 10_000)) == 4401


def test_hello_timer_leaves_an_admitted_device_alone(ready: ConnectionMachine) -> None:
    assert ready.receive(c.ConnectionTimer("hello"), NOW + 10_000) == []


def test_unknown_protocol_version_is_named(machine: ConnectionMachine) -> None:
    effects = machine.receive(c.MessageReceived(m.Hello("t", PHONE, 2)), NOW)
    assert messages_in(effects)[0].code == "protocol_unsupported"
    assert close_in(effects) == 4400


def test_device_limit_lists_the_devices(machine: ConnectionMachine) -> None:
    machine.receive(HELLO, NOW)
    devices = tuple(m.DeviceInfo(f"d{n}", f"Device {n}") for n in range(5))
    effects = machine.receive(c.Refused("device_limit", "five devices", devices), NOW)
    assert [device.id for device in messages_in(effects)[0].devices] == ["d0", "d1", "d2", "d3", "d4"]
    assert close_in(effects) == errors.DeviceLimit.close_code


def test_what_a_device_says_before_welcome_follows_in_order(machine: ConnectionMachine) -> None:
    machine.receive(HELLO, NOW)
    assert machine.receive(c.MessageReceived(m.Join("s1")), NOW) == []
    machine.receive(c.MessageReceived(m.Push("s1", 1, 1, []), 7), NOW)
    routed = [effect for effect in machine.receive(ADMITTED, NOW) if isinstance(effect, c.ToSession)]
    assert [type(effect.event) for effect in routed] == [on.MemberJoined, on.PushReceived]


def test_what_is_kept_before_welcome_is_bounded(machine: ConnectionMachine) -> None:
    machine.receive(HELLO, NOW)
    for _ in range(machine.limits.hello_messages_max):
        assert machine.receive(c.MessageReceived(m.Clock(1)), NOW) == []
    assert close_in(machine.receive(c.MessageReceived(m.Clock(1)), NOW)) == 4400


def test_session_message_without_join_is_answered_not_joined(ready: ConnectionMachine) -> None:
    effects = ready.receive(c.MessageReceived(m.Push("s1", 1, 1, [])), NOW)
    assert [(message.code, message.about) for message in messages_in(effects)] == [("not_joined", "push")]


def test_joins_are_bounded_but_joining_again_is_free(ready: ConnectionMachine) -> None:
    for count in range(ready.limits.joins_max):
        ready.receive(c.MessageReceived(m.Join(f"s{count}")), NOW)
    assert messages_in(ready.receive(c.MessageReceived(m.Join("one-more")), NOW))[0].code == "joins_exceeded"
    assert isinstance(ready.receive(c.MessageReceived(m.Join("s0")), NOW)[0], c.ToSession)


def test_scoped_token_reaches_its_session_only(machine: ConnectionMachine) -> None:
    machine.receive(HELLO, NOW)
    machine.receive(c.Admitted(AccountId("anna"), DeviceId("phone"), 0, (PHONE,), SessionId("s1")), NOW)
    assert messages_in(machine.receive(c.MessageReceived(m.Join("s2")), NOW))[0].code == "not_found"
    assert isinstance(machine.receive(c.MessageReceived(m.Join("s1")), NOW)[0], c.ToSession)
    declined = machine.receive(c.MessageReceived(m.HandoffDecline("s2", "h")), NOW)
    assert messages_in(declined)[0].code == "not_joined"


def test_every_join_is_left_exactly_once_when_the_socket_goes(ready: ConnectionMachine) -> None:
    for session in ("s1", "s2"):
        ready.receive(c.MessageReceived(m.Join(session)), NOW)
    ready.receive(c.MessageReceived(m.Leave("s1")), NOW)
    effects = ready.receive(c.PeerClosed(NOW + 5), NOW + 9)
    assert effects == [c.ToSession(SessionId("s2"), on.MemberLeft(ConnectionId("c1"), NOW + 5, True))]
    assert ready.receive(c.PeerClosed(NOW + 5), NOW + 9) == []


def test_closed_by_us_still_leaves_its_sessions(ready: ConnectionMachine) -> None:
    ready.receive(c.MessageReceived(m.Join("s1")), NOW)
    assert close_in(ready.receive(c.Dismissed("device_replaced"), NOW)) == 4409
    assert len(ready.receive(c.PeerClosed(NOW), NOW)) == 1


@pytest.mark.parametrize(
    ("ending", "closing", "cause"),
    [
        ([c.Dismissed("device_replaced")], c.PeerClosed(NOW), "device_replaced"),
        ([c.Draining(1_500)], c.PeerClosed(NOW, "closed"), "restart"),
        ([c.RosterKnown(())], c.PeerClosed(NOW), "device_unknown"),
        ([], c.PeerClosed(NOW, "closed"), "closed"),
        ([], c.PeerClosed(NOW), "lost"),
        ([], c.PeerClosed(NOW, "too_slow"), "too_slow"),
    ],
)
def test_a_session_hears_why_its_member_left(
    ready: ConnectionMachine, ending: list[Any], closing: c.PeerClosed, cause: str
) -> None:
    ready.receive(c.MessageReceived(m.Join("s1")), NOW)
    for event in ending:
        ready.receive(event, NOW)
    (left,) = ready.receive(closing, NOW)
    assert isinstance(left, c.ToSession)
    assert isinstance(left.event, on.MemberLeft)
    assert left.event.cause == cause


def test_malformed_messages_are_answered_then_the_connection_is_closed(ready: ConnectionMachine) -> None:
    bad = c.MalformedReceived("bad_message", "expected an object at $.ops[3]")
    for _ in range(ready.limits.bad_messages_max):
        effects = ready.receive(bad, NOW)
        assert messages_in(effects)[0].message == bad.message
        assert close_in(effects) is None
    assert close_in(ready.receive(bad, NOW)) == 4400


def test_token_is_warned_of_renewed_and_ends(ready: ConnectionMachine) -> None:
    expires = ADMITTED.expires_at
    warned = ready.receive(c.ConnectionTimer("token"), expires - 60_000)
    assert messages_in(warned) == [m.TokenExpiring(expires)]
    assert ready.receive(c.MessageReceived(m.Auth("new")), NOW) == [
        c.Renew("new", AccountId("anna"), DeviceId("phone"))
    ]
    ready.receive(c.Renewed(expires + 900_000), NOW)
    assert close_in(ready.receive(c.ConnectionTimer("token"), expires)) is None
    assert close_in(ready.receive(c.ConnectionTimer("token"), expires + 900_000)) == 4401


def test_gate_that_is_away_does_not_end_a_session_that_renews(ready: ConnectionMachine) -> None:
    effects = ready.receive(c.Refused("unavailable", "later"), NOW)
    assert close_in(effects) is None
    assert messages_in(effects)[0].about == "auth"


def test_removed_device_is_cut_off(ready: ConnectionMachine) -> None:
    assert close_in(ready.receive(c.RosterKnown((m.DeviceInfo("tv"),)), NOW)) == 4403


def test_draining_says_goodbye_with_a_time_and_closes_1012(ready: ConnectionMachine) -> None:
    effects = ready.receive(c.Draining(1_500), NOW)
    assert messages_in(effects) == [m.Goodbye("restart", 1_500)]
    assert close_in(effects) == 1012


def test_clock_is_answered_with_server_time(ready: ConnectionMachine) -> None:
    assert messages_in(ready.receive(c.MessageReceived(m.Clock(12.5)), NOW)) == [m.ClockMessage(12.5, NOW, NOW)]
