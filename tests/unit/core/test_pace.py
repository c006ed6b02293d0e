"""How fast a device may speak: a push too many is sent again and lost nowhere, a flood ends its connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncbridge.core import connection_events as c
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.connection import ConnectionMachine, ConnectionState
from syncbridge.core.ids import AccountId, ConnectionId, SessionId
from syncbridge.limits import Limits, Plan
from syncbridge.rates import Buckets
from tests.unit.core.test_connection import ADMITTED, HELLO, NOW, close_in, messages_in

PLAN = Plan(push_burst=3, push_refill_ms=100)
LIMITS = Limits(message_burst=4, message_refill_ms=50, message_refusals_max=3)
JOIN = c.MessageReceived(m.Join("s1"))


def ready(buckets: Buckets | None = None, *, account: str = "anna", at_ms: int = NOW) -> ConnectionMachine:
    """A connection that has joined s1."""
    machine = ConnectionMachine(ConnectionId("c1"), LIMITS, buckets)
    admitted = c.Admitted(AccountId(account), ADMITTED.device, 0, ADMITTED.roster, plan=PLAN)
    for event in (c.Opened(), HELLO, admitted, JOIN):
        machine.receive(event, at_ms)
    return machine


def push(machine: ConnectionMachine, seq: int, at_ms: int) -> list[Any]:
    """The push as the runtime hands it over: the short way, and where that judges nothing, the long one."""
    message = m.Push("s1", seq, 1, [])
    pushed = machine.pushed(message, 7, at_ms)
    if pushed is not None:
        return [c.ToSession(SessionId("s1"), pushed)]
    return machine.receive(c.MessageReceived(message, 7), at_ms)


def codes(effects: list[Any]) -> list[str]:
    return [getattr(message, "code", "") for message in messages_in(effects)]


def is_judged(effects: list[Any]) -> bool:
    return [type(effect.event) for effect in effects if isinstance(effect, c.ToSession)] == [on.PushReceived]


def test_push_past_the_rate_is_refused_with_its_wait_and_taken_when_sent_again() -> None:
    machine = ready()
    assert [is_judged(push(machine, seq, NOW)) for seq in (1, 2, 3)] == [True] * 3
    effects = push(machine, 4, NOW + 30)
    (reject,) = messages_in(effects)
    assert isinstance(reject, m.Reject)
    assert (reject.seq, reject.code, reject.retry, reject.version) == (4, "rate_limited", "later", 0)
    assert reject.retry_after_ms == 70
    assert c.CountLimit("push_burst") in effects
    assert not is_judged(effects)
    assert is_judged(push(machine, 4, NOW + 100))


def test_connecting_anew_gives_no_new_bucket_and_another_account_has_its_own() -> None:
    buckets = Buckets()
    first = ready(buckets)
    for seq in (1, 2, 3):
        push(first, seq, NOW)
    assert codes(push(ready(buckets), 4, NOW)) == ["rate_limited"]
    assert is_judged(push(ready(buckets, account="bob"), 1, NOW))


def test_short_way_with_the_time_of_an_earlier_moment_refuses_nothing_that_now_allows() -> None:
    machine = ready()
    for seq in (1, 2, 3):
        push(machine, seq, NOW)
    message = m.Push("s1", 4, 1, [])
    assert machine.pushed(message, 7, NOW) is None
    assert is_judged(machine.receive(c.MessageReceived(message, 7), NOW + 100))


def test_push_into_a_session_that_is_not_followed_costs_no_push() -> None:
    machine = ready()
    for _ in range(3):
        effects = machine.receive(c.MessageReceived(m.Push("other", 1, 1, [])), NOW)
        assert codes(effects) == ["not_joined"]
    assert is_judged(push(machine, 1, NOW))


@pytest.mark.parametrize(
    ("message", "about", "session", "ref"),
    [
        (m.Join("s2", ref="r"), "join", "s2", "r"),
        (m.Clock(1), "clock", "", ""),
        (m.Signal("s1", {}), "signal", "s1", ""),
        (m.Leave("s1"), "leave", "s1", ""),
        (m.HandoffTake("s1", "r"), "handoff.take", "s1", "r"),
        (m.Push("other", 1, 1, []), "push", "other", ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_message_too_many_is_not_acted_on_and_says_when(message: Any, about: str, session: str, ref: str) -> None:
    machine = ready()
    for _ in range(3):
        machine.receive(c.MessageReceived(m.Clock(1)), NOW)
    effects = machine.receive(c.MessageReceived(message), NOW)
    (error,) = messages_in(effects)
    assert (error.code, error.about, error.session, error.ref) == ("rate_limited", about, session, ref)
    assert error.retry_after_ms == 50
    assert not [effect for effect in effects if isinstance(effect, c.ToSession)]
    assert machine.joined == {"s1"}


def test_who_does_not_listen_is_closed_with_4429_and_leaves_its_sessions() -> None:
    machine = ready()
    answers = [machine.receive(JOIN, NOW) for _ in range(3 + LIMITS.message_refusals_max)]
    assert all(close_in(effects) is None for effects in answers)
    last = machine.receive(JOIN, NOW)
    assert (codes(last), close_in(last)) == (["rate_limited"], 4429)
    assert c.CountLimit("message_refusals_max") in last
    assert machine.receive(JOIN, NOW) == []
    assert len(machine.receive(c.PeerClosed(NOW), NOW)) == 1


def test_who_listens_is_never_closed() -> None:
    machine = ready()
    at_ms = NOW
    for _ in range(100):
        effects = machine.receive(c.MessageReceived(m.Clock(1)), at_ms)
        assert close_in(effects) is None
        at_ms += messages_in(effects)[0].retry_after_ms if codes(effects) == ["rate_limited"] else 10
    assert machine.state is ConnectionState.READY


def test_flood_of_pushes_that_are_refused_ends_the_connection_too() -> None:
    machine = ready()
    codes_told, closed = [], None
    for seq in range(1, 100):
        effects = push(machine, seq, NOW)
        codes_told += codes(effects)
        closed = close_in(effects)
        if closed is not None:
            break
    assert closed == 4429
    assert set(codes_told) == {"rate_limited"}
    # Every refused push got an answer of its own: one without would be waited for by its device for ever.
    assert seq - 3 == len(codes_told) <= LIMITS.message_burst + LIMITS.message_refusals_max


def test_malformed_messages_count_as_messages() -> None:
    machine = ready()
    bad = c.MalformedReceived("bad_message", "$: expected an object")
    told = [codes(machine.receive(bad, NOW)) for _ in range(4)]
    assert told == [["bad_message"]] * 3 + [["rate_limited"]]


def test_joins_past_the_limit_are_counted() -> None:
    machine = ConnectionMachine(ConnectionId("c1"), replace(LIMITS, joins_max=1))
    for event in (c.Opened(), HELLO, ADMITTED, JOIN):
        machine.receive(event, NOW)
    assert c.CountLimit("joins_max") in machine.receive(c.MessageReceived(m.Join("s2")), NOW)


def test_ten_thousand_joins_cost_few_loads_and_then_the_connection() -> None:
    machine = ConnectionMachine(ConnectionId("c1"), Limits(joins_max=10_000))
    for event in (c.Opened(), HELLO, ADMITTED):
        machine.receive(event, NOW)
    effects = [
        effect
        for number in range(10_000)
        for effect in machine.receive(c.MessageReceived(m.Join(f"s{number}")), NOW + number // 1_000)
    ]
    assert sum(isinstance(effect, c.ToSession) for effect in effects) <= Limits().message_burst + 1
    assert [effect.code for effect in effects if isinstance(effect, c.CloseConnection)] == [4429]


def test_welcome_tells_the_rate_of_the_plan() -> None:
    machine = ConnectionMachine(ConnectionId("c1"), Limits())
    machine.receive(c.Opened(), NOW)
    machine.receive(HELLO, NOW)
    admitted = c.Admitted(AccountId("anna"), ADMITTED.device, 0, ADMITTED.roster, plan=PLAN)
    limits = messages_in(machine.receive(admitted, NOW))[0].limits
    assert (limits.push_burst, limits.push_refill_ms, limits.devices_max) == (3, 100, PLAN.devices_max)


def test_signal_with_too_much_data_is_refused_and_the_connection_stays() -> None:
    machine = ready()
    effects = machine.receive(c.MessageReceived(m.Signal("s1", "x" * LIMITS.signal_bytes_max)), NOW)
    (error,) = messages_in(effects)
    assert (error.code, error.about, error.session) == ("message_too_large", "signal", "s1")
    assert c.CountLimit("signal_bytes_max") in effects
    fits = machine.receive(c.MessageReceived(m.Signal("s1", "x" * (LIMITS.signal_bytes_max - 2))), NOW)
    assert [type(effect) for effect in fits] == [c.ToSession]


def test_too_much_said_before_welcome_is_counted() -> None:
    machine = ConnectionMachine(ConnectionId("c1"), replace(LIMITS, hello_messages_max=1))
    for event in (c.Opened(), HELLO, JOIN):
        machine.receive(event, NOW)
    effects = machine.receive(JOIN, NOW)
    assert c.CountLimit("hello_messages_max") in effects
    assert close_in(effects) == 4400
