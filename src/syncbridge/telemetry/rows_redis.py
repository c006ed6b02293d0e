"""Metrics of the link to Redis."""

from __future__ import annotations

from syncbridge.telemetry.shape import Feed, Metric

REDIS: tuple[Metric, ...] = (
    Metric(
        "redis_calls_total",
        "counter",
        "Scripts and commands that Redis was asked for; 0 without Redis.",
        feeds=(Feed("redis_call", "add"),),
    ),
    Metric(
        "redis_writes_total",
        "counter",
        "Batches in which they went out; calls a write is how well they are gathered.",
        feeds=(Feed("redis_write", "add"),),
    ),
    Metric(
        "redis_failures_total",
        "counter",
        "Calls without an answer of Redis: `unknown` may have taken effect, `unavailable` and `refused` did not.",
        ("kind",),
        ("unknown", "unavailable", "refused"),
        feeds=(Feed("redis_failed", "add"),),
    ),
    Metric(
        "redis_events_total",
        "counter",
        "What the link went through: `short_waits` are batches that too few replicas had in time.",
        ("event",),
        ("reconnects", "redirects", "retries", "timeouts", "short_waits"),
        feeds=(Feed("redis_event", "add"),),
    ),
    Metric(
        "redis_primaries",
        "gauge",
        "Primaries of Redis that this node knows.",
        feeds=(Feed("redis_primaries", "set"),),
    ),
    Metric(
        "redis_primaries_ready",
        "gauge",
        "Those of them that take calls from this node now; fewer than `redis_primaries`: a failover or an outage.",
        feeds=(Feed("redis_primaries_ready", "set"),),
    ),
    Metric(
        "redis_acks_replicated",
        "gauge",
        "1 while every acknowledged commit is on a replica too, 0 while some primary has none to wait for.",
        feeds=(Feed("redis_acks_replicated", "set"),),
    ),
)
