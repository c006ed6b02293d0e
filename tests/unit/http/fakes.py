"""A `SessionService` that keeps its sessions in a dictionary: the seam under the REST resources."""

from __future__ import annotations

from typing import Any, Literal

from syncbridge._ext import apply_patch, check, measure, merge_patch
from syncbridge.core.digest import state_hash
from syncbridge.core.effects import StateView
from syncbridge.core.entry import Intent, Status
from syncbridge.core.ids import AccountId, DeviceId, Json, JsonObject, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import NotFound, PreconditionFailed, SessionEnded
from tests.unit.http.past import WrittenHistory


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Held:
    """One session of the fake."""

    def __init__(self, state: JsonObject, device: str) -> None:
        self.state = state
        self.version = 1
        self.status: Status = "active"
        self.active = device or None
        self.fence = 1 if device else 0


class FakeService:
    """Does what `SessionService` says for one process, without log, devices or time."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.online: set[str] = set()
        self.fault: Exception | None = None
        self.past = WrittenHistory()

    @property
    def history(self) -> WrittenHistory:
        return self.past

    async def create(
        self, *, account: AccountId, session: SessionId, kind: str, title: str, state: JsonObject, device: str
    ) -> StateView:
        check(state, place="$.state")
        self.held[session] = Held(state, device)
        return self._view(session)

    async def read(self, session: SessionId) -> StateView:
        return self._view(session)

    async def edit(
        self,
        session: SessionId,
        *,
        device: str,
        form: Literal["put", "patch", "merge"],
        value: Json,
        expected: int | None,
        intent: Intent = "edit",
    ) -> StateView:
        held = self._found(session, expected)
        self.calls.append(("edit", form, device))
        if form == "put":
            held.state = value
        elif form == "patch":
            held.state = apply_patch(held.state, value)
        else:
            held.state = merge_patch(held.state, value)
        return self._next(session)

    async def set_status(
        self, session: SessionId, *, device: str, status: Status, expected: int | None = None
    ) -> StateView:
        held = self._found(session, expected)
        if held.status in ("completed", "archived") and status in ("active", "paused"):
            raise SessionEnded
        held.status = status
        return self._next(session)

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
        held = self._found(session, None)
        if mode == "offer":
            return self._view(session, handoff="h1", is_waiting=True)
        held.active, held.fence = target, held.fence + 1
        return self._next(session, handoff="h2")

    async def restore(
        self, session: SessionId, *, device: str, state: JsonObject, expected: int | None = None
    ) -> StateView:
        self._found(session, expected).state = state
        return self._next(session)

    async def delete(self, session: SessionId) -> None:
        self._found(session, None)
        del self.held[session]

    def gone(self, session: SessionId, reason: str) -> None:
        self.held.pop(session, None)
        self.calls.append(("gone", session, reason))

    def roster_changed(self, account: AccountId, roster: tuple[DeviceInfo, ...]) -> None:
        self.calls.append(("roster", account, tuple(device.id for device in roster)))

    def disconnect(self, account: AccountId, device: DeviceId | None, code: str) -> int:
        self.calls.append(("disconnect", account, device, code))
        return 1

    def recheck(self, account: AccountId | None) -> int:
        self.calls.append(("recheck", account))
        return 1

    def is_online(self, account: AccountId, device: DeviceId) -> bool:
        return device in self.online

    def _found(self, session: str, expected: int | None) -> Held:
        if self.fault is not None:
            raise self.fault
        if session not in self.held:
            raise NotFound
        held = self.held[session]
        if expected is not None and held.version != expected:
            raise PreconditionFailed
        return held

    def _next(self, session: str, *, handoff: str = "") -> StateView:
        self.held[session].version += 1
        return self._view(session, handoff=handoff)

    def _view(self, session: str, *, handoff: str = "", is_waiting: bool = False) -> StateView:
        held = self._found(session, None)
        return StateView(
            epoch="e1",
            version=held.version,
            status=held.status,
            fence=held.fence,
            active=held.active,
            updated_at=1_790_000_000_000 + held.version,
            hash=state_hash(held.state),
            state=held.state,
            size=measure(held.state),
            handoff=handoff,
            is_waiting=is_waiting,
        )
