"""The order of a session's calls where one of them takes more than one trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from syncbridge.adapters.cluster.log.lines import Lines
from syncbridge.adapters.cluster.log.steps import Steps, drive, together
from syncbridge.core.ids import SessionId

ONE, TWO = SessionId("one"), SessionId("two")


@pytest.fixture
def lines_log() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with capture_logs() as seen:
        yield seen


class Later:
    """Steps that are answered when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Any], None]] = []

    def __call__(self, done: Callable[[Any], None]) -> None:
        self.waiting.append(done)


def test_what_comes_of_a_closed_session_waits_and_of_others_does_not() -> None:
    lines, made = Lines(), list[str]()
    lines.close(ONE)
    lines.add(ONE, lambda: made.append("one"))
    lines.add(TWO, lambda: made.append("two"))
    assert made == ["two"]
    lines.open(ONE)
    assert made == ["two", "one"]
    assert not lines


def test_a_call_that_closes_the_line_again_holds_up_those_behind_it() -> None:
    lines, made = Lines(), list[str]()
    lines.close(ONE)
    lines.add(ONE, lambda: lines.close(ONE))
    lines.add(ONE, lambda: made.append("behind"))
    lines.open(ONE)
    lines.add(ONE, lambda: made.append("last"))
    assert made == []
    assert ONE in lines
    lines.open(ONE)
    assert made == ["behind", "last"]


def test_work_of_several_trips_is_done_alone_and_answered_before_what_waits() -> None:
    lines, made, later = Lines(), list[object](), Later()

    def work() -> Steps[int]:
        first = yield later
        second = yield together([later, later])
        return int(first) + sum(second)

    lines.alone(ONE, work, made.append)
    lines.alone(ONE, work, made.append)
    lines.add(ONE, lambda: made.append("behind"))
    for answer in (1, 2, 3, 10, 20, 30):
        later.waiting.pop(0)(answer)
    assert made == [6, 60, "behind"]


def test_a_fault_of_our_own_closes_no_session_for_ever() -> None:
    lines, made, later = Lines(), list[object](), Later()

    def broken() -> Steps[int]:
        yield later
        raise ZeroDivisionError

    lines.alone(ONE, broken, made.append)
    lines.add(ONE, lambda: made.append("behind"))
    with pytest.raises(ZeroDivisionError):
        later.waiting.pop()(None)
    assert made == ["behind"]
    assert ONE not in lines


def _broken() -> None:
    raise ZeroDivisionError


def test_a_call_that_fails_is_logged_and_holds_up_none_behind_it(lines_log: list[Any]) -> None:
    lines, made = Lines(), list[str]()
    lines.close(ONE)
    lines.add(ONE, _broken)
    lines.add(ONE, lambda: made.append("behind"))
    lines.open(ONE)
    assert made == ["behind"]
    assert ONE not in lines
    assert [(one["event"], one["session"]) for one in lines_log] == [("session_call_failed", ONE)]


def test_who_fails_when_answered_closes_no_session_for_ever() -> None:
    lines, made, later = Lines(), list[object](), Later()

    def work() -> Steps[None]:
        yield later

    lines.alone(ONE, work, lambda _: _broken())
    lines.add(ONE, lambda: made.append("behind"))
    with pytest.raises(ZeroDivisionError):
        later.waiting.pop()(None)
    assert made == ["behind"]
    assert ONE not in lines


def test_nothing_asked_together_is_answered_at_once() -> None:
    answers: list[Any] = []

    def work() -> Steps[Any]:
        return (yield together([]))

    drive(work(), answers.append)
    assert answers == [[]]


def test_closing_a_closed_line_is_our_own_fault() -> None:
    lines = Lines()
    lines.close(ONE)
    with pytest.raises(RuntimeError, match="closed already"):
        lines.close(ONE)
