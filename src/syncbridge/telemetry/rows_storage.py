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
        "How long work on the records waited for a connection; 0.7 s (in a file 2 s) and more: it was refused.",
        buckets=(*FAST_S, 2.0),
        feeds=(Feed("records_wait_ms", "observe_ms"),),
    ),
    Metric(
        "records_faults_total",
        "counter",
        "Work that the records did not do, and that was answered `unavailable` or tried again, by reason.",
        ("reason",),
        (
            "pool_exhausted",
            "no_answer",
            "unreachable",
            "shutting_down",
            "too_many_connections",
            "wrong_password",
            "no_database",
            "no_right",
            "read_only",
            "undone",
            "slow_statement",
            "other",
        ),
        feeds=(Feed("records_fault", "add"),),
    ),
    Metric(
        "archived_states_total",
        "counter",
        "Newest states of sessions that were written behind, beside the live store.",
        feeds=(Feed("archive_kept", "add"),),
    ),
    Metric(
        "archived_states_dropped_total",
        "counter",
        "Newest states that were not: the records were away for long, or the session is in no listing. It comes again.",
        feeds=(Feed("archive_dropped", "add"),),
    ),
    Metric(
        "archive_pending_bytes",
        "gauge",
        "Newest states that wait to be written, as their JSON is counted; 64 MiB is the most.",
        feeds=(Feed("archive_pending", "set"),),
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
