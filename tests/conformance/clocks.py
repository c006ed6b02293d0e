"""What every harness goes by."""

from __future__ import annotations

from typing import Final

DEADLINE_S: Final = 30.0


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms
