"""The `Gatekeeper` port over the authority: the hello of a WebSocket, answered in the loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from syncbridge.auth.access import Claims
from syncbridge.auth.authority import Authority
from syncbridge.auth.rosters import require_present
from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import (
    DeviceLimit,
    DeviceUnknown,
    Forbidden,
    Internal,
    NotFound,
    SyncBridgeError,
    TokenInvalid,
    Unavailable,
)
from syncbridge.ports import Admission, Identity, Refusal
from syncbridge.records import Roster

_log = structlog.get_logger("syncbridge.auth")
_Answer = TypeVar("_Answer")


class AccountGatekeeper:
    """Lets devices in.

    Blocking   an unchanged device of a known account is answered before the call returns, without the database;
               any other within one short transaction, in a task of ours.
    Away       while the database does not answer, an unchanged device of an account that was here lately is let in
               (`rosters.AWAY_MAX_MS`); any other is refused as `unavailable`.
    Answers    exactly once a call, also when something of ours breaks (`internal`).
    """

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._tasks: set[asyncio.Task[None]] = set()
        self._rosters_read: dict[AccountId, bool] = {}  # being read now; True: asked for again meanwhile

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        """See `ports.Gatekeeper.admit`."""
        try:
            claims = self._authority.at_once(token)
            if claims is None:
                self._answer(self._look_up(token, device), done)
                return
            _require_bound(claims, device)
            roster = self._authority.rosters.known(claims.account)
            if roster is not None:
                require_present(roster, DeviceId(device.id), claims.login_at)
        except SyncBridgeError as error:
            done(_refusal(error))
            return
        if roster is not None and _is_unchanged(roster, device):
            done(self._admission(claims, device, roster))
            return
        self._answer(self._register(claims, device), done)

    def read_roster(self, account: AccountId) -> None:
        """See `ports.Gatekeeper.read_roster`."""
        is_being_read = account in self._rosters_read
        self._rosters_read[account] = is_being_read
        if not is_being_read:
            self._start(self._read_roster(account))

    def refused(self, identity: Identity) -> str:
        """See `ports.Gatekeeper.refused`."""
        try:
            self._authority.require_good(identity)
        except SyncBridgeError as error:
            return error.code
        return ""

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        """See `ports.Gatekeeper.renew`."""
        try:
            claims = self._authority.at_once(token)
        except SyncBridgeError as error:
            done(_refusal(error))
            return
        self._answer(self._renew(token, claims, account, device), done)

    async def _look_up(self, token: str, device: DeviceInfo) -> Admission:
        claims = await self._authority.look_up(token)
        _require_bound(claims, device)
        return await self._register(claims, device)

    async def _register(self, claims: Claims, device: DeviceInfo) -> Admission:
        try:
            roster = await self._authority.rosters.register(claims.account, device, claims.login_at)
        except NotFound as error:
            # The token is good and its account is not there any more.
            raise TokenInvalid from error
        except Unavailable:
            # The database is away. A device that was here as it says it is now needs no change of the table.
            lately = self._authority.rosters.lately(claims.account)
            if lately is None or not _is_unchanged(lately, device):
                raise
            require_present(lately, DeviceId(device.id), claims.login_at)
            roster = lately
        self._authority.require_good(claims)  # it may have been revoked while the database was asked
        return self._admission(claims, device, roster)

    async def _renew(self, token: str, known: Claims | None, account: AccountId, device: DeviceId) -> Identity:
        claims = known or await self._authority.look_up(token)
        if claims.account != account or claims.device not in (None, device):
            raise Forbidden("The new token is of another account or device.")
        roster = await self._authority.rosters.get(claims.account)
        if roster.get(device) is None:
            raise DeviceUnknown
        self._authority.require_good(claims)
        return _identity(claims)

    async def _read_roster(self, account: AccountId) -> None:
        reading = self._rosters_read
        try:
            await self._authority.rosters.read_anew(account)
            while reading[account]:  # what was asked for meanwhile may have been written after this was read
                reading[account] = False
                await self._authority.rosters.read_anew(account)
        except SyncBridgeError as error:
            _log.info("a device that follows elsewhere stays without a name", code=error.code)
        except Exception:  # noqa: BLE001 - whatever breaks, a name is not worth a task's silent end
            _log.exception("roster error", code=Internal.code)
        finally:
            del reading[account]

    def _admission(self, claims: Claims, device: DeviceInfo, roster: Roster) -> Admission:
        held = roster.get(device.id)
        shown = device if held is None else held.info
        return Admission(_identity(claims), shown, roster.infos(), self._authority.rosters.plan(roster))

    def _answer(self, work: Coroutine[Any, Any, _Answer], done: Callable[[_Answer | Refusal], None]) -> None:
        async def run() -> None:
            answer: _Answer | Refusal
            try:
                answer = await work
            except SyncBridgeError as error:
                answer = _refusal(error)
            except Exception:  # noqa: BLE001 - whatever breaks, the device is owed an answer
                _log.exception("websocket hello error", code=Internal.code)
                answer = _refusal(Internal())
            done(answer)

        self._start(run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_unchanged(roster: Roster, device: DeviceInfo) -> bool:
    held = roster.get(device.id)
    return held is not None and held.presented == device


def _require_bound(claims: Claims, device: DeviceInfo) -> None:
    if claims.device is not None and claims.device != device.id:
        raise Forbidden("This token is bound to another device.")


def _identity(claims: Claims) -> Identity:
    return Identity(
        claims.account,
        claims.expires_at,
        claims.token_id,
        claims.device,
        claims.session,
        claims.family,
        claims.login_at,
        claims.issued_at,
        claims.kid,
    )


def _refusal(error: SyncBridgeError) -> Refusal:
    devices = error.devices if isinstance(error, DeviceLimit) else ()
    return Refusal(error.code, error.message, tuple(DeviceInfo(*device) for device in devices))
