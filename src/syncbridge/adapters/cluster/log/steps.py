"""Work in several trips, written as if it were one: a generator that is sent the answer to each thing it asks.

A step is anything that answers through a callback. No task is made and nothing waits in the loop: the next step is
taken where the answer of the last one arrives, so what follows an answer is sent in the order of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.log.stored import Damage
from syncbridge.ports import StoreFault

T = TypeVar("T")
Step = Callable[[Callable[[Any], None]], None]
"""Asks something; calls back once with the answer, at once or later."""
Steps = Generator[Step, Any, T]


class Failed(Exception):
    """The work ends here; ``fault`` is what is told."""

    def __init__(self, fault: StoreFault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class Missing(Exception):
    """There is no log."""


def drive(steps: Steps[T], done: Callable[[T], None]) -> None:
    """The work is under way; ``done`` is called with what it returns. It must not raise."""

    def go_on(answer: Any) -> None:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            done(end.value)
        else:
            step(go_on)

    go_on(None)


def ran(
    link: RedisLink, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, is_write: bool = True
) -> Step:
    """The script runs once with these keys."""
    return lambda done: link.run(script, keys, args, done, is_write=is_write)


def together(steps: Sequence[Step]) -> Step:
    """All at once; the answers in the order of the steps."""

    def ask(done: Callable[[list[Any]], None]) -> None:
        answers: list[Any] = [None] * len(steps)
        left = len(steps)

        def take(place: int, answer: Any) -> None:
            nonlocal left
            answers[place] = answer
            left -= 1
            if not left:
                done(answers)

        if not steps:
            done(answers)
        for place, step in enumerate(steps):
            step(lambda answer, place=place: take(place, answer))  # type: ignore[misc]

    return ask


def sound(answer: Any) -> Any:
    """The answer, where there is one. Raises Damage (a key of another type), Failed (anything else)."""
    if isinstance(answer, Failure):
        raise_failure(answer)
    return answer


def raise_failure(failure: Failure) -> None:
    """Raises Damage or Failed, as `sound` does."""
    if is_damage(failure):
        raise Damage(failure.text)
    raise Failed(StoreFault("unavailable", failure.text))


def is_damage(failure: Failure) -> bool:
    """Whether the server says that what is there is not what we wrote: another type, or entries past the head."""
    return failure.kind == "refused" and (
        "WRONGTYPE" in failure.text or "equal or smaller than the target stream top item" in failure.text
    )


def or_fault(steps: Steps[T]) -> Steps[T | StoreFault]:
    """What the steps return, or the fault that they failed with."""
    try:
        return (yield from steps)
    except Failed as failed:
        return failed.fault
    except Damage as damage:
        return StoreFault("state_damaged", str(damage))


def fault_of(steps: Steps[None]) -> Steps[StoreFault | None]:
    """The fault that the steps failed with, if they did."""
    return (yield from or_fault(steps))


def nobody(_answer: Any) -> None:
    """Nobody waits for the answer."""
