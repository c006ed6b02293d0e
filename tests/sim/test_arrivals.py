"""Of a device's connections the newest that is there stays, in every course of arrivals; what is planted is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Place, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived, Stays
from syncbridge.core.ids import AccountId
from tests.sim.accounts import AccountServer
from tests.sim.arrivals import ArrivalSimulation

SEEDS = range(150)


def test_nobody_gives_way_to_an_older_connection_and_one_stays() -> None:
    assert [(seed, course) for seed in SEEDS if (course := ArrivalSimulation(seed).run()).checker] == []


def test_a_seed_is_one_course() -> None:
    assert ArrivalSimulation(3).run() == ArrivalSimulation(3).run() != ArrivalSimulation(4).run()


def test_courses_meet_what_they_are_there_for() -> None:
    courses = [ArrivalSimulation(seed).run() for seed in range(20)]
    assert sum(course.replaced for course in courses) > 20
    assert sum(course.late for course in courses) > 20


def _believed(real: Any) -> Callable[[Place, Arrived], Verdict]:
    """The higher number is taken for the newer connection."""
    return lambda place, arrived: Verdict(real(place, msgspec.structs.replace(arrived, answers=False)))


def _ageless(real: Any) -> Callable[[Place, Stays, float], Verdict]:
    """Whoever is there under a higher number is taken for the newer one."""
    return lambda place, stays, now_s: Verdict(real(place, msgspec.structs.replace(stays, age_ms=0), now_s))


def _said_once(_real: Any) -> Callable[[Arrivals, AccountId], list[Any]]:
    return lambda _arrivals, _account: []


def _raised_by_the_clock(real: Any) -> Callable[[AccountServer, bytes, int], int]:
    """A connection that arrives anew gets a number by the server's clock, wherever that is."""
    return lambda server, account, _above: int(real(server, account, 0))


@pytest.mark.parametrize(
    ("target", "attribute", "plant", "checker"),
    [
        (Place, "hear", _believed, "replaced"),
        (Place, "told", _ageless, "replaced"),
        (Arrivals, "listening", _said_once, "one stays"),
        (AccountServer, "number", _raised_by_the_clock, "replaced"),
    ],
    ids=["number believed", "ages ignored", "said once", "raised by the clock"],
)
def test_what_is_planted_is_found(
    monkeypatch: pytest.MonkeyPatch, target: Any, attribute: str, plant: Callable[[Any], Any], checker: str
) -> None:
    monkeypatch.setattr(target, attribute, plant(getattr(target, attribute)))
    assert any(ArrivalSimulation(seed).run().checker == checker for seed in SEEDS)
