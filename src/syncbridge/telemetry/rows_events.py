"""The figures of what is told to other services."""

from __future__ import annotations

from syncbridge.core.facts import FACT_KINDS
from syncbridge.telemetry.shape import Feed, Metric

EVENTS: tuple[Metric, ...] = (
    Metric(
        "events_published_total",
        "counter",
        "Events that the broker confirmed, by type; one that had to be told again counts each time.",
        ("type",),
        tuple(kind.name for kind in FACT_KINDS),
        feeds=(Feed("event_published", "add"),),
    ),
    Metric(
        "events_failed_total",
        "counter",
        "Events that the broker did not confirm, by reason (`returned`: no queue takes them; `fenced`: another relay "
        "tells them; `unfit`: not to be told at all); but for those, they are told again.",
        ("reason",),
        ("away", "timeout", "blocked", "nacked", "returned", "refused", "unfit", "fenced"),
        feeds=(Feed("event_failed", "add"),),
    ),
    Metric(
        "events_dropped_total",
        "counter",
        "Events that waited past their outbox's bound, or are not to be read or written, and are never told.",
        feeds=(Feed("event_dropped", "add"),),
    ),
    Metric(
        "events_waiting",
        "gauge",
        "Events in the outboxes that this process reads; of the embedded storage: transactions.",
        feeds=(Feed("events_waiting", "set"),),
    ),
    Metric(
        "events_oldest_age_seconds",
        "gauge",
        "How long the oldest of them has waited.",
        feeds=(Feed("events_oldest_s", "set"),),
    ),
)
