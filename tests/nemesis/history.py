"""What clients asked of one session and were told, and whether one order of the log explains all of it.

A history is a list of operations, each with when it was invoked and when its answer came. An operation without an
answer is *unknown*: it may have taken effect, then or later, and nothing is concluded from it. Every write sets one
register to a value that no other write sets, so what a read saw says which write it saw.

The rules (Herlihy and Wing's, for a log whose answers carry the version; then one order is given, and checking is
sorting):

========= ==========================================================================================================
rule      broken when
========= ==========================================================================================================
one log   answers tell of two epochs
unique    two writes were acknowledged as one version
order     an operation that began after another's answer has a lower version; a write, not a higher one
value     a read of a version saw what is not the last write up to it, or two reads of one version saw two values
from air  a read saw what nobody wrote, what was refused, or what nobody had begun to write yet
base      a write that was to stand right after its base was acknowledged elsewhere
========= ==========================================================================================================
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

Outcome = Literal["ok", "fail", "unknown"]


@dataclass(slots=True)
class Operation:
    """One call of one client. ``value`` is what it writes, or what it read ("" before the first write)."""

    who: str
    kind: Literal["write", "read"]
    invoked_at: float
    value: str = ""
    base: int | None = None
    """The version that a conditional write asks to stand right after; None where it takes any place."""
    returned_at: float = math.inf
    outcome: Outcome = "unknown"
    epoch: str = ""
    version: int = 0

    def ok(self, at: float, epoch: str, version: int) -> None:
        """It took effect as this version, or saw it."""
        self.returned_at, self.outcome, self.epoch, self.version = at, "ok", epoch, version

    def failed(self, at: float) -> None:
        """It certainly took no effect."""
        self.returned_at, self.outcome = at, "fail"

    def __str__(self) -> str:
        return f"{self.kind} {self.value!r} of {self.who} at version {self.version}"


def violations(history: Sequence[Operation]) -> list[str]:
    """Each break of a rule as a sentence that begins with the rule's name; none for a linearizable history.

    Cost     O(n log n).
    """
    answered = [one for one in history if one.outcome == "ok"]
    writes = sorted((one for one in answered if one.kind == "write"), key=attrgetter("version"))
    reads = [one for one in answered if one.kind == "read"]
    return [
        *_one_log(answered),
        *_unique(writes),
        *_order(answered),
        *_value(history, writes, reads),
        *_base(writes),
    ]


def _one_log(answered: list[Operation]) -> Iterator[str]:
    epochs = sorted({one.epoch for one in answered})
    if len(epochs) > 1:
        yield f"one log: answers are of the epochs {', '.join(epochs)}"


def _unique(writes: list[Operation]) -> Iterator[str]:
    for one, other in itertools.pairwise(writes):
        if one.version == other.version:
            yield f"unique: {one} and {other}"


def _order(answered: list[Operation]) -> Iterator[str]:
    """Walks through time: what begins must stand behind the highest version that was told before."""
    returns = sorted(answered, key=attrgetter("returned_at"))
    told = 0
    highest: Operation | None = None
    for one in sorted(answered, key=attrgetter("invoked_at")):
        while told < len(returns) and returns[told].returned_at < one.invoked_at:
            if highest is None or returns[told].version > highest.version:
                highest = returns[told]
            told += 1
        if highest is not None and one.version < highest.version + (one.kind == "write"):
            yield f"order: {one} began after {highest} was answered"


def _value(history: Sequence[Operation], writes: list[Operation], reads: list[Operation]) -> Iterator[str]:
    versions = [one.version for one in writes]
    author = {one.value: one for one in history if one.kind == "write"}
    seen: dict[int, Operation] = {}
    for read in reads:
        first = seen.setdefault(read.version, read)
        if first.value != read.value:
            yield f"value: {first}, but {read}"
        # The last acknowledged write up to the version: only an unknown one can stand after it.
        place = bisect.bisect_right(versions, read.version)
        last = writes[place - 1] if place else None
        write = author.get(read.value)
        if write is None:
            if read.value or last is not None:
                yield f"{'from air' if read.value else 'value'}: {read}; the last write up to it is {last}"
        elif write.outcome == "fail" or write.invoked_at > read.returned_at:
            yield f"from air: {read}, which was {'refused' if write.outcome == 'fail' else 'not begun'}"
        elif write.outcome == "ok" and write is not last:
            yield f"value: {read}; the last write up to it is {last}"
        elif last is not None and last.version == read.version and write is not last:
            yield f"value: {read}, which is the version of {last}"


def _base(writes: list[Operation]) -> Iterator[str]:
    for one in writes:
        if one.base is not None and one.version != one.base + 1:
            yield f"base: {one} was to follow {one.base}"
