"""The benchmarks' ground: how big a run is, the gates of gates.toml, the hash of what was computed, the results kept.

``SYNCBRIDGE_BENCH=full`` (what `make bench` says) measures and holds every gate. Otherwise the run is tiny: it proves
that the benchmarks work and compute what they should, and holds only the gates that are ``always`` to be held: a busy
machine says nothing about speed, but the hard budgets are as far away as they must be on any.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of gates.toml; ``always``: held in tiny runs too."""

    unit: str
    reason: str
    least: float | None = None
    most: float | None = None
    always: bool = False

    def is_held_by(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def told(self) -> str:
        bound = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        return f"{bound} {self.unit}"


class Bench:
    """What a benchmark asks for. ``is_full`` tells whether figures count."""

    def __init__(self, gates: dict[str, Gate], rows: list[dict[str, Any]], test: str, *, is_full: bool) -> None:
        self.is_full = is_full
        self._gates = gates
        self._rows = rows
        self._test = test

    def size(self, *, full: int, tiny: int) -> int:
        """How many, in this run."""
        return full if self.is_full else tiny

    def gate(self, name: str, value: float, **figures: object) -> None:
        """``value`` is on record with what it was made of; in a full run it holds the gate ``name``."""
        gate = self._gates[name]
        held = gate.is_held_by(value)
        is_judged = self.is_full or gate.always
        row = {
            "gate": name,
            "value": round(value, 4),
            "bound": gate.told(),
            "held": held,
            "judged": is_judged,
            **figures,
        }
        self._rows.append({"test": self._test, **row})
        print(f"\n  {name}: {value:.3f} ({gate.told()}) {figures or ''}")
        if is_judged:
            assert held, f"{name}: {value:.3f}, wanted {gate.told()}: {' '.join(gate.reason.split())}"

    def note(self, name: str, **figures: object) -> None:
        """Figures without a gate are on record."""
        self._rows.append({"test": self._test, "note": name, **figures})
        print(f"\n  {name}: {figures}")

    def same_result(self, name: str, *results: object) -> str:
        """The results are equal, so that nobody speeds up a wrong answer; their hash is printed."""
        hashes = [result_hash(result) for result in results]
        assert len(set(hashes)) == 1, f"{name}: the results differ: {hashes}"
        self._rows.append({"test": self._test, "result": name, "hash": hashes[0]})
        print(f"\n  {name}: result {hashes[0]}")
        return hashes[0]


def result_hash(result: object) -> str:
    """Twelve hex digits over the result's JSON, keys in order."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:12]


def load_gates(path: Path = HERE / "gates.toml") -> dict[str, Gate]:
    """Every gate by name. Raises msgspec.ValidationError for a row that is not one."""
    gates = msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, Gate])
    for name, gate in gates.items():
        assert (gate.least is None) is not (gate.most is None), f"{name}: a gate has one bound"
    return gates


_ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture(scope="session")
def gates() -> dict[str, Gate]:
    return load_gates()


@pytest.fixture
def bench(request: pytest.FixtureRequest, gates: dict[str, Gate]) -> Bench:
    is_full = os.environ.get("SYNCBRIDGE_BENCH", "tiny") == "full"
    return Bench(gates, request.config.stash[_ROWS], request.node.name, is_full=is_full)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A full run leaves its figures in bench/results/, one file a run."""
    rows = session.config.stash[_ROWS]
    if not rows or os.environ.get("SYNCBRIDGE_BENCH") != "full":
        return
    RESULTS.mkdir(exist_ok=True)
    head = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    (RESULTS / f"{name}.json").write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n", "utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every gated figure, once more, at the end."""
    rows = [row for row in terminalreporter.config.stash[_ROWS] if "gate" in row]
    if rows:
        terminalreporter.section("gates")
    for row in rows:
        mark = ("held" if row["held"] else "BROKEN") if row["judged"] else "not judged in a tiny run"
        terminalreporter.write_line(f"{row['gate']:<32} {row['value']:>10.3f}   {row['bound']:<40} {mark}")
