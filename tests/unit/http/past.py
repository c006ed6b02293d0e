"""A `SessionHistory` over entries that a test writes down."""

from __future__ import annotations

from syncbridge._ext import apply_patch, diff
from syncbridge.core.conflicts import undoings_in
from syncbridge.core.digest import state_hash
from syncbridge.core.effects import StateView
from syncbridge.core.entry import Entry, Position, Side, Undoing
from syncbridge.core.ids import JsonObject, SessionId
from syncbridge.errors import ConflictMovedOn, NotFound
from syncbridge.ports import Between, PastState, Stretch


class WrittenHistory:
    """The same log for every session; ``oldest`` may be moved up, as if what was before were let go."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.epoch = "e1"
        self.oldest = 1
        self.reads = 0

    def _stretch(self, entries: list[Entry]) -> Stretch:
        self.reads += 1
        return Stretch(self.epoch, self.oldest, len(self.log), entries)

    def _held(self, after: int) -> list[Entry]:
        lowest = 1 if self.oldest == 1 else self.oldest + 1
        return [entry for entry in self.log if entry.version > after and entry.version >= lowest]

    async def reach(self, session: SessionId) -> Stretch:
        return self._stretch([])

    async def entries(self, session: SessionId, *, after: int, count_max: int) -> Stretch:
        return self._stretch(self._held(after)[:count_max])

    async def back(self, session: SessionId, *, before: int | None, count_max: int) -> Stretch:
        end = len(self.log) if before is None else before - 1
        return self._stretch([one for one in self._held(end - count_max) if one.version <= end][::-1])

    async def undoings(self, session: SessionId, *, after: int) -> list[tuple[int, Undoing]]:
        return undoings_in(self._held(after))

    async def version_at(self, session: SessionId, at_ms: int) -> int:
        return max(entry.version for entry in self.log if entry.at <= at_ms)

    async def state_at(self, session: SessionId, version: int) -> PastState:
        state: JsonObject = {}
        for entry in self.log[:version]:
            state = apply_patch(state, entry.ops)
        return PastState(Position(self.epoch, version), self.log[version - 1].at, state, state_hash(state))

    async def between(self, session: SessionId, start: int, end: int) -> Between:
        first, last = await self.state_at(session, start), await self.state_at(session, end)
        return Between(first, last, diff(first.state, last.state), self.log[start:end])

    async def undo(
        self,
        session: SessionId,
        *,
        device: str,
        version: int,
        index: int,
        chosen: Side | None = None,
        is_forced: bool = False,
        expected: int | None = None,
    ) -> StateView:
        if version > len(self.log):
            raise NotFound
        raise ConflictMovedOn(members={"present": self.log[version - 1].conflicts[index].get("ours")})
