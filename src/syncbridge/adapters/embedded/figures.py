"""What of the embedded storage is read from time to time, because nothing happens when it changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import structlog

from syncbridge.adapters.embedded.store import SqliteStore
from syncbridge.ports import Telemetry

DISK_EVERY: Final = 10
"""The disk is asked at every so many looks: it changes slowly, and may answer slowly."""

_log = structlog.get_logger("syncbridge")


class StoreFigures:
    """What the store holds in memory and has not written yet; how long each group of commits took."""

    def __init__(self, store: SqliteStore, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        store.watch_groups(lambda ms: telemetry.measured("store_group_ms", ms))

    def read(self) -> None:
        """Every figure is as it is now."""
        measured = self._telemetry.measured
        measured("store_commits_waiting", self._store.commits_waiting)
        held, size = self._store.memory_held()
        measured("store_sessions_held", held)
        measured("store_bytes_held", size)


class DiskFigures:
    """What is left of the disk of a data directory, and how much of it the write-ahead logs take."""

    def __init__(self, data_dir: Path, telemetry: Telemetry) -> None:
        self._data_dir = data_dir
        self._telemetry = telemetry
        self._looks = 0

    def read(self) -> None:
        """Every figure is as it was at the last of `DISK_EVERY` looks."""
        if self._looks % DISK_EVERY == 0:
            self._look()
        self._looks += 1

    def _look(self) -> None:
        try:
            self._telemetry.measured("data_free_bytes", shutil.disk_usage(self._data_dir).free)
            logs = (file.stat().st_size for file in self._data_dir.glob("*-wal"))
            self._telemetry.measured("write_ahead_bytes", sum(logs))
        except OSError as error:
            _log.warning("the disk cannot be looked at", reason=error.strerror)
