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

pytestmark = pytest.mark.serial


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demonstration keeps its files: empty before and after."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


def demo(*words: str) -> list[str]:
    return [sys.executable, "-m", "syncbridge", "demo", *words]


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
    ended = subprocess.run(demo("--seconds", "12", "--seed", "7"), capture_output=True, text=True, timeout=150)
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
