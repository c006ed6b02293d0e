"""Metrics of what goes on beside it: certificates, keys, retention, erasure, export."""

from __future__ import annotations

from syncbridge.telemetry.shape import JOB_S, Feed, Metric

UPKEEP: tuple[Metric, ...] = (
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
        "secret_age_seconds",
        "gauge",
        "How long ago the keeper of a secret (Vault, a file) was last heard to say that it is as held.",
        ("secret",),
        feeds=(Feed("secret_age_s", "set"),),
    ),
    Metric(
        "secret_remaining_seconds",
        "gauge",
        "How long a secret that ends still lasts: a token, a lease, a certificate; 0: it has ended.",
        ("secret",),
        feeds=(Feed("secret_lasts_s", "set"),),
    ),
    Metric(
        "secret_changes_total",
        "counter",
        "Secrets that were replaced, by which.",
        ("secret",),
        feeds=(Feed("secret_change", "add"),),
    ),
    Metric(
        "secret_failures_total",
        "counter",
        "Times that a secret could not be had from its keeper, by why; what is held is used on.",
        ("kind",),
        (
            *("unreachable", "timeout", "untrusted", "sealed", "failing"),
            *("log_in", "denied", "missing", "malformed", "weak"),
        ),
        feeds=(Feed("secret_failure", "add"),),
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
        buckets=JOB_S,
        feeds=(Feed("retention_run_ms", "observe_ms"),),
    ),
    Metric(
        "retention_held",
        "gauge",
        "1 while nothing is removed, because the clock is far ahead of the last run, or of the database server.",
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
)
