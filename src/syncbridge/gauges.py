"""What of a running service is read from time to time, because nothing happens when it changes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from syncbridge import __version__
from syncbridge._ext import IS_COMPILED
from syncbridge.auth import Authority
from syncbridge.net.door import Door
from syncbridge.net.outlet import Outlet
from syncbridge.records import Records
from syncbridge.runtime.engine import Engine
from syncbridge.telemetry import PrometheusTelemetry
from syncbridge.wire.handshake import ORIGIN_FORBIDDEN

_log = structlog.get_logger("syncbridge")


class Gauges:
    """Reads the figures of one service; what counts by itself elsewhere is taken over as the difference."""

    def __init__(
        self,
        telemetry: PrometheusTelemetry,
        engine: Engine,
        records: Records,
        authority: Authority,
        of_backends: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._telemetry = telemetry
        self._engine = engine
        self._records = records
        self._authority = authority
        self._of_backends = of_backends
        self._told: dict[str, Counter[str]] = {}
        telemetry.built(version=__version__, python=sys.version.split()[0], core="compiled" if IS_COMPILED else "plain")
        records.database.on_wait = lambda ms: telemetry.measured("records_wait_ms", ms)
        records.database.on_fault = lambda reason: telemetry.measured("records_fault", 1, reason)

    def read(self, door: Door) -> None:
        """Every figure is as it is now."""
        self._of_sockets(door)
        self._of_records()
        for read in self._of_backends:
            read()

    def _of_sockets(self, door: Door) -> None:
        engine, measured = self._engine, self._telemetry.measured
        measured("sessions_live", engine.live_sessions)
        measured("connections_open", len(engine.hub))
        outlets = (driver.outlet for driver in engine.hub.by_connection.values())
        measured("queue_bytes", sum(outlet.queued_bytes for outlet in outlets if isinstance(outlet, Outlet)))
        measured("handshakes_open", door.newcomers_count)
        measured("passwords_pending", self._authority.passwords_pending)
        self._take_over("connection_closed", Counter({str(code or "none"): n for code, n in door.closes.items()}))
        # Told in one line a second and reason at most: whoever knocks a thousand times a second fills no disk.
        self._take_over("connection_error", door.refusals, lambda code, count: _tell_refusals(door, code, count))

    def _of_records(self) -> None:
        measured, records = self._telemetry.measured, self._records
        measured("records_in_use", records.database.connections_in_use)
        measured("records_max", records.database.pool_size)
        self._take_over("incidents_kept", Counter({"": records.incidents.kept_total}))
        measured("archive_pending", records.archive.pending_bytes)
        self._take_over("archive_kept", Counter({"": records.archive.kept_total}))
        self._take_over("archive_dropped", Counter({"": records.archive.dropped_total}))
        self._take_over("incidents_dropped", Counter({"": records.incidents.dropped_total}))

    def _take_over(self, figure: str, totals: Counter[str], tell: Callable[[str, int], None] | None = None) -> None:
        told = self._told.get(figure, Counter())
        for label, total in totals.items():
            count = total - told[label]
            if count:
                self._telemetry.measured(figure, count, label)
                if tell is not None:
                    tell(label, count)
        self._told[figure] = totals.copy()


def _tell_refusals(door: Door, code: str, count: int) -> None:
    told: dict[str, object] = {}
    if code == ORIGIN_FORBIDDEN.code:
        # Whose page it was, so that an operator can allow it; printable, short and few.
        told["origins"] = list(door.origins_refused)
        door.origins_refused.clear()
    _log.info("websocket connection error", code=code, count=count, **told)
