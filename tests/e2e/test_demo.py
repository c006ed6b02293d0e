"""The demonstration as a person runs it: real processes, real sockets, a real kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from syncbridge.demo.account import Handoff, Tally, broken

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]

RUNS_MAX = 3
MEASURED = ("a handoff takes at most", "the playhead goes on within")
"""What is measured may be measured again; what is lost is lost."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demonstration keeps its files: empty before and after."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


def demo(*words: str) -> list[str]:
    return [sys.executable, "-m", "syncbridge", "demo", *words]


def is_late_only(told: str) -> bool:
    """Whether promises were broken, and only such as a machine with other things to do may have broken."""
    lines = [line for line in told.splitlines() if line.startswith("  - ")]
    return bool(lines) and all(any(words in line for words in MEASURED) for line in lines)


def test_no_promise_but_a_time_is_ever_tried_again() -> None:
    handoffs = [Handoff("take", "tv", "phone", latency_ms=150.0, error_ms=25.0)]
    kept = Tally(sent=1, acknowledged=1, refused=0, unanswered=0, lost=0, doubled=0)
    late = broken(handoffs, kept, {})
    assert len(late) == len(MEASURED)
    told = "".join(f"  - {promise}\n" for promise in late)
    assert is_late_only(told)
    for other in broken([], replace(kept, lost=1, doubled=1, unanswered=1), {"tv": "a", "phone": "b"}):
        assert not is_late_only(f"{told}  - {other}\n")
    assert not is_late_only("Every promise was kept.\n")


def processes_of(folder: Path) -> list[psutil.Process]:
    """Whatever runs because of the demonstration: its processes carry its folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(folder) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_demonstration_keeps_every_promise_and_leaves_nothing_behind(folder: Path) -> None:
    for _ in range(RUNS_MAX):
        ended = subprocess.run(demo("--seconds", "12", "--seed", "7"), capture_output=True, text=True, timeout=250)
        if not is_late_only(ended.stdout):
            break
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for part in (
        "offer: phone -> laptop",
        "code: laptop -> tv",
        "take: tv -> phone",
        "the phone loses its network",
        "kill -9: the service is gone",
        "restarted on the same data",
        "Every promise was kept.",
    ):
        assert part in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "\x1b[" not in ended.stdout
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demonstration_ends_all_that_it_started(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(demo("--seconds", "60"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "offer: phone -> laptop" in line:
            break
    assert len(processes_of(folder)) >= 4, "".join(said)  # itself, the service, two players
    process.send_signal(number)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130, rest
    assert "everything that was started has ended" in rest
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_a_service_that_ends_by_itself_breaks_a_promise_by_name(folder: Path) -> None:
    process = subprocess.Popen(
        demo("--seconds", "30", "--seed", "7"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "offer: phone -> laptop" in line:
            break
    (service,) = [found for found in processes_of(folder) if "serve" in found.cmdline()]
    service.kill()
    rest = process.communicate(timeout=150)[0]
    assert process.returncode in (1, 2), rest
    assert "BROKEN" in rest or "cannot run" in rest
    assert processes_of(folder) == []


def test_a_service_that_is_not_there_is_said_at_once(folder: Path) -> None:
    begin = time.monotonic()
    ended = subprocess.run(
        demo("--url", "http://127.0.0.1:9", "--token", "x"), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert "http://127.0.0.1:9 does not answer" in ended.stdout
    assert time.monotonic() - begin < 30
