"""How many people are there when: three days in miniature, each bounded in time and in users."""

from __future__ import annotations

import math

SHAPES = ("steady", "morning", "storm")
STORM_EVERY_S = 5.0


def users_at(shape: str, elapsed_s: float, seconds: float, users_max: int) -> tuple[int, float] | None:
    """(people, people a second that may come or go) at ``elapsed_s``; None when the shape is over.

    steady   everybody comes in the first tenth, and stays
    morning  few, then a steep rise to all of them at two thirds, then half
    storm    as steady; every `STORM_EVERY_S` all connections are cut at once (`storm_at`)
    """
    if elapsed_s >= seconds:
        return None
    share = elapsed_s / seconds
    if shape == "morning":
        level = 0.15 + 0.85 * math.sin(math.pi / 2 * min(1.0, share / 0.66)) ** 4 if share < 0.66 else 0.5
        people = max(1, round(users_max * level))
    else:
        people = users_max
    return people, max(1.0, users_max / (seconds * 0.1))


def storm_at(shape: str, elapsed_s: float) -> int:
    """How many storms there have been so far."""
    return int(elapsed_s // STORM_EVERY_S) if shape == "storm" else 0
