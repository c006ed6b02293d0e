"""Figures and logs.

::

    configure_logging(settings.log_level, settings.log_format)
    telemetry = PrometheusTelemetry(clock)  # the Telemetry port; `metrics.METRICS` says which figures it takes
    telemetry.page()  # what a scrape of /metrics gets

``python -m syncbridge.telemetry`` prints the table of metrics for the docs.
"""

from __future__ import annotations

from syncbridge.telemetry.collector import CONTENT_TYPE, PrometheusTelemetry
from syncbridge.telemetry.logs import configure_logging, is_for_people
from syncbridge.telemetry.metrics import METRICS, table

__all__ = ["CONTENT_TYPE", "METRICS", "PrometheusTelemetry", "configure_logging", "is_for_people", "table"]
