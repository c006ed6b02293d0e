"""Any input is taken or refused with a documented error, alike by both hands; coverage-guided, short here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from syncbridge.errors import SyncBridgeError
from syncbridge.http import strict
from syncbridge.wire import codec
from tests.fuzz.corpus import findings, seeds
from tests.fuzz.plants import PLANTS
from tests.fuzz.targets import TARGETS
from tests.house.files import ROOT

RUNS = 4_000
PINNED = [(target, path) for target in TARGETS for path in findings(target)]


def fuzz(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A run that is the same at every time: so many inputs, from one seed."""
    command = [sys.executable, "-m", "tests.fuzz", *words, "-seed=1", f"-artifact_prefix={folder}/"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=290)


def test_whatever_comes_is_taken_or_refused_with_a_documented_error(tmp_path: Path) -> None:
    ran = fuzz(tmp_path, "every", f"-runs={RUNS}")
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4_000:]
    # libFuzzer counts the seeds it begins with as well.
    assert int(ran.stderr.partition("stat::number_of_executed_units:")[2].split()[0]) >= RUNS
    assert list(tmp_path.iterdir()) == []


def test_planted_difference_between_the_two_hands_is_found(tmp_path: Path) -> None:
    ran = fuzz(tmp_path, "patch", "differs", "-runs=100000", "-max_total_time=60")
    assert ran.returncode != 0
    assert "AssertionError" in ran.stdout + ran.stderr


@pytest.mark.parametrize(("target", "plant"), [("codec", "undocumented"), ("strict-json", "nan")])
def test_planted_fault_is_a_finding(target: str, plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "refuse_nul", codec.refuse_nul)
    monkeypatch.setattr(strict, "check", vars(strict)["check"])
    PLANTS[plant]()
    with pytest.raises((AssertionError, KeyError, SyncBridgeError)):
        TARGETS[target](b'{"type":"signal","session":"s","data":"\\u0000"}' if target == "codec" else b"1e999")


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_reach_the_target_and_are_no_findings(target: str) -> None:
    inputs = list(seeds(target))
    assert inputs
    for one in inputs:
        TARGETS[target](one)


@pytest.mark.parametrize(("target", "path"), [pytest.param(*one, id=f"{one[0]}: {one[1].name}") for one in PINNED])
def test_what_once_was_a_finding_is_none_any_more(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())
