"""Server time on a device whose own clock may be wrong, or jump.

NTP's four timestamps (RFC 5905 section 8), taken on the device's *monotonic* clock, so that somebody who sets the
wall clock changes nothing. Of the last samples the one with the shortest round trip wins: the error of a sample
is at most half of its round trip.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from syncbridge.core.messages import Clock, ClockMessage

SAMPLES_MAX = 8


class Sample(NamedTuple):
    """One measurement, in milliseconds: server time minus monotonic time, and the round trip it took."""

    offset_ms: float
    round_trip_ms: float


class ClockSync:
    """The offset between a monotonic clock and the server's.

    ``wall_ms`` at ``mono_ms`` is what is believed until the server was heard: the device's own clock.
    """

    __slots__ = ("_guess_ms", "_samples")

    def __init__(self, wall_ms: float, mono_ms: float) -> None:
        self._guess_ms = wall_ms - mono_ms
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)

    @property
    def best(self) -> Sample | None:
        """The sample in force; None before the first."""
        return min(self._samples, key=lambda sample: sample.round_trip_ms, default=None)

    @property
    def uncertainty_ms(self) -> float | None:
        """How far `now_ms` may be off; None when the server was never heard."""
        best = self.best
        return None if best is None else best.round_trip_ms / 2

    def now_ms(self, mono_ms: float) -> int:
        """Server time, in whole milliseconds, when the monotonic clock shows ``mono_ms``."""
        best = self.best
        return max(0, round(mono_ms + (self._guess_ms if best is None else best.offset_ms)))

    def ask(self, mono_ms: float) -> Clock:
        """The question; ``t0`` comes back untouched."""
        return Clock(mono_ms)

    def answered(self, message: ClockMessage, mono_ms: float) -> None:
        """A sample more. One that took less than no time (a repeat, a wrong t0) is not believed."""
        round_trip_ms = (mono_ms - message.t0) - (message.t2 - message.t1)
        if message.t0 <= mono_ms and round_trip_ms >= -1:
            offset_ms = ((message.t1 - message.t0) + (message.t2 - mono_ms)) / 2
            self._samples.append(Sample(offset_ms, max(0.0, round_trip_ms)))

    def welcomed(self, server_time: int, asked_mono_ms: float, mono_ms: float) -> None:
        """A first sample from `hello` and `welcome`: rough, for the gate took its time in between."""
        offset_ms = server_time - (asked_mono_ms + mono_ms) / 2
        self._samples.append(Sample(offset_ms, mono_ms - asked_mono_ms))
