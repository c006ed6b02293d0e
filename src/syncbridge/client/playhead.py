"""The playhead as an app holds it: where the session stands now, and the buttons."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from syncbridge.client.replica import Replica
from syncbridge.core.entry import Intent
from syncbridge.core.ids import Op
from syncbridge.core.playhead import KEY, POINTER, Anchor, of_state

if TYPE_CHECKING:
    from syncbridge.client.session import Mutation

REPORT_MS = 15_000
"""A player that runs as the anchor says reports this often: it proves that the device is alive, no more."""
REPORT_DRIFT_S = 1.0
"""A player this far from where the anchor says it is reports at once: it stalled, or it skipped."""


class Edit(Protocol):
    """How an edit is put on its way: `Session._edit`."""

    def __call__(self, ops: list[Op], intent: Intent, fence: int | None = None) -> Awaitable[Mutation]: ...


class PlayheadFace:
    """Position and movement. Positions are seconds; they are computed here, nobody asks the server."""

    def __init__(self, replica: Replica, now_ms: Callable[[], int], edit: Edit) -> None:
        self._replica = replica
        self._now_ms = now_ms
        self._edit = edit
        self._reported_at = 0

    @property
    def anchor(self) -> Anchor | None:
        """The anchor in force; None where the session has no playhead."""
        return of_state(self._replica.state)

    @property
    def rate(self) -> float:
        """How fast it goes; 0 when paused."""
        anchor = self.anchor
        return 0.0 if anchor is None else anchor.rate

    @property
    def is_playing(self) -> bool:
        return self.rate > 0

    def position(self) -> float:
        """Where the session stands now, the same on every device but for the error of their offsets."""
        anchor = self.anchor
        return 0.0 if anchor is None else anchor.position_at(self._now_ms())

    async def play(self, rate: float = 1.0) -> Mutation:
        """It goes on from here at ``rate``."""
        return await self._move(rate=rate)

    async def pause(self) -> Mutation:
        """It stands here."""
        return await self._move(rate=0.0)

    async def seek(self, position: float) -> Mutation:
        """It is at ``position``, forth or back, and goes on as it went."""
        return await self._move(position=position)

    async def finish(self) -> Mutation:
        """The session is completed where it stands. Only the active device can."""
        return await self._edit([], "finish", self._replica.fence)

    async def report(self, position: float) -> Mutation | None:
        """A player says where it is, as often as it likes; what is worth telling goes out as `progress`.

        None when nothing does: this device is not the active one, the session is paused, or the position is what
        the anchor says and the last report is fresh. It never moves the playhead back; that is for `seek`.
        """
        anchor, now_ms = self.anchor, self._now_ms()
        if anchor is None or anchor.rate == 0 or not self._replica.is_active or self._replica.status != "active":
            return None
        is_off = abs(anchor.position_at(now_ms) - position) >= REPORT_DRIFT_S
        if not is_off and now_ms - max(self._reported_at, anchor.at) < REPORT_MS:
            return None
        self._reported_at = now_ms
        told = Anchor(max(0.0, position), anchor.rate, now_ms, anchor.duration)
        return await self._edit(self._replace(told), "progress", self._replica.fence)

    async def _move(self, *, position: float | None = None, rate: float | None = None) -> Mutation:
        now_ms = self._now_ms()
        here = (self.anchor or Anchor(0.0, 0.0, now_ms)).re_anchored(now_ms, rate=rate)
        if position is not None:
            here = Anchor(max(0.0, float(position)), here.rate, now_ms, here.duration)
        return await self._edit(self._replace(here), "seek")

    def _replace(self, anchor: Anchor) -> list[Op]:
        kind = "replace" if KEY in self._replica.state else "add"
        return [{"op": kind, "path": POINTER, "value": anchor.as_json()}]
