"""Every metric, in one table: from it the collectors are made, and the page of the docs."""

from __future__ import annotations

from syncbridge.telemetry.rows_events import EVENTS
from syncbridge.telemetry.rows_mesh import MESH
from syncbridge.telemetry.rows_redis import REDIS
from syncbridge.telemetry.rows_serving import SERVING
from syncbridge.telemetry.rows_storage import STORAGE
from syncbridge.telemetry.rows_upkeep import UPKEEP
from syncbridge.telemetry.shape import Metric

METRICS: tuple[Metric, ...] = (*SERVING, *UPKEEP, *STORAGE, *EVENTS, *MESH, *REDIS)


def table() -> str:
    """The Markdown table of every metric, as the docs hold it."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '-'} "
        f"| {metric.meaning} |"
        for metric in METRICS
    ]
    return "\n".join(rows) + "\n"
