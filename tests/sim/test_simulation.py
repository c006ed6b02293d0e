"""The simulator itself: replayable, independent of the process, and able to see what it is there to see."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house.files import ROOT
from tests.sim.__main__ import run_range
from tests.sim.check_deeds import check_counters, check_order
from tests.sim.deeds import Deed
from tests.sim.planted import BUGS, Bug, hunt, planted
from tests.sim.seeds import PINNED, Pin
from tests.sim.simulation import Simulation
from tests.sim.world import START_MS, Violation, World


def test_same_seed_gives_the_same_trace() -> None:
    assert Simulation(11).run() == Simulation(11).run()


def test_another_seed_gives_another_trace() -> None:
    assert Simulation(11).run().trace_hash != Simulation(12).run().trace_hash


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_trace_does_not_depend_on_the_order_of_sets(hash_seed: str) -> None:
    code = "from tests.sim.simulation import Simulation; print(Simulation(11).run().trace_hash)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == Simulation(11).run().trace_hash


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_seeds_keep_every_promise(first: int) -> None:
    broken = [result for seed in range(first, first + 25) if (result := Simulation(seed).run()).checker]
    assert broken == []


@pytest.mark.parametrize("pin", PINNED, ids=lambda pin: f"seed{pin.seed}")
def test_pinned_seed_keeps_every_promise(pin: Pin) -> None:
    result = Simulation(pin.seed).run()
    assert (result.checker, result.text) == ("", ""), f"it once found: {pin.found}"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bug_is_caught_by_its_checker(bug: Bug) -> None:
    caught = hunt(bug)
    assert caught is not None
    assert caught.checker in bug.checkers


def test_planting_is_undone() -> None:
    before = Simulation(11).run()
    with planted(BUGS[1]):
        assert Simulation(11).run().checker
    assert Simulation(11).run() == before


def test_a_broken_range_says_which_seed_and_how_to_replay_it(capsys: pytest.CaptureFixture[str]) -> None:
    with planted(next(bug for bug in BUGS if bug.name == "ack before commit")):
        assert run_range(range(3, 5), workers=1) == 1
    told = capsys.readouterr().out
    assert "seed 3 breaks durable" in told
    assert "python -m tests.sim --seed 3" in told


def test_a_run_meets_what_it_is_there_for() -> None:
    """Promises that hold because nothing happens are not kept."""
    results = [Simulation(seed).run() for seed in range(40)]
    for name in ("handoffs", "conflicts", "crashes", "kills", "resumes", "snapshots"):
        assert sum(getattr(result, name) for result in results) >= 20, name
    for name in ("losses", "wipes", "returns", "rebuilds"):
        assert sum(getattr(result, name) for result in results) >= 5, name
    assert all(result.deeds for result in results)


def test_calls_of_one_millisecond_run_in_the_order_asked_for() -> None:
    world, ran = World(1), list[str]()
    world.after(5, lambda: ran.append("b"))
    world.after(1, lambda: ran.append("a"))
    world.after(5, lambda: ran.append("c"))
    world.after(5, lambda: ran.append("never")).cancel()
    world.run_until(START_MS + 5)
    assert (ran, world.time_ms) == (["a", "b", "c"], START_MS + 5)


def _deed(version: int, made_ms: int, acked_ms: int) -> Deed:
    return Deed("d0", version, "register", "/a", "v", None, made_ms, version=version, acked_ms=acked_ms)


def test_order_checker_sees_a_deed_below_one_that_was_acknowledged_before_it_was_done() -> None:
    check_order([_deed(2, 10, 20), _deed(3, 15, 30)])
    with pytest.raises(Violation, match="P1"):
        check_order([_deed(3, 10, 20), _deed(2, 21, 30)])


def test_order_checker_sees_one_entry_acknowledged_to_two_deeds() -> None:
    with pytest.raises(Violation, match="P1"):
        check_order([_deed(2, 10, 20), _deed(2, 15, 30)])


def test_counter_checker_sees_a_lost_and_a_doubled_increment() -> None:
    simulation = Simulation(11)
    simulation.run()
    log = next(iter(simulation.truth.logs.values()))
    deeds = [deed for device in simulation.devices.values() for deed in device.deeds.values() if deed.amount]
    path = deeds[0].path
    check_counters(log, deeds, [path])
    for wrong in (deeds[1:], [*deeds, deeds[0]]):
        with pytest.raises(Violation, match="P5"):
            check_counters(log, wrong, [path])
