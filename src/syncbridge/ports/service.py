"""What REST asks of live sessions; implemented by the runtime, awaited by http."""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from syncbridge.core.effects import StateView
from syncbridge.core.entry import Entry, Intent, Position, Side, Status, Undoing
from syncbridge.core.ids import AccountId, DeviceId, Json, JsonObject, Op, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.ports.log import Stretch


class PastState(Struct, frozen=True):
    """A session's state as it was at ``position``; ``at`` is when that version was committed."""

    position: Position
    at: int
    state: JsonObject
    hash: str


class Between(Struct, frozen=True):
    """Two states of one log, the RFC 6902 ops from the first to the second, and the entries that led there."""

    start: PastState
    end: PastState
    ops: list[Op]
    entries: list[Entry]


class SessionHistory(Protocol):
    """The past of sessions as their logs tell it; implemented by the runtime, awaited by http.

    Every call raises a `SyncBridgeError`: `not_found`, `history_gone` (with ``oldest``) where the log no longer
    reaches back so far, `validation_failed` for what is yet to come. Ownership is checked by the caller.
    """

    async def reach(self, session: SessionId) -> Stretch:
        """How far the log reaches; no entries."""
        ...

    async def entries(self, session: SessionId, *, after: int, count_max: int) -> Stretch:
        """As `StateStore.entries`."""
        ...

    async def back(self, session: SessionId, *, before: int | None, count_max: int) -> Stretch:
        """The ``count_max`` versions before ``before`` (None: up to the head), where they are there, newest first."""
        ...

    async def undoings(self, session: SessionId, *, after: int) -> list[tuple[int, Undoing]]:
        """Every entry after ``after`` that takes a conflict back, with its version, oldest first."""
        ...

    async def version_at(self, session: SessionId, at_ms: int) -> int:
        """The version that was the head at that time."""
        ...

    async def state_at(self, session: SessionId, version: int) -> PastState: ...

    async def between(self, session: SessionId, start: int, end: int) -> Between:
        """What changed; `validation_failed` where it is too much to be told at once."""
        ...

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
        """Row ``index`` of the entry at ``version`` is taken back by entry ``undone_by``; again: the same answer."""
        ...


class SessionService(Protocol):
    """Live sessions as the REST resources see them; implemented by the runtime, awaited by http.

    Every call raises a `SyncBridgeError` (`not_found`, `precondition_failed`, `bad_patch`, `unavailable`, ...).
    Ownership is checked by the caller. ``device`` is "" where the token is bound to none.
    """

    @property
    def history(self) -> SessionHistory:
        """The past of the same sessions."""
        ...

    async def create(
        self, *, account: AccountId, session: SessionId, kind: str, title: str, state: JsonObject, device: str
    ) -> StateView:
        """The session exists, durably; ``device`` (if any) is its first active device with fence 1."""
        ...

    async def read(self, session: SessionId) -> StateView: ...

    async def edit(
        self,
        session: SessionId,
        *,
        device: str,
        form: Literal["put", "patch", "merge"],
        value: Json,
        expected: int | None,
        intent: Intent = "edit",
    ) -> StateView: ...

    async def set_status(
        self, session: SessionId, *, device: str, status: Status, expected: int | None = None
    ) -> StateView: ...

    async def hand_off(
        self,
        session: SessionId,
        *,
        account: AccountId,
        device: str,
        target: DeviceId,
        mode: Literal["offer", "take"],
        roster: tuple[DeviceInfo, ...],
        expires_ms: int | None = None,
    ) -> StateView:
        """The handoff is done (take) or waits for the target (offer; ``is_waiting``); ``handoff`` is its id."""
        ...

    async def restore(
        self, session: SessionId, *, device: str, state: JsonObject, expected: int | None = None
    ) -> StateView: ...

    async def delete(self, session: SessionId) -> None: ...

    def gone(self, session: SessionId, reason: str) -> None:
        """The store has it no more: its devices are told `left` and why, and nothing in memory answers for it."""
        ...

    def roster_changed(self, account: AccountId, roster: tuple[DeviceInfo, ...]) -> None:
        """A device was registered, renamed or removed: sessions are told, a removed device is cut off (4403)."""
        ...

    def disconnect(self, account: AccountId, device: DeviceId | None, code: str) -> int:
        """Live connections of the account (or one device) are closed for this error; how many there were."""
        ...

    def recheck(self, account: AccountId | None) -> int:
        """Live connections (of the account, or all) whose token is refused now are closed; how many there were."""
        ...

    def is_online(self, account: AccountId, device: DeviceId) -> bool: ...
