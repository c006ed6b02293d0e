"""Session states of a wanted size and what devices do to them; seeded, so that every run measures the same."""

from __future__ import annotations

import copy
import random
from typing import Any

import orjson

SIZES_KIB = [1, 20, 200]
CHANGES = [1, 10, 50]

_WORDS = [
    "breathe",
    "in",
    "hold",
    "out",
    "slow",
    "calm",
    "body",
    "scan",
    "warm",
    "light",
    "shoulder",
    "jaw",
    "floor",
    "rest",
    "again",
]


def session_state(size_kib: int) -> dict[str, Any]:
    """A breathing session of about `size_kib` KiB: settings, playhead, phases, chapters with samples and notes."""
    rng = random.Random(size_kib)
    state: dict[str, Any] = {
        "type": "breathing",
        "title": "Evening, 4-7-8",
        "settings": {"voice": "ada", "volume": 0.6, "haptics": True, "theme": {"name": "dusk", "dim": 0.25}},
        "playhead": {"position": 312.25, "rate": 1.0, "at": 1_790_000_000_000},
        "phases": [{"id": f"p{n}", "kind": kind, "seconds": n + 3.5} for n, kind in enumerate(["in", "hold", "out"])],
        "tags": ["evening", "sleep"],
        "counters": {"rounds": 4, "pauses": 1, "skips": 0},
        "chapters": [],
    }
    number = 0
    while len(orjson.dumps(state)) < size_kib * 1024:
        number += 1
        state["chapters"].append(
            {
                "id": f"c{number}",
                "title": " ".join(rng.choices(_WORDS, k=4)),
                "done": rng.random() < 0.5,
                "length_s": rng.randrange(60, 900),
                "heart": {"from_s": number * 60, "bpm": [rng.randrange(52, 90) for _ in range(24)]},
                "mood": {"before": rng.randrange(1, 6), "after": None, "note": " ".join(rng.choices(_WORDS, k=8))},
                "marks": [{"at_s": round(rng.uniform(0, 600), 2), "text": rng.choice(_WORDS)} for _ in range(3)],
            }
        )
    return state


def change_state(state: dict[str, Any], changes: int) -> dict[str, Any]:
    """Another state, parsed by itself, that differs from `state` in about `changes` places of every kind."""
    rng = random.Random(changes)
    state = copy.deepcopy(state)
    for number in range(changes):
        chapter = rng.choice(state["chapters"])
        kind = number % 8
        if kind == 0:
            state["playhead"] = {"position": 400.5 + number, "rate": 1.0, "at": 1_790_000_090_000 + number}
        elif kind == 1:
            chapter["done"] = not chapter["done"]
        elif kind == 2:
            chapter["heart"]["bpm"].append(60 + number)
        elif kind == 3:
            chapter["mood"]["after"] = number
        elif kind == 4:
            chapter["marks"].insert(1, {"at_s": float(number), "text": "new"})
        elif kind == 5:
            chapter[f"extra{number}"] = {"n": number}
        elif kind == 6:
            state["counters"]["rounds"] += 1
        else:
            chapter["marks"].pop(0) if chapter["marks"] else chapter.pop("done", None)
    return state


def parsed(state: Any) -> Any:
    """`state` as a fresh parse of its text: equal, and sharing nothing with it."""
    return orjson.loads(orjson.dumps(state))
