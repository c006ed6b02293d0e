"""Devices of an account: registered at their first hello, at most so many, removed by a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import DeviceLimit, DeviceUnknown, NotFound
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.outbox import OutboxTable
from syncbridge.records.revocations import tell_roster_within
from syncbridge.records.schema import accounts, devices

DevicesMax = Callable[[str], int]
"""How many devices an account may have under the plan of this name."""


class Device(Struct, frozen=True):
    """A registered device.

    ``info`` is shown (with the name that a person gave, if any); ``presented`` is what the device said of itself.
    ``seen_at`` is its last registration or change, not its last message.
    """

    info: DeviceInfo
    presented: DeviceInfo
    created_at: int
    seen_at: int


class Roster(Struct, frozen=True):
    """All devices of an account in the order they came, when each removed one was removed, and the account's plan."""

    devices: tuple[Device, ...]
    removed: dict[str, int]
    plan: str = ""

    def infos(self) -> tuple[DeviceInfo, ...]:
        """What the protocol shows of the devices."""
        return tuple(device.info for device in self.devices)

    def get(self, device: str) -> Device | None:
        """The registered device of this id."""
        return next((one for one in self.devices if one.info.id == device), None)


class Devices:
    """The table of devices. Changes to one account's devices happen one after the other.

    Every process hears of them: who came, went or is called otherwise is a row among the revocations, too.
    """

    def __init__(self, database: Database, outbox: OutboxTable) -> None:
        self._database = database
        self._outbox = outbox

    async def roster(self, account: AccountId) -> Roster:
        """Every device of the account; an empty one when there is no such account."""
        async with self._database.reading() as connection:
            return await _read(connection, account)

    @retried
    async def register(
        self, account: AccountId, info: DeviceInfo, *, login_at: int, devices_max: DevicesMax, now_ms: int
    ) -> Roster:
        """The device is one of the account's, with this name; answers the roster after that.

        Raises DeviceLimit when there is no room, DeviceUnknown when it was removed after the log-in at ``login_at``,
        NotFound when there is no such account.
        """
        async with self._database.transaction() as connection:
            return await register_within(
                connection,
                account,
                info,
                login_at=login_at,
                devices_max=devices_max,
                now_ms=now_ms,
                outbox=self._outbox,
            )

    @retried
    async def rename(self, account: AccountId, device: DeviceId, name: str, now_ms: int) -> Roster:
        """The device is called so, whatever it says of itself. Raises DeviceUnknown."""
        async with self._database.transaction() as connection:
            return await _change(connection, account, device, {"given_name": name}, now_ms)

    @retried
    async def remove(self, account: AccountId, device: DeviceId, now_ms: int) -> Roster:
        """The device is none of the account's until somebody logs in on it anew. Raises DeviceUnknown."""
        async with self._database.transaction() as connection:
            roster = await _change(connection, account, device, {"removed_at": now_ms}, now_ms)
            await self._outbox.device_removed(connection, account, device, now_ms)
            return roster


async def _change(
    connection: AsyncConnection, account: AccountId, device: DeviceId, values: dict[str, object], now_ms: int
) -> Roster:
    # The account first: a registration that reads the roster now must not miss what is changed here.
    await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
    changed = await connection.execute(
        update(devices)
        .where(devices.c.account == account, devices.c.id == device, devices.c.removed_at.is_(None))
        .values(values)
    )
    if changed.rowcount == 0:
        raise DeviceUnknown
    await tell_roster_within(connection, account, now_ms)
    return await _read(connection, account)


async def register_within(
    connection: AsyncConnection,
    account: AccountId,
    info: DeviceInfo,
    *,
    login_at: int,
    devices_max: DevicesMax,
    now_ms: int,
    outbox: OutboxTable,
) -> Roster:
    """`Devices.register` inside a transaction that does more; the account's row is locked until it ends."""
    locked = await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
    if locked.one_or_none() is None:
        raise NotFound
    roster = await _read(connection, account)
    removed_at = roster.removed.get(info.id)
    if removed_at is not None and login_at <= removed_at:
        raise DeviceUnknown("This device was removed from the account; log in on it again.")
    presented = {"name": info.name, "platform": info.platform, "capabilities": info.capabilities, "seen_at": now_ms}
    here = (devices.c.account == account) & (devices.c.id == info.id)
    if roster.get(info.id) is not None:
        await connection.execute(update(devices).where(here).values(presented))
        return await _read(connection, account)
    elif len(roster.devices) >= devices_max(roster.plan):
        raise DeviceLimit(devices=tuple((one.info.id, one.info.name, one.info.platform) for one in roster.devices))
    elif removed_at is not None:
        await connection.execute(
            update(devices).where(here).values(presented | {"removed_at": None, "given_name": None})
        )
    else:
        row = {"account": account, "id": info.id, "created_at": now_ms} | presented
        await connection.execute(insert(devices).values(row))
    await outbox.device_joined(connection, account, info.id, now_ms)
    await tell_roster_within(connection, account, now_ms)
    return await _read(connection, account)


async def _read(connection: AsyncConnection, account: AccountId) -> Roster:
    joined = accounts.outerjoin(devices, devices.c.account == accounts.c.id)
    query = select(accounts.c.plan, devices).select_from(joined).where(accounts.c.id == account)
    found = (await connection.execute(query.order_by(devices.c.created_at, devices.c.id))).all()
    rows = [row for row in found if row.id is not None]
    return Roster(
        tuple(_device(row) for row in rows if row.removed_at is None),
        {row.id: row.removed_at for row in rows if row.removed_at is not None},
        found[0].plan if found else "",
    )


def _device(row: Row[Any]) -> Device:
    presented = DeviceInfo(row.id, row.name, row.platform, list(row.capabilities))
    info = presented if row.given_name is None else replace(presented, name=row.given_name)
    return Device(info, presented, row.created_at, row.seen_at)
