"""What a run found: times by name, errors, and the continuity of handoffs and resumes. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

PLAYHEAD_MS_MAX = 50.0


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all are not above (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 1000) // 1000)
    return ordered[min(len(ordered), max(1, rank)) - 1]


class Measures:
    """Everything of one run. A handoff or resume is continuous when nothing was lost and the playhead ran on."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()
        self.playhead_ms: list[float] = []
        self.moves = 0
        self.continuous = 0
        self.lost = 0

    def took(self, name: str, ms: float) -> None:
        self.times_ms.setdefault(name, []).append(ms)

    def failed(self, name: str, why: str) -> None:
        self.errors[f"{name}: {why}"] += 1

    def moved(self, *, lost: int, playhead_ms: float) -> None:
        """A handoff or a resume is over: ``lost`` acknowledged updates are missing; the playhead is so far off."""
        self.moves += 1
        self.lost += lost
        self.playhead_ms.append(playhead_ms)
        if not lost and playhead_ms <= PLAYHEAD_MS_MAX:
            self.continuous += 1

    def broke(self) -> None:
        """A handoff or a resume did not come to its end."""
        self.moves += 1

    def as_json(self, shape: str, seconds: float, users: int) -> dict[str, Any]:
        return {
            "shape": shape,
            "seconds": seconds,
            "users": users,
            "times": {
                name: {
                    "count": len(values),
                    "rate_per_s": round(len(values) / seconds, 1),
                    "p50_ms": round(percentile(values, 0.5), 2),
                    "p99_ms": round(percentile(values, 0.99), 2),
                    "p999_ms": round(percentile(values, 0.999), 2),
                }
                for name, values in sorted(self.times_ms.items())
            },
            "errors": dict(self.errors),
            "moves": self.moves,
            "continuity": round(self.continuous / self.moves, 4) if self.moves else None,
            "lost": self.lost,
            "playhead_p99_ms": round(percentile(self.playhead_ms, 0.99), 2),
        }


def as_markdown(runs: list[dict[str, Any]]) -> str:
    """The report: one table of times a shape, then what held."""
    lines = ["# Load test", ""]
    for run in runs:
        lines += [
            f"## {run['shape']}: up to {run['users']} people with two devices each, {run['seconds']:g} s",
            "",
            "| what | count | per s | p50 ms | p99 ms | p999 ms |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {name} | {one['count']} | {one['rate_per_s']} | {one['p50_ms']} | {one['p99_ms']} | {one['p999_ms']} |"
            for name, one in run["times"].items()
        ]
        told = "-" if run["continuity"] is None else f"{run['continuity'] * 100:.2f} %"
        held = f"nothing lost, playhead within {PLAYHEAD_MS_MAX:g} ms"
        found = f"acknowledged updates lost: {run['lost']}; playhead p99 {run['playhead_p99_ms']} ms"
        errors = sum(run["errors"].values())
        lines += [
            "",
            f"Continuity {told} of {run['moves']} handoffs and resumes ({held}); {found}; errors: {errors}.",
            "",
        ]
        lines += [f"- {count} x {error}" for error, count in run["errors"].items()]
        if run["errors"]:
            lines.append("")
    return "\n".join(lines)
