"""In which order commits are told, and that a fault of our own does not end it: the next ones go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.log.commits import Committer
from syncbridge.adapters.cluster.log.index import Indexes
from syncbridge.adapters.cluster.log.lines import Lines
from syncbridge.adapters.cluster.log.reading import LogReader
from syncbridge.adapters.cluster.log.recovery import Recovery
from syncbridge.adapters.cluster.log.steps import Steps
from syncbridge.core.ids import DeviceId
from syncbridge.limits import Retention
from syncbridge.ports import Outcome, Submission, WasCommitted, WasRefused, WasUnknown
from tests.conformance.logs import change, session_named, snapshot_of

SESSION, TV = session_named("a"), DeviceId("tv")


class World:
    """A committer whose Redis answers in turn, and whose reader and indexes fail as no answer makes them fail."""

    def __init__(self, *answers: Any) -> None:
        self.on_primary_changed: list[Callable[[], None]] = []
        self.answers = list(answers)
        self.outcomes: list[Outcome] = []
        self.kept_after: list[list[Outcome]] = []
        self.fails_at: type | None = None
        self.calls = Lines()
        world: Any = self
        self.committer = Committer(
            cast(RedisLink, world),
            cast(Indexes, world),
            cast(LogReader, world),
            cast(Recovery, world),
            self.calls,
            Retention(),
            facts=None,
            kept=lambda _: self.kept_after.append(list(self.outcomes)),
        )

    def flush(self) -> None:
        """Every call is answered as it is made."""

    def run(
        self, _script: Script, _keys: Sequence[bytes], _args: Sequence[bytes], done: Callable[[Any], None], **_how: bool
    ) -> None:
        done(self.answers.pop(0))

    def since(self, *_which: object) -> Steps[Any]:
        yield lambda done: done(None)
        raise ZeroDivisionError

    def list_offer(self, *_which: object) -> Steps[None]:
        yield lambda done: done(None)
        raise ZeroDivisionError

    def heard(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if type(outcome) is self.fails_at:
            raise ZeroDivisionError

    def submit(self, *batch: Submission) -> list[Outcome]:
        self.committer.submit(batch, self.heard)
        return self.outcomes


def test_who_waits_for_a_commit_is_told_before_the_snapshot_that_came_with_it_is_seen_to() -> None:
    one = change(SESSION, 1, snapshot=snapshot_of(SESSION, 2))
    world = World(1)
    assert world.submit(one) == [WasCommitted(one.txn.id)]
    assert world.kept_after == [[WasCommitted(one.txn.id)]]


def test_an_answer_that_cannot_be_explained_is_unknown_and_the_next_one_is_told() -> None:
    one, two = change(SESSION, 1), change(SESSION, 1, name="two")
    assert World([2, 5], 1).submit(one, two) == [WasUnknown(one.txn.id), WasCommitted(two.txn.id)]


def test_who_fails_when_told_of_an_outcome_holds_up_none_behind_it() -> None:
    one, two = change(SESSION, 1), change(SESSION, 1, name="two")
    world = World([2, 5], 1)
    world.fails_at = WasUnknown
    with pytest.raises(ZeroDivisionError):
        world.submit(one)
    assert world.submit(two)[-1] == WasCommitted(two.txn.id)


def test_an_offer_that_cannot_be_listed_is_refused_and_the_next_one_is_told() -> None:
    one, two = change(SESSION, 1, waiting_for=TV, waiting_until=9), change(SESSION, 1, name="two")
    world = World(1)
    assert world.submit(one, two) == [WasRefused(one.txn.id, "unavailable"), WasCommitted(two.txn.id)]
    assert not world.calls


def test_an_offer_that_cannot_be_sent_leaves_the_line_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(*_which: object) -> Steps[None]:
        yield lambda done: done(None)

    world = World(1)
    monkeypatch.setattr(world, "list_offer", listed)
    broken = change(SESSION, 1, waiting_for=TV, waiting_until=9)
    broken.txn.digests.append(0)
    with pytest.raises(ValueError, match="zip"):
        world.submit(broken)
    assert not world.calls
