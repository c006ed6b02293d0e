"""Devices of the account."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import DeviceUnknown, Forbidden
from syncbridge.http.auth import ID_PATTERN
from syncbridge.http.context import AccountClaims, Context, Ctx
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, PAGE_MAX, Cursor, Limit, Listing
from syncbridge.http.strict import StrictRoute
from syncbridge.records import Device, Roster

router = APIRouter(prefix="/v1/devices", tags=["devices"], route_class=StrictRoute)

Name = Annotated[str, Field(max_length=100)]


class NewDevice(BaseModel):
    """A device as it presents itself."""

    id: Annotated[str, Field(min_length=1, max_length=64, pattern=ID_PATTERN, examples=["phone-1"])]
    name: Name = ""
    platform: Name = ""
    capabilities: Annotated[list[Name], Field(max_length=32)] = []

    def info(self) -> DeviceInfo:
        """The same for the protocol."""
        return DeviceInfo(self.id, self.name, self.platform, list(self.capabilities))


class DeviceView(BaseModel):
    """A device of the account."""

    id: str
    name: str
    platform: str
    capabilities: list[str]
    created_at: int
    seen_at: int
    online: bool


class DevicePage(BaseModel):
    """Devices of the account, in the order they came."""

    devices: list[DeviceView]
    devices_max: int
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class DeviceRef(BaseModel):
    """A device by id, and by name as far as it is still one of the account's."""

    id: str = Field(examples=["phone-1"])
    name: str | None


class Names:
    """What people call the account's devices."""

    def __init__(self, roster: Roster) -> None:
        self._names = {device.info.id: device.info.name for device in roster.devices}

    @classmethod
    async def of(cls, context: Context, account: AccountId) -> Names:
        """The names as they are now."""
        return cls(await context.authority.rosters.get(account))

    def ref(self, device: str | None) -> DeviceRef | None:
        """The device; None for none."""
        return DeviceRef(id=device, name=self._names.get(device)) if device else None


class DeviceChange(BaseModel):
    """A name that a person gives; the device's own name does not replace it."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


@router.get("", responses={200: {"headers": LINKED}})
async def list_devices(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AccountClaims,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
) -> DevicePage:
    """The account's devices, in the order they came."""
    listing = Listing(request, response)
    after = listing.after(cursor, tuple[int, str])
    roster = await context.authority.rosters.get(claims.account)
    devices = sorted(roster.devices, key=_order)
    rest = devices if after is None else [device for device in devices if _order(device) > after]
    page = rest[:limit]
    return DevicePage(
        devices=[_view(context, claims.account, device) for device in page],
        devices_max=context.authority.rosters.plan(roster).devices_max,
        next_cursor=listing.next(_order(page[-1])) if len(rest) > limit else None,
    )


@router.post("", status_code=201)
async def register_device(
    context: Ctx, claims: AccountClaims, body: NewDevice, idempotency_key: IdempotencyKey = None
) -> DeviceView:
    """The device is one of the account's, as its first hello would make it; 409 `device_limit` without room."""
    if claims.device not in (None, body.id):
        raise Forbidden("This token is bound to another device.")
    roster = await context.authority.rosters.register(claims.account, body.info(), claims.login_at)
    return _found(context, claims.account, roster, body.id)


@router.get("/{device}")
async def get_device(context: Ctx, claims: AccountClaims, device: str) -> DeviceView:
    """One device of the account."""
    return _found(context, claims.account, await context.authority.rosters.get(claims.account), device)


@router.patch("/{device}")
async def rename_device(context: Ctx, claims: AccountClaims, device: str, body: DeviceChange) -> DeviceView:
    """The device is called so, in live sessions too."""
    roster = await context.authority.rosters.rename(claims.account, DeviceId(device), body.name)
    return _found(context, claims.account, roster, device)


@router.delete("/{device}", status_code=204)
async def remove_device(context: Ctx, claims: AccountClaims, device: str) -> Response:
    """The device is none of the account's any more: cut off now, and back only after a new log-in on it."""
    await context.authority.remove_device(claims.account, DeviceId(device))
    context.service.disconnect(claims.account, DeviceId(device), DeviceUnknown.code)
    return Response(status_code=204)


def _order(device: Device) -> tuple[int, str]:
    return device.created_at, device.info.id


def _found(context: Context, account: AccountId, roster: Roster, device: str) -> DeviceView:
    found = roster.get(device)
    if found is None:
        raise DeviceUnknown
    return _view(context, account, found)


def _view(context: Context, account: AccountId, device: Device) -> DeviceView:
    info = device.info
    return DeviceView(
        id=info.id,
        name=info.name,
        platform=info.platform,
        capabilities=list(info.capabilities),
        created_at=device.created_at,
        seen_at=device.seen_at,
        online=context.service.is_online(account, DeviceId(info.id)),
    )
