"""The parent of workers: real processes that do next to nothing, real signals, and what the parent makes of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.serial

DEADLINE_S: Final = 20
PARENT: Final = """
import os, select, signal, sys, time
from syncbridge.supervisor import Supervisor
from tests.unit.supervised import work_of

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

if sys.argv[1] == "share_a_group":  # a planted fault
    os.setpgid = lambda *_: None
supervisor = Supervisor(
    int(sys.argv[2]), work_of(sys.argv[1], say), lambda: say("all"),
    passing=(signal.SIGHUP,), to_one=(signal.SIGUSR1,), restart_first_s=0.05, end_s_max=float(sys.argv[3]),
)
sys.exit(supervisor.run())
"""


class Parent:
    """A supervisor in a process of its own; its workers and it say a line for each thing that happens to them."""

    def __init__(self, kind: str, count: int = 2, *, end_s_max: float = DEADLINE_S) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, kind, str(count), str(end_s_max)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        self.seen: list[str] = []
        self._rest = b""

    def hear(self, start: str, count: int = 1) -> list[str]:
        """The lines so far that begin so, once there are so many of them."""
        deadline = time.monotonic() + DEADLINE_S
        while len(found := [line for line in self.seen if line.startswith(start)]) < count:
            assert self._read(deadline), f"{count} x {start!r} were to come; there came {self.seen}"
        return found

    def pids(self, count: int = 2) -> list[int]:
        """The workers' processes, in the order in which they served."""
        return [int(line.split()[2]) for line in self.hear("serves", count)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code; every line is `seen`."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            pass
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.ended()  # its workers see that it is gone, and hold the pipe until they are too
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self, deadline: float) -> bool:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self.seen += [line.decode() for line in lines]
        return bool(piece)


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    made: list[Parent] = []
    yield made
    for parent in made:
        parent.close()


def start(parents: list[Parent], kind: str = "serve", count: int = 2, *, end_s_max: float = DEADLINE_S) -> Parent:
    parents.append(Parent(kind, count, end_s_max=end_s_max))
    return parents[-1]


def test_all_serve_then_drain_by_one_signal_and_the_exit_code_is_0(parents: list[Parent]) -> None:
    parent = start(parents, count=3)
    parent.hear("all")
    assert sorted(line.split()[1] for line in parent.hear("serves", 3)) == ["0", "1", "2"]
    parent.send(signal.SIGTERM)
    assert parent.ended() == 0
    assert len(parent.hear("drained", 3)) == 3


def test_the_first_worker_serves_before_another_is_started(parents: list[Parent]) -> None:
    parent = start(parents, count=3)
    parent.hear("all")
    begun = [line for line in parent.seen if line.startswith(("begins", "serves"))]
    assert [line.split()[:2] for line in begun[:2]] == [["begins", "0"], ["serves", "0"]]


def test_a_worker_that_is_killed_is_started_anew_and_the_others_go_on(parents: list[Parent]) -> None:
    parent = start(parents)
    one, other = parent.pids()
    os.kill(one, signal.SIGKILL)
    again = parent.pids(3)[2]
    assert again not in (one, other)
    assert parent.seen[-1].startswith("serves 0 ")
    parent.send(signal.SIGTERM)
    assert parent.ended() == 0
    assert parent.seen.count("drained 0") == parent.seen.count("drained 1") == 1


def test_a_worker_that_dies_again_and_again_is_waited_for_longer_each_time(parents: list[Parent]) -> None:
    parent = start(parents, "die_soon", count=1)
    moments = [float(line.split()[2]) for line in parent.hear("dies", 5)]
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(wait >= 0.05 * 2**number for number, wait in enumerate(waits)), waits


def test_a_worker_that_cannot_start_at_all_ends_all_with_1(parents: list[Parent]) -> None:
    parent = start(parents, "refuse", count=3)
    assert parent.ended() == 1
    assert [line for line in parent.seen if line.startswith("begins")] == ["begins 0"], "it is said once"


def test_of_several_one_that_cannot_start_takes_the_others_down_cleanly(parents: list[Parent]) -> None:
    parent = start(parents, "second_refuses")
    assert parent.ended() == 1
    assert "drained 0" in parent.seen


def test_a_worker_that_does_not_end_cleanly_is_told_by_the_exit_code(parents: list[Parent]) -> None:
    parent = start(parents, "end_badly")
    parent.hear("all")
    parent.send(signal.SIGTERM)
    assert parent.ended() == 1


def test_a_second_signal_ends_workers_that_hang_at_once(parents: list[Parent]) -> None:
    parent = start(parents, "hang")
    parent.hear("all")
    parent.send(signal.SIGINT)
    parent.hear("hangs", 2)
    parent.send(signal.SIGINT)
    assert parent.ended() == 1


def test_workers_that_hang_are_killed_when_the_time_is_over(parents: list[Parent]) -> None:
    parent = start(parents, "hang", end_s_max=0.3)
    parent.hear("all")
    parent.send(signal.SIGTERM)
    assert parent.ended() == 1


def test_a_signal_for_all_reaches_each_and_one_for_one_reaches_one(parents: list[Parent]) -> None:
    parent = start(parents, count=3)
    parent.hear("all")
    parent.send(signal.SIGHUP)
    assert sorted(parent.hear("SIGHUP", 3)) == ["SIGHUP 0", "SIGHUP 1", "SIGHUP 2"]
    parent.send(signal.SIGUSR1)
    parent.hear("SIGUSR1")
    parent.send(signal.SIGTERM)
    assert parent.ended() == 0
    assert len([line for line in parent.seen if line.startswith("SIGUSR1")]) == 1


def test_workers_end_when_their_parent_is_killed(parents: list[Parent]) -> None:
    parent = start(parents)
    parent.hear("all")
    parent.send(signal.SIGKILL)
    assert parent.ended() == -signal.SIGKILL
    assert sorted(parent.hear("orphaned", 2)) == ["orphaned 0", "orphaned 1"]


def test_a_signal_to_the_whole_group_drains_each_worker_once(parents: list[Parent]) -> None:
    parent = start(parents)
    parent.hear("all")
    os.killpg(parent.process.pid, signal.SIGINT)  # as a terminal does it
    assert parent.ended() == 0
    assert sorted(parent.hear("SIG", 2)) == ["SIGTERM 0", "SIGTERM 1"], "what the parent sends, and nothing else"


def test_that_would_be_seen_where_workers_share_their_parents_group(parents: list[Parent]) -> None:
    parent = start(parents, "share_a_group")
    parent.hear("all")
    os.killpg(parent.process.pid, signal.SIGINT)
    assert parent.hear("SIGINT")


def test_a_stop_while_workers_start_ends_with_0(parents: list[Parent]) -> None:
    parent = start(parents, "start_slowly")
    parent.hear("begins")
    parent.send(signal.SIGTERM)
    assert parent.ended() == 0
