"""What would go by the rules of retention, looked at beside a running service; and the run itself."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import NamedTuple

from syncbridge.adapters.embedded.directory import DATABASE, LOCK
from syncbridge.cli.direct import opened_records
from syncbridge.cli.failures import Failed
from syncbridge.cli.offline import opened
from syncbridge.config import Settings
from syncbridge.limits import Retention
from syncbridge.runtime.clock import ServerClock

DAY_MS = 86_400_000


class Ending(NamedTuple):
    """A session and when its time is over; the status is `unknown` until a run has read it from an old log."""

    session: str
    status: str
    ends_at: int


class Forecast(NamedTuple):
    """``due`` counts by kind what is past its time now; ``sessions`` are those past it or soon, the soonest first."""

    due: dict[str, int]
    sessions: list[Ending]


async def forecast(settings: Settings, *, within_days: int) -> Forecast:
    """What the next run removes. Raises Failed, Unavailable."""
    now_ms = ServerClock().now_ms()
    endings = _endings(settings.data_dir / DATABASE, settings.retention)
    due: dict[str, int] = {}
    for one in endings:
        kind = f"session_{one.status}"
        due[kind] = due.get(kind, 0) + (one.ends_at <= now_ms)
    async with opened_records(settings) as (records, _):
        due |= await records.expiry.count(now_ms, settings.retention)
    soon = [one for one in endings if one.ends_at <= now_ms + within_days * DAY_MS]
    return Forecast(due, sorted(soon, key=lambda one: one.ends_at))


async def run_here(settings: Settings) -> dict[str, int]:
    """What was past its time is gone; how many of each kind. Raises InUse where a service holds the directory."""
    async with opened(settings) as service:
        return await service.lifecycle.retention.run()


def ask_holder(data_dir: Path, holder: int | None) -> bool:
    """The process that holds the directory is asked to run; False where it cannot be told from another of this id."""
    if holder is None or not _has_open(holder, data_dir / LOCK):
        return False
    os.kill(holder, signal.SIGUSR1)
    return True


def _has_open(process: int, path: Path) -> bool:
    """Whether the process, as this machine numbers it, has the file open: a number out of a container means another."""
    try:
        wanted = path.stat()
        held = [entry.stat() for entry in Path(f"/proc/{process}/fd").iterdir() if entry.exists()]
    except OSError:
        return False
    return any((one.st_dev, one.st_ino) == (wanted.st_dev, wanted.st_ino) for one in held)


def _endings(database: Path, rules: Retention) -> list[Ending]:
    if not database.exists():
        return []
    try:
        db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            heads = db.execute(
                "SELECT session, status, at FROM heads WHERE session NOT IN (SELECT session FROM set_aside)"
                " UNION ALL SELECT session, 'damaged', at FROM set_aside"
            ).fetchall()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise Failed(f"{database} cannot be read: {error}. A start of this version's service brings it up.") from error
    return [Ending(session, status or "unknown", at + rules.session_ms(status)) for session, status, at in heads]
