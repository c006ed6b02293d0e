"""`ports.SessionService` over the engine: REST's awaited questions become events, replies become results."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeVar

from syncbridge import errors
from syncbridge._ext import check, measure
from syncbridge.core.digest import state_hash
from syncbridge.core.effects import Reply, StateView
from syncbridge.core.entry import Intent, Status
from syncbridge.core.events import (
    AnyEvent,
    Deleted,
    EditRequested,
    ReadRequested,
    RestoreRequested,
    StatusRequested,
    TakeRequested,
)
from syncbridge.core.ids import AccountId, DeviceId, Json, JsonObject, RequestId, SessionId
from syncbridge.core.log import founding
from syncbridge.core.messages import DeviceInfo
from syncbridge.core.playhead import KEY, Anchor, parse
from syncbridge.limits import Limits
from syncbridge.ports import Outcome, SessionHistory, StoreFault, WasCommitted, WasForeign, WasRefused
from syncbridge.runtime.accounts import Accounts
from syncbridge.runtime.engine import Engine
from syncbridge.runtime.history import LogHistory
from syncbridge.wire.codec import encode_entry

_Answer = TypeVar("_Answer")


class LiveSessionService:
    """Implements `ports.SessionService`. Every call ends within `store_timeout_ms`, with `unavailable` if need be."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._accounts = Accounts(engine)
        self.history: SessionHistory = LogHistory(engine, self._ask)
        self._timeout_s = engine.limits.store_timeout_ms / 1000

    async def create(
        self, *, account: AccountId, session: SessionId, kind: str, title: str, state: JsonObject, device: str
    ) -> StateView:
        limits = self._engine.limits
        now_ms = self._engine.clock.now_ms()
        check(state, depth_max=limits.state_depth_max, place="$.state")
        state = _with_sound_playhead(state, limits, now_ms)
        size = measure(state)
        if size > limits.state_bytes_max:
            raise errors.StateTooLarge(f"the state is {size} bytes; at most {limits.state_bytes_max} are kept")
        snapshot, first = founding(
            state,
            session=session,
            account=account,
            kind=kind,
            title=title,
            epoch=self._engine.new_id(),
            device=device,
            now_ms=now_ms,
        )
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self._engine.store.create(snapshot, first, encode_entry(first), done)
        match await self._within(answer):
            case WasCommitted():
                return StateView(
                    epoch=snapshot.epoch,
                    version=1,
                    status="active",
                    fence=snapshot.fence,
                    active=snapshot.active,
                    updated_at=now_ms,
                    hash=state_hash(state),
                    state=state,
                    size=size,
                )
            case WasForeign():
                raise errors.PreconditionFailed("a session of this id exists")
            case WasRefused(code=code):
                raise errors.by_code()[code]
            case _:
                raise errors.Unavailable

    async def read(self, session: SessionId) -> StateView:
        request = self._request()
        return await self._ask(session, ReadRequested(request), request)

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
        request = self._request()
        return await self._ask(session, EditRequested(request, device, form, value, expected, intent), request)

    async def set_status(
        self, session: SessionId, *, device: str, status: Status, expected: int | None = None
    ) -> StateView:
        request = self._request()
        return await self._ask(session, StatusRequested(request, device, status, expected), request)

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
        request = self._request()
        heard_at = self._engine.active_heard_at(account, session)
        event = TakeRequested(
            request,
            device,
            target,
            mode,
            self._engine.new_id(),
            roster,
            expires_ms,
            source_heard_at=heard_at,
            asked_at=self._engine.clock.now_ms(),
        )
        return await self._ask(session, event, request)

    async def restore(
        self, session: SessionId, *, device: str, state: JsonObject, expected: int | None = None
    ) -> StateView:
        request = self._request()
        return await self._ask(session, RestoreRequested(request, device, state, expected), request)

    async def delete(self, session: SessionId) -> None:
        answer: asyncio.Future[StoreFault | None] = asyncio.get_running_loop().create_future()

        def done(fault: StoreFault | None) -> None:
            if fault is None:
                self.gone(session, "deleted")
            if not answer.done():
                answer.set_result(fault)

        self._engine.store.delete(session, done)
        fault = await self._within(answer)
        if fault is not None:
            raise errors.by_code()[fault.code]

    def gone(self, session: SessionId, reason: str) -> None:
        self._engine.mesh.delete(session, reason)
        self._engine.post_session(session, Deleted(reason))

    def roster_changed(self, account: AccountId, roster: tuple[DeviceInfo, ...]) -> None:
        self._accounts.roster_changed(account, roster)

    def disconnect(self, account: AccountId, device: DeviceId | None, code: str) -> int:
        return self._accounts.disconnect(account, device, code)

    def recheck(self, account: AccountId | None) -> int:
        return self._accounts.recheck(account)

    def is_online(self, account: AccountId, device: DeviceId) -> bool:
        return self._engine.hub.of_device(account, device) is not None

    # -- inside -------------------------------------------------------------------------------------------------

    def _request(self) -> RequestId:
        return RequestId(self._engine.new_id())

    async def _ask(self, session: SessionId, event: AnyEvent, request: RequestId) -> StateView:
        if self._engine.is_draining:
            raise errors.Restarting
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply) -> None:
            if not answer.done():
                answer.set_result(reply)

        self._engine.ask(session, event, request, done)
        try:
            reply = await self._within(answer)
        finally:
            self._engine.forget(request)
        if reply.result is None:
            fault = errors.by_code()[reply.code](reply.message)
            fault.members = reply.members
            raise fault
        return reply.result

    async def _within(self, answer: asyncio.Future[_Answer]) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise errors.Unavailable from None


def _with_sound_playhead(state: JsonObject, limits: Limits, now_ms: int) -> JsonObject:
    """The first state; its playhead, if any, is one, and not of the future: reports until then would be stale."""
    if KEY not in state:
        return state
    anchor = parse(state[KEY], rate_max=limits.rate_max)
    if not isinstance(anchor, Anchor):
        raise errors.ValidationFailed(f"$.state.{KEY}: {anchor}")
    is_undated = anchor.rate > 0 and not anchor.at
    if anchor.at <= now_ms and not is_undated:
        return state
    return {**state, KEY: Anchor(anchor.position, anchor.rate, now_ms, anchor.duration).as_json()}
