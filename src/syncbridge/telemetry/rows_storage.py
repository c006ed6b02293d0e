"""Metrics of where things are kept."""

from __future__ import annotations

from syncbridge.telemetry.shape import FAST_S, Feed, Metric

STORAGE: tuple[Metric, ...] = (
    Metric(
        "store_group_duration_seconds",
        "histogram",
        "One group of commits from the journal's thread to the disk, its sync included.",
        buckets=FAST_S,
        feeds=(Feed("store_group_ms", "observe_ms"),),
    ),
    Metric(
        "store_commits_waiting",
        "gauge",
        "Transactions that wait for the disk.",
        feeds=(Feed("store_commits_waiting", "set"),),
    ),
    Metric(
        "store_sessions_held",
        "gauge",
        "Sessions whose newest entries the store holds in memory.",
        feeds=(Feed("store_sessions_held", "set"),),
    ),
    Metric(
        "store_bytes_held",
        "gauge",
        "Bytes of those entries, as they are encoded.",
        feeds=(Feed("store_bytes_held", "set"),),
    ),
    Metric(
        "data_write_ahead_bytes",
        "gauge",
        "Size of the write-ahead logs in the data directory.",
        feeds=(Feed("write_ahead_bytes", "set"),),
    ),
    Metric(
        "data_free_bytes",
        "gauge",
        "Room left on the disk of the data directory.",
        feeds=(Feed("data_free_bytes", "set"),),
    ),
    Metric(
        "records_connections_in_use",
        "gauge",
        "Connections to the records that are in use now.",
        feeds=(Feed("records_in_use", "set"),),
    ),
    Metric(
        "records_connections_max",
        "gauge",
        "Connections to the records that there may be: `database_pool_size`.",
        feeds=(Feed("records_max", "set"),),
    ),
    Metric(
        "records_wait_seconds",
        "histogram",
        "How long work on the records waited for a connection; 2 s and more: it was refused as `unavailable`.",
        buckets=(*FAST_S, 2.0),
        feeds=(Feed("records_wait_ms", "observe_ms"),),
    ),
    Metric(
        "incidents_total",
        "counter",
        "Incidents of sessions that were kept.",
        feeds=(Feed("incidents_kept", "add"),),
    ),
    Metric(
        "incidents_dropped_total",
        "counter",
        "Incidents that could not be kept: the records were away for long, or their session is in no listing.",
        feeds=(Feed("incidents_dropped", "add"),),
    ),
)
