"""A server as a child process: started, waited for, frozen, killed, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

DEADLINE_S: Final = 60.0
INSTALL: Final = "sudo apt-get install --yes --no-install-recommends"


class MissingProgram(RuntimeError):
    """A server is not installed; the text is the command that installs it."""


class NotReady(RuntimeError):
    """A server did not come up; the text holds the end of what it printed."""


def program(name: str, package: str, *places: str) -> str:
    """The path of the program. Raises MissingProgram naming Debian's package."""
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        raise MissingProgram(f"{name} is not here; install it:  {INSTALL} {package}")
    return found


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now.

    Below the range from which the kernel takes ports of outgoing connections, so that none of those is in the way.
    """
    for _ in range(200):
        port = 12_000 + int.from_bytes(os.urandom(2), "big") % 18_000
        with socket.socket() as probe:
            # Redis Cluster also takes the port 10,000 higher for its bus.
            if probe.connect_ex(("127.0.0.1", port)) and probe.connect_ex(("127.0.0.1", port + 10_000)):
                return port
    raise NotReady("no free port was found between 12000 and 30000")


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a run that is killed leaves nothing behind


class ServerProcess:
    """One child process; ``folder`` holds its data and what it prints (``log``)."""

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.command = list(command)
        self.environment = dict(environment or {})
        self.log = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id. Raises NotReady where none runs."""
        if self._process is None:
            raise NotReady(f"{self.command[0]} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, is_ready: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
        """It runs and answers. Raises NotReady with the end of its output."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.wait(is_ready, deadline_s=deadline_s)

    def wait(self, is_ready: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
        """The condition holds. Raises NotReady when the process ended, or the time was over, before."""
        deadline = time.monotonic() + deadline_s
        while not is_ready():
            if not self.is_running or time.monotonic() > deadline:
                tail = self.log.read_text("utf-8", "replace")[-2_000:]
                self.kill()
                raise NotReady(f"{' '.join(self.command[:3])} did not get ready:\n{tail}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """The process and its children got the signal, where they live."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def freeze(self) -> None:
        """It stands still, its sockets open: every thread of it, before this returns."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + DEADLINE_S
        while self.is_running and not _stands_still(self.pid) and time.monotonic() < deadline:
            time.sleep(0.001)

    def thaw(self) -> None:
        """It goes on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone at once, as by `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self, *, deadline_s: float = 15.0) -> None:
        """It ended in its own way, or was killed when the time was over."""
        self.thaw()
        self._end(signal.SIGTERM, deadline_s)

    def _end(self, number: int, deadline_s: float = 15.0) -> None:
        if self._process is None:
            return
        self.signal(number)
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()
        # A shell that was killed takes nobody along.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None


def _stands_still(pid: int) -> bool:
    states = set()
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread may end while it is looked at
            # The state follows the name, which is in brackets and may hold anything.
            states.add(task.read_text("utf-8", "replace").rpartition(")")[2].split()[0])
    return states <= {"T"}


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
