"""What the machine allows: open files, memory, the queue of new connections, processors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.net.options import ServerOptions

CHECK = "machine"
MIB = 1024 * 1024
FILES_APART = 128
"""Of the databases, the libraries and the log."""
CONNECTION_BYTES = 32 * 1024
"""An idle connection; docs/promises.md."""
BASE_BYTES = 256 * MIB


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Every finding about the limits of this machine, as this user has them."""
    options = ServerOptions()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield judge_files(soft, hard, settings.connections_max + options.handshakes_max + FILES_APART)
    yield from judge_memory(memory_bytes(), settings.connections_max)
    yield from judge_backlog(_number("/proc/sys/net/core/somaxconn"), options.backlog)
    yield judge_processors(len(os.sched_getaffinity(0)))


def judge_files(soft: int, hard: int, needed: int) -> Finding:
    """As many files may be open as there may be connections."""
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return ok(
            CHECK, f"{'any number of' if soft == resource.RLIM_INFINITY else soft} open files, {needed} are needed"
        )
    can_raise = hard == resource.RLIM_INFINITY or hard >= needed
    how = f"ulimit -n {needed}" if can_raise else "raise the hard limit too (/etc/security/limits.conf)"
    return problem(
        CHECK,
        f"{soft} open files; connections_max needs {needed}",
        "New connections fail before connections_max is reached, and the journal cannot be opened anew.",
        f"{how}; in a systemd unit LimitNOFILE={needed}; or lower connections_max",
    )


def memory_bytes(proc: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """The memory that this process may use: the machine's, or its control group's where that is less."""
    found = []
    try:
        line = next(one for one in proc.read_text("ascii").splitlines() if one.startswith("MemTotal:"))
        found.append(int(line.split()[1]) * 1024)
    except (OSError, StopIteration, ValueError):
        pass
    limit = _number(group)
    if limit is not None:
        found.append(limit)
    return min(found, default=None)


def judge_memory(total: int | None, connections_max: int) -> Iterator[Finding]:
    """There is memory for as many connections as are allowed."""
    if total is None:
        return
    needed = BASE_BYTES + connections_max * CONNECTION_BYTES
    found = f"{total // MIB} MiB of memory; {connections_max} idle connections need {needed // MIB}"
    if total < needed:
        yield warning(
            CHECK,
            found,
            "With every place taken the system ends the process.",
            "lower connections_max, or give it more memory",
        )
    else:
        yield ok(CHECK, found)


def judge_backlog(somaxconn: int | None, backlog: int) -> Iterator[Finding]:
    """A storm of reconnects finds room in the kernel's queue."""
    if somaxconn is None:
        return
    if somaxconn < backlog:
        yield warning(
            CHECK,
            f"net.core.somaxconn is {somaxconn}; {backlog} are asked for",
            "When all devices reconnect at once, some wait for a second or more.",
            f"sysctl -w net.core.somaxconn={backlog}",
        )
    else:
        yield ok(CHECK, f"room for {backlog} new connections at once")


def judge_processors(count: int) -> Finding:
    """One for the loop, one for the journal and the passwords."""
    if count < 2:
        return warning(CHECK, "1 processor", "The journal and log-ins take time from live sessions.", "give it 2")
    return ok(CHECK, f"{count} processors")


def _number(path: str | Path) -> int | None:
    try:
        return int(Path(path).read_text("ascii"))
    except (OSError, ValueError):
        return None
