"""How long what people leave here stays: retention, a person's export, and erasure.

It leans on the store's port, the records and the authority, and is leaned on by `http` and the composition root.

::

    lifecycle = Lifecycle(
        store, records, authority, service, clock=clock, telemetry=telemetry, limits=limits, retention=rules
    )
    lifecycle.gone.follow(owned.forget)  # who remembers sessions is told of each that is gone
    await lifecycle.eraser.resume()  # before anybody is served
    await lifecycle.retention.run()  # {"session_active": 3, "snapshot": 1}
"""

from __future__ import annotations

from syncbridge.auth import Authority
from syncbridge.lifecycle.erasure import Eraser
from syncbridge.lifecycle.export import Exporter
from syncbridge.lifecycle.gone import Gone
from syncbridge.lifecycle.retention import RetentionJob
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.limits import Limits, Retention
from syncbridge.ports import Clock, SessionService, StateStore, Telemetry
from syncbridge.records import Records

__all__ = ["Eraser", "Exporter", "Gone", "Lifecycle", "RetentionJob"]


class Lifecycle:
    """Everything about how long data lives, over the same logs and records."""

    def __init__(
        self,
        store: StateStore,
        records: Records,
        authority: Authority,
        service: SessionService,
        *,
        clock: Clock,
        telemetry: Telemetry,
        limits: Limits,
        retention: Retention,
    ) -> None:
        logs = StoredLogs(store, timeout_ms=limits.store_timeout_ms)
        self.gone = Gone(service)
        self.retention = RetentionJob(logs, records, self.gone, clock=clock, telemetry=telemetry, rules=retention)
        self.eraser = Eraser(logs, records, authority, service, self.gone, clock=clock, telemetry=telemetry)
        self.exporter = Exporter(logs, records, clock=clock, telemetry=telemetry)
