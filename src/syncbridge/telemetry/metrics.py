"""Every metric, in one table: from it the collectors are made, and the page of the docs.

The first group has the names of the operators' handbook. Two of them are not what their ending says to Prometheus:
`sessions_active_total` is a gauge, and `offline_sync_success_rate` is a ratio reckoned when it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
How = Literal["add", "set", "observe", "observe_ms", "observe_since"]
"""What a figure does to its metric.

add            the counter grows by the value
set            the gauge is the value
observe        the value is one observation
observe_ms     the value is a duration in ms; the metric is in seconds
observe_since  the value is a moment in ms of server time; the observation is the time since
"""

_FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_HANDOFF_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_JOB_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class Feed:
    """A figure of `Telemetry.measured` that moves a metric; ``fixed`` is a label that the figure implies."""

    figure: str
    how: How
    fixed: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``known`` are label values that exist from the start, so that a rate over them is never absent."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    feeds: tuple[Feed, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(
        "websocket_connection_errors_total",
        "counter",
        "WebSocket connections that were refused or closed for a fault, by error code.",
        ("code",),
        (
            *(
                "bad_message",
                "token_invalid",
                "token_expired",
                "token_revoked",
                "hello_timeout",
                "too_slow",
                "rate_limited",
                "internal",
            ),
            *("bad_handshake", "origin_forbidden", "busy"),
        ),
        feeds=(Feed("connection_error", "add"),),
    ),
    Metric(
        "state_sync_duration_seconds",
        "histogram",
        "From a push read off the socket to its durable acknowledgement handed to it; one push in sixteen is timed.",
        buckets=_FAST_S,
        feeds=(Feed("sync_ms", "observe_ms"),),
    ),
    Metric(
        "handoff_latency_seconds",
        "histogram",
        "From the request of a handoff to the new owner's being told, by mode.",
        ("mode",),
        ("offer", "take"),
        _HANDOFF_S,
        (Feed("handoff_ms", "observe_ms"), Feed("handoff_done", "observe_since")),
    ),
    Metric(
        "cross_device_handoffs_total",
        "counter",
        "Handoffs by outcome: done, or why not.",
        ("outcome",),
        ("done", "declined", "cancelled", "expired", "superseded", "ended"),
        feeds=(Feed("handoff_done", "add", "done"), Feed("handoff_failed", "add")),
    ),
    Metric(
        "sessions_active_total",
        "gauge",
        "Sessions in this process's memory now.",
        feeds=(Feed("sessions_live", "set"),),
    ),
    Metric(
        "websocket_connections_total",
        "counter",
        "WebSocket connections accepted since the start.",
        feeds=(Feed("connection_opened", "add"),),
    ),
    Metric(
        "state_delta_duration_seconds",
        "histogram",
        "Applying, rebasing and merging one push, without storage and network.",
        buckets=_FAST_S,
        feeds=(Feed("delta_ms", "observe_ms"),),
    ),
    Metric(
        "http_requests_total",
        "counter",
        "REST requests by method, route and status.",
        ("method", "route", "status"),
    ),
    Metric(
        "http_request_duration_seconds",
        "histogram",
        "REST requests from the first byte of the head to the last of the answer.",
        ("method", "route"),
        buckets=_REQUEST_S,
    ),
    Metric(
        "offline_sync_success_rate",
        "gauge",
        "Share of pushes made offline that were applied or merged; 1 where there were none.",
    ),
    Metric(
        "session_continuity_rate",
        "gauge",
        "Share of handoffs and resumes that lost nothing; 1 where there were none.",
    ),
    # -- what the handbook does not name ------------------------------------------------------------------------
    Metric(
        "offline_syncs_total",
        "counter",
        "Pushes made offline, by outcome.",
        ("outcome",),
        ("kept", "lost"),
        feeds=(Feed("offline_sync", "add"),),
    ),
    Metric(
        "session_continuity_total",
        "counter",
        "Handoffs and resumes, by whether all was kept.",
        ("outcome",),
        ("kept", "lost"),
        feeds=(Feed("continuity", "add"),),
    ),
    Metric(
        "websocket_connections_open",
        "gauge",
        "WebSocket connections open now.",
        feeds=(Feed("connections_open", "set"),),
    ),
    Metric(
        "handoff_confirm_seconds",
        "histogram",
        "From the commit of a handoff to the new owner's saying that it runs.",
        ("mode",),
        ("offer", "take"),
        _HANDOFF_S,
        (Feed("handoff_confirm_ms", "observe_ms"), Feed("handoff_confirmed", "observe_since")),
    ),
    Metric(
        "commits_total",
        "counter",
        "Entries committed to session logs.",
        feeds=(Feed("commit_entries", "add"),),
    ),
    Metric(
        "commit_entries",
        "histogram",
        "Entries of one commit.",
        buckets=_COUNTS,
        feeds=(Feed("commit_entries", "observe"),),
    ),
    Metric(
        "commit_duration_seconds",
        "histogram",
        "One batch of commits on its way to the store and back.",
        buckets=_FAST_S,
        feeds=(Feed("commit_ms", "observe_ms"),),
    ),
    Metric(
        "commit_retries_total",
        "counter",
        "Commits tried again, because another node was first.",
        feeds=(Feed("retry", "add"),),
    ),
    Metric(
        "resumes_total",
        "counter",
        "Joins by mode: resumed, or why it was a snapshot.",
        ("mode",),
        ("resumed", "new", "epoch", "behind", "ahead", "slow", "missed", "smaller"),
        feeds=(Feed("resume", "add"),),
    ),
    Metric(
        "rejects_total",
        "counter",
        "Pushes and requests that a session refused, by error code.",
        ("code",),
        ("stale_owner", "stale_position", "base_too_old", "seq_gap", "bad_patch"),
        feeds=(Feed("reject", "add"),),
    ),
    Metric(
        "idempotency_replays_total",
        "counter",
        "Requests that were answered again under their Idempotency-Key, instead of making something twice.",
        feeds=(Feed("idempotency_replay", "add"),),
    ),
    Metric(
        "limit_hits_total",
        "counter",
        "Times that a limit was met, by its name; see the table of limits.",
        ("limit",),
        (
            *("request_burst", "address_request_burst", "login_burst", "guess_burst", "requests_inflight_max"),
            *("push_burst", "message_burst", "message_refusals_max", "joins_max", "idempotency_keys_max"),
            *("signal_bytes_max", "hello_messages_max", "queue_entries_max", "settings_bytes_max"),
            "snapshots_max",
        ),
        feeds=(Feed("limit_hit", "add"),),
    ),
    Metric(
        "conflicts_total",
        "counter",
        "Places where two devices wrote, by the policy that decided.",
        ("policy",),
        ("last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual"),
        feeds=(Feed("conflict", "add"),),
    ),
    Metric(
        "conflicts_undone_total",
        "counter",
        "Conflicts that somebody took back, by the policy that had decided.",
        ("policy",),
        ("last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual"),
        feeds=(Feed("conflict_undone", "add"),),
    ),
    Metric(
        "machine_failures_total",
        "counter",
        "Sessions dropped and loaded again, because our own code broke; by event.",
        ("event",),
        feeds=(Feed("machine_failures", "add"),),
    ),
    Metric(
        "event_loop_lag_seconds",
        "histogram",
        "How late a timer of the loop fires.",
        buckets=_FAST_S,
        feeds=(Feed("loop_lag_ms", "observe_ms"),),
    ),
    Metric(
        "outlet_queued_bytes",
        "gauge",
        "Bytes that wait to be sent to slow readers.",
        feeds=(Feed("queue_bytes", "set"),),
    ),
    Metric(
        "tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the TLS certificate in force ends, in Unix time; 0 without TLS.",
        feeds=(Feed("tls_not_after_s", "set"),),
    ),
    Metric(
        "tls_reloads_total",
        "counter",
        "Replaced TLS certificates, by outcome: reloaded, or failed (the old one stays in use).",
        ("outcome",),
        ("reloaded", "failed"),
        feeds=(Feed("tls_reload", "add"),),
    ),
    Metric(
        "signing_key_age_seconds",
        "gauge",
        "How long the current signing key has been signing.",
        feeds=(Feed("signing_key_age_s", "set"),),
    ),
    Metric(
        "signing_keys",
        "gauge",
        "Signing keys by what they are now.",
        ("state",),
        ("next", "current", "previous", "retired"),
        feeds=(Feed("signing_keys", "set"),),
    ),
    Metric(
        "issuer_refreshes_total",
        "counter",
        "Fetches of outside issuers' key sets, by outcome.",
        ("outcome",),
        ("fetched", "unreachable", "timeout", "status", "too_large", "malformed"),
        feeds=(Feed("issuer_refresh", "add"),),
    ),
    Metric(
        "retention_removed_total",
        "counter",
        "What was past its time and is gone, by kind.",
        ("kind",),
        ("session_active", "session_paused", "session_completed", "session_archived", "snapshot", "token"),
        feeds=(Feed("retention_removed", "add"),),
    ),
    Metric(
        "retention_last_run_timestamp_seconds",
        "gauge",
        "When what is past its time was last removed, all of it.",
        feeds=(Feed("retention_ran_at", "set"),),
    ),
    Metric(
        "retention_run_seconds",
        "histogram",
        "Removing what is past its time: one run.",
        buckets=_JOB_S,
        feeds=(Feed("retention_run_ms", "observe_ms"),),
    ),
    Metric(
        "retention_held",
        "gauge",
        "1 while nothing is removed, because the clock is far ahead of the last run.",
        feeds=(Feed("retention_held", "set"),),
    ),
    Metric(
        "retention_failures_total",
        "counter",
        "Runs that did not remove everything; what is left goes with the next one.",
        feeds=(Feed("retention_failed", "add"),),
    ),
    Metric(
        "erasures_total",
        "counter",
        "Erasures of accounts: finished, or failed and to be tried again.",
        ("outcome",),
        ("finished", "failed"),
        feeds=(Feed("erasure", "add"),),
    ),
    Metric(
        "exports_total",
        "counter",
        "Exports of a person's data: whole, or cut off.",
        ("outcome",),
        ("whole", "cut"),
        feeds=(Feed("export", "add"),),
    ),
    Metric(
        "websocket_closes_total",
        "counter",
        "WebSocket connections that ended, by close code; `none` where no close frame came.",
        ("code",),
        ("none", "1000", "1001", "1012"),
        feeds=(Feed("connection_closed", "add"),),
    ),
    Metric(
        "handshakes_open",
        "gauge",
        "Connections whose first request, or TLS handshake, is still under way.",
        feeds=(Feed("handshakes_open", "set"),),
    ),
    Metric(
        "passwords_pending",
        "gauge",
        "Log-ins whose argon2id is being worked out, or waits for that.",
        feeds=(Feed("passwords_pending", "set"),),
    ),
    Metric(
        "store_group_duration_seconds",
        "histogram",
        "One group of commits from the journal's thread to the disk, its sync included.",
        buckets=_FAST_S,
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
        buckets=(*_FAST_S, 2.0),
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
    Metric(
        "syncbridge_build_info",
        "gauge",
        "1; what this process is made of stands in the labels.",
        ("version", "python", "core"),
    ),
    Metric(
        "unknown_figures_total",
        "counter",
        "Figures that no metric takes: a metric is missing in the table.",
        ("figure",),
    ),
)


def table() -> str:
    """The Markdown table of every metric, as the docs hold it."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '-'} "
        f"| {metric.meaning} |"
        for metric in METRICS
    ]
    return "\n".join(rows) + "\n"
