"""How long devices wait for their acknowledgements: from a push's frame to the frame of its answer, measured."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from syncbridge.core.ids import ConnectionId
from syncbridge.core.messages import Ack, Push
from syncbridge.ports import Telemetry
from syncbridge.runtime.timers import CallSoon

SAMPLE: Final = 16
"""One push in so many of each device's is timed, its first among them: timing one costs 2 microseconds."""
WAITING_MAX: Final = 4096
"""Timed pushes without an answer; those of connections that ended are among them, the oldest give way."""


def is_timed(seq: int) -> bool:
    """Whether the push of this number is one that is timed; the same wherever it is asked."""
    return seq % SAMPLE == 1


class AckWaits:
    """The timed pushes on their way.

    A push that was refused and is sent again counts from its last coming; one that is never acknowledged not at all.
    """

    def __init__(self, telemetry: Telemetry, call_soon: CallSoon) -> None:
        self._telemetry = telemetry
        self._call_soon = call_soon
        self._waiting: dict[tuple[ConnectionId, str, int], float] = {}

    def heard(self, connection: ConnectionId, push: Push, since: float) -> None:
        """The push was read at ``since``, a moment of `perf_counter`."""
        waiting = self._waiting
        key = (connection, push.session, push.seq)
        waiting.pop(key, None)
        waiting[key] = since
        if len(waiting) > WAITING_MAX:
            del waiting[next(iter(waiting))]

    def answered(self, connection: ConnectionId, ack: Ack) -> None:
        """The acknowledgement leaves with this turn of the loop; what the push waited is measured when it has."""
        since = self._waiting.pop((connection, ack.session, ack.seq), None)
        if since is not None:
            # The outlets hand over what they got when the turn ends: they asked for that before we ask for this.
            self._call_soon(lambda: self._telemetry.measured("sync_ms", (perf_counter() - since) * 1e3))
