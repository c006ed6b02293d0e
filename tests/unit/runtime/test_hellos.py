"""The gate: how many hellos are looked at, in which order, and what those hear who are too many."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.limits import Limits
from syncbridge.ports import Admission, Identity, Refusal
from syncbridge.runtime import hellos
from syncbridge.runtime.hellos import HELLOS_A_TURN, RETURN_MS_EACH, RETURN_MS_MAX, WAIT_MS_MAX, HelloGate
from tests.unit.runtime.world import VirtualLoop

Done = Callable[[Admission | Refusal], None]
AT_ONCE, WAITING = 4, 10


class Slow:
    """A gatekeeper that answers when it is told to; one that `is_quick` before the call returns."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_quick = False
        self.pending: list[tuple[str, Done]] = []
        self.pending_most = 0

    def admit(self, token: str, device: DeviceInfo, done: Done) -> None:
        self.asked.append(token)
        if self.is_quick:
            done(admission(token))
            return
        self.pending.append((token, done))
        self.pending_most = max(self.pending_most, len(self.pending))

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            token, done = self.pending.pop(0)
            done(admission(token))

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        done(Identity(account, 0, token))

    def read_roster(self, account: AccountId) -> None:
        self.asked.append(f"roster of {account}")

    def refused(self, identity: Identity) -> str:
        return "token_revoked" if identity.token_id == "bad" else ""


def admission(token: str) -> Admission:
    return Admission(Identity(AccountId("acc"), 0, token), DeviceInfo("phone"), ())


class Stage:
    def __init__(self) -> None:
        self.loop, self.keeper = VirtualLoop(), Slow()
        limits = Limits(hellos_at_once_max=AT_ONCE, hellos_waiting_max=WAITING)
        self.gate = HelloGate(self.keeper, limits, self.loop, self.loop.call_soon)
        self.answers: dict[str, Admission | Refusal] = {}

    def come(self, *tokens: str) -> None:
        for token in tokens:
            self.gate.admit(token, DeviceInfo("phone"), lambda answer, token=token: self.answered(token, answer))  # type: ignore[misc]

    def answered(self, token: str, answer: Admission | Refusal) -> None:
        assert token not in self.answers, "each is answered once"
        self.answers[token] = answer

    def refusals(self) -> Iterator[Refusal]:
        return (answer for answer in self.answers.values() if isinstance(answer, Refusal))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def names(count: int) -> list[str]:
    return [f"t{number:04}" for number in range(count)]


def test_one_who_comes_alone_is_looked_at_at_once(stage: Stage) -> None:
    stage.keeper.is_quick = True
    stage.come("alone")
    assert isinstance(stage.answers["alone"], Admission)


def test_so_many_are_looked_at_at_a_time_and_the_rest_in_the_order_in_which_they_came(stage: Stage) -> None:
    tokens = names(AT_ONCE + WAITING)
    stage.come(*tokens)
    assert stage.keeper.asked == tokens[:AT_ONCE]
    while stage.keeper.pending:
        stage.keeper.answer()
        stage.loop.turn()
    assert stage.keeper.asked == list(stage.answers) == tokens
    assert stage.keeper.pending_most == AT_ONCE
    assert not list(stage.refusals())


def begun_in_a_turn(stage: Stage) -> int:
    """How many of a storm that could all be answered at once are, before the loop looks at anything else."""
    stage.keeper.is_quick = True
    stage.come(*names(WAITING + HELLOS_A_TURN))
    return len(stage.answers)


def test_a_few_begin_in_one_turn_of_the_loop_so_that_others_have_theirs(stage: Stage) -> None:
    assert begun_in_a_turn(stage) == HELLOS_A_TURN
    stage.loop.turn()
    assert len(stage.answers) == WAITING + HELLOS_A_TURN


def test_a_gate_that_stands_open_would_be_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hellos, "HELLOS_A_TURN", 1_000_000)
    assert begun_in_a_turn(stage) > HELLOS_A_TURN


def test_who_is_too_many_is_told_a_time_of_its_own(stage: Stage) -> None:
    stage.come(*names(2_000))
    waits = [one.retry_after_ms for one in stage.refusals()]
    assert len(waits) == 2_000 - AT_ONCE - WAITING
    assert {one.code for one in stage.refusals()} == {"busy"}
    assert waits == sorted(set(waits)), "no two at the same time"
    steps = {later - earlier for earlier, later in itertools.pairwise(waits)}
    assert steps == {RETURN_MS_EACH}
    assert waits[0] > RETURN_MS_EACH * WAITING, "not before those who wait here are through"
    assert waits[-1] <= RETURN_MS_MAX


def test_nobody_is_sent_away_for_longer_than_the_most_however_many_come(stage: Stage) -> None:
    stage.come(*names(10_000))
    assert max(one.retry_after_ms for one in stage.refusals()) <= RETURN_MS_MAX


def test_who_waited_for_too_long_is_sent_away_and_who_came_since_is_looked_at(stage: Stage) -> None:
    stage.come(*names(AT_ONCE + 2))
    stage.loop.time_ms += WAIT_MS_MAX + 1
    stage.come("fresh")
    stage.keeper.answer()
    assert stage.keeper.asked[-1] == "fresh"
    assert [one.code for one in stage.refusals()] == ["busy", "busy"]
    assert all(0 < one.retry_after_ms <= RETURN_MS_MAX for one in stage.refusals())


def test_times_begin_anew_when_the_storm_is_over(stage: Stage) -> None:
    stage.come(*names(1_000))
    stage.loop.time_ms += RETURN_MS_MAX
    stage.come("later")
    answer = stage.answers["later"]
    assert isinstance(answer, Refusal)
    assert answer.retry_after_ms == RETURN_MS_EACH * (WAITING + 1)


def test_who_is_in_renews_its_token_and_is_judged_past_the_crowd(stage: Stage) -> None:
    stage.come(*names(100))
    renewed: list[Identity | Refusal] = []
    stage.gate.renew("new", AccountId("acc"), DeviceId("phone"), renewed.append)
    assert renewed == [Identity(AccountId("acc"), 0, "new")]
    assert stage.gate.refused(Identity(AccountId("acc"), 0, "bad")) == "token_revoked"
    assert stage.gate.waiting == WAITING
