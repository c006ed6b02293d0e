"""The checker of histories, against histories: good ones pass, and each rule finds what it is for."""

from __future__ import annotations

import math
import random

import pytest

from tests.nemesis.history import Operation, violations


def write(
    value: str, begin: float, end: float, version: int, *, base: int | None = None, epoch: str = "e"
) -> Operation:
    one = Operation("a", "write", begin, value, base)
    one.ok(end, epoch, version)
    return one


def read(value: str, begin: float, end: float, version: int) -> Operation:
    one = Operation("b", "read", begin, value)
    one.ok(end, "e", version)
    return one


def unknown(value: str, begin: float) -> Operation:
    return Operation("c", "write", begin, value)


def refused(value: str, begin: float, end: float) -> Operation:
    one = Operation("c", "write", begin, value)
    one.failed(end)
    return one


GOOD = {
    "one after the other": [write("x", 0, 1, 2), read("x", 2, 3, 2), write("y", 4, 5, 3, base=2), read("y", 6, 7, 3)],
    "at the same time, in either order": [write("x", 0, 9, 3), write("y", 1, 2, 2), read("y", 3, 4, 2)],
    "before the first write": [read("", 0, 1, 1), write("x", 2, 3, 2)],
    "unknown, and it took effect later": [unknown("x", 0), write("y", 1, 2, 2), read("x", 3, 4, 3), read("x", 5, 6, 3)],
    "unknown, and it never did": [unknown("x", 0), write("y", 1, 2, 2), read("y", 3, 4, 2)],
    "refused": [refused("x", 0, 1), write("y", 2, 3, 2), read("y", 4, 5, 2)],
    "entries that write nothing between": [write("x", 0, 1, 2), read("x", 2, 3, 5)],
}

BAD = {
    "one log": [write("x", 0, 1, 2), write("y", 2, 3, 3, epoch="f")],
    "unique": [write("x", 0, 3, 2), write("y", 1, 2, 2)],
    "order, of a write": [write("x", 0, 1, 3), write("y", 2, 3, 2)],
    "order, of a read that is old": [write("w", 0, 1, 2), write("x", 2, 3, 3), read("w", 4, 5, 2)],
    "order, of reads": [write("w", 0, 1, 2), write("x", 2, 9, 3), read("x", 3, 4, 3), read("w", 5, 6, 2)],
    "value, not what was written there": [write("x", 0, 1, 2), write("y", 0, 1, 3), read("x", 2, 3, 3)],
    "value, of nothing": [write("x", 0, 1, 2), read("", 2, 3, 2)],
    "value, an unknown one in another's place": [write("x", 0, 1, 2), unknown("y", 0), read("y", 2, 3, 2)],
    "value, two of one version": [unknown("x", 0), unknown("y", 0), read("x", 1, 2, 2), read("y", 3, 4, 2)],
    "from air": [read("x", 0, 1, 2)],
    "from air, refused": [refused("x", 0, 1), read("x", 2, 3, 2)],
    "from air, not begun": [read("x", 0, 1, 2), write("x", 2, 3, 2)],
    "base": [write("x", 0, 1, 2), write("y", 0, 1, 4, base=2)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_one_order_explains_breaks_no_rule(name: str) -> None:
    assert violations(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_each_rule_finds_what_it_is_for(name: str) -> None:
    rule = name.partition(",")[0]
    assert [text for text in violations(BAD[name]) if text.startswith(f"{rule}:")]


def _serial(count: int, random: random.Random) -> list[Operation]:
    """What clients of one log see that overlap by chance; some answers are lost."""
    history: list[Operation] = []
    now, version, value = 0.0, 1, ""
    for number in range(count):
        now += random.random()
        begin, end = now - random.random() * 5, now + random.random() * 5
        if random.random() < 0.3:
            history.append(read(value, begin, end, version))
            continue
        version, value = version + 1, f"v{number}"
        is_lost = random.random() < 0.1
        history.append(unknown(value, begin) if is_lost else write(value, begin, end, version, base=version - 1))
    return history


@pytest.mark.parametrize("seed", range(20))
def test_a_serial_history_breaks_no_rule_until_one_answer_is_forged(seed: int) -> None:
    chance = random.Random(seed)
    history = _serial(300, chance)
    assert violations(history) == []
    forged = chance.choice([one for one in history if one.outcome == "ok" and one.kind == "write"])
    forged.version += chance.choice((-1, 1))
    assert violations(history)


def test_a_history_of_fifty_thousand_is_judged_whole() -> None:
    history = _serial(50_000, random.Random(1))
    assert violations(history) == []
    history.append(read("", math.inf, math.inf, 1))
    assert len(violations(history)) == 1
