"""The REST resources under ``/v1``, health, metrics, and their description.

::

    app = build_app(service, records, authority, settings, lifecycle=lifecycle, telemetry=telemetry, clock=clock)
    health.watch("store", store.is_healthy)
    bare_app().openapi()  # the document alone, without any service
"""

from __future__ import annotations

from syncbridge.http.app import bare_app, build_app
from syncbridge.http.health import Health

__all__ = ["Health", "bare_app", "build_app"]
