"""What people did on their devices, as the checkers remember it: each deed, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from syncbridge.client.pending import Row

REGISTERS = ("/settings/theme", "/settings/voice", "/notes/a")
REST = "/rest"
"""Where a caller over REST edits."""
MISSING = "(nothing)"
"""Stands for a place that holds no value; no deed ever writes it."""


@dataclass(slots=True)
class Deed:
    """One edit of one app. ``seen`` is what its person saw at ``path`` when they made it."""

    device: str
    key: int
    what: str
    path: str
    value: Any
    seen: Any
    made_ms: int
    amount: int = 0
    version: int = 0
    acked_ms: int = 0
    code: str = ""
    rows: list[Row] = field(default_factory=list)


def value_at(state: Any, path: str) -> Any:
    """The value at a plain pointer (no escapes), or `MISSING`."""
    value = state
    for token in path.split("/")[1:]:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdigit() and int(token) < len(value):
            value = value[int(token)]
        else:
            return MISSING
    return value
