"""What of the link to Redis is read from time to time: it counts by itself."""

from __future__ import annotations

from typing import Final

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.rules import Figures
from syncbridge.ports import Telemetry

_EVENTS: Final = ("reconnects", "redirects", "retries", "timeouts", "short_waits")
_FAILURES: Final = ("unknown", "unavailable", "refused")


class LinkFigures:
    """Takes what the link counted since the last look to the telemetry."""

    def __init__(self, link: RedisLink, telemetry: Telemetry) -> None:
        self._link = link
        self._telemetry = telemetry
        self._told = Figures()

    def read(self) -> None:
        """Every figure is as it is now."""
        now, told, measured = self._link.figures, self._told, self._telemetry.measured
        measured("redis_call", now.calls - told.calls)
        measured("redis_write", now.writes - told.writes)
        for names, figure in ((_EVENTS, "redis_event"), (_FAILURES, "redis_failed")):
            for name in names:
                if count := getattr(now, name) - getattr(told, name):
                    measured(figure, count, name)
        measured("redis_primaries", self._link.primaries)
        measured("redis_primaries_ready", self._link.primaries_ready)
        measured("redis_acks_replicated", self._link.acks == "replicated")
        self._told = Figures(**{name: getattr(now, name) for name in Figures.__struct_fields__})
