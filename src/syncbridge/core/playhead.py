"""The playhead: an anchor from which every device computes the same position now.

``{"position": seconds, "rate": 1.0, "at": server ms}``: at server time ``at`` the session stood at ``position`` and
goes on at ``rate`` (0 = paused). Nobody writes once a second. An optional ``duration`` (seconds) is where it ends.

The anchor lives in the state at `/playhead`, so that it moves with the state, in one log.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from msgspec import Struct

from syncbridge.core.ids import JsonObject
from syncbridge.limits import INTEGER_SAFE_MAX

POINTER = "/playhead"
KEY = "playhead"
POSITION_S_MAX = 10 * 365 * 86_400.0


class Anchor(Struct, frozen=True, gc=False):
    """A checked anchor; ``duration`` is None where the session has no end."""

    position: float
    rate: float
    at: int
    duration: float | None = None

    def position_at(self, now_ms: int) -> float:
        """Position in seconds at server time ``now_ms``; never before 0, never past ``duration``.

        A time before ``at`` gives ``position``: an anchor says nothing of the past.
        """
        elapsed_s = max(0, now_ms - self.at) / 1000.0
        position = self.position + self.rate * elapsed_s
        if self.duration is not None and position > self.duration:
            position = max(self.duration, self.position)
        return position

    def re_anchored(self, now_ms: int, *, rate: float | None = None) -> Anchor:
        """The same movement, anchored at ``now_ms``; with another ``rate`` where given. `parse` takes it again."""
        position = min(self.position_at(now_ms), POSITION_S_MAX)
        return Anchor(position, self.rate if rate is None else rate, now_ms, self.duration)

    def as_json(self) -> JsonObject:
        """The state's form of it; whole numbers stay whole so that the bytes are stable."""
        body: JsonObject = {"position": _tidy(self.position), "rate": _tidy(self.rate), "at": self.at}
        if self.duration is not None:
            body["duration"] = _tidy(self.duration)
        return body


def _tidy(value: float) -> float | int:
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) is int or type(value) is float


def parse(value: Any, *, rate_max: float = 4.0) -> Anchor | str:
    """The anchor in ``value``, or the sentence that says what is wrong with it."""
    if type(value) is not dict:
        return "the playhead is an object {position, rate, at}"
    position, rate, at = value.get("position"), value.get("rate", 0), value.get("at", 0)
    duration = value.get("duration")
    if not _is_number(position) or not 0 <= position <= POSITION_S_MAX:
        return "playhead.position is a number of seconds, 0 or more"
    if not _is_number(rate) or not 0 <= rate <= rate_max:
        return f"playhead.rate is a number from 0 to {rate_max:g}"
    if type(at) is not int or not 0 <= at <= INTEGER_SAFE_MAX:
        return "playhead.at is server time in whole milliseconds"
    if duration is not None and (not _is_number(duration) or not 0 <= duration <= POSITION_S_MAX):
        return "playhead.duration is a number of seconds, 0 or more"
    return Anchor(float(position), float(rate), at, None if duration is None else float(duration))


def of_state(state: JsonObject, *, rate_max: float = 4.0) -> Anchor | None:
    """The state's anchor; None where it has none or it is not one."""
    value = state.get(KEY)
    if value is None:
        return None
    anchor = parse(value, rate_max=rate_max)
    return anchor if isinstance(anchor, Anchor) else None
