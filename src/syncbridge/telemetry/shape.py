"""What a metric is: its row in the table, and which figures move it."""

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

FAST_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
HANDOFF_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
JOB_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
