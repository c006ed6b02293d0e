"""One-time codes that bring a new device into one session."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import delete, insert, select, update

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import CodeInvalid
from syncbridge.records.database import Database
from syncbridge.records.devices import DevicesMax, Roster, register_within
from syncbridge.records.faults import retried
from syncbridge.records.outbox import OutboxTable
from syncbridge.records.revocations import FOR_EVER
from syncbridge.records.schema import accounts, pairing_codes
from syncbridge.records.tokens import Family, begin_within


class Redeemed(Struct, frozen=True):
    """A code that was taken: the log-in it became, and the account's devices with the new one."""

    family: Family
    roster: Roster


class PairingCodes:
    """The table of one-time codes, as digests."""

    def __init__(self, database: Database, outbox: OutboxTable) -> None:
        self._database = database
        self._outbox = outbox

    @retried
    async def add(self, digest: bytes, *, account: AccountId, session: SessionId, expires_at: int, now_ms: int) -> None:
        """The code can be redeemed once, until ``expires_at``; codes that ran out are gone."""
        row = {
            "digest": digest,
            "account": account,
            "session": session,
            "created_at": now_ms,
            "expires_at": expires_at,
        }
        async with self._database.transaction() as connection:
            await connection.execute(delete(pairing_codes).where(pairing_codes.c.expires_at <= now_ms))
            await connection.execute(insert(pairing_codes).values(row))

    @retried
    async def redeem(
        self,
        digest: bytes,
        device: DeviceInfo,
        *,
        family_id: str,
        refresh_digest: bytes,
        refresh_expires_at: int,
        devices_max: DevicesMax,
        now_ms: int,
    ) -> Redeemed:
        """The code is used up, the device registered, its log-in begun: all three, or none.

        Raises CodeInvalid for a code that is wrong, used or expired, and DeviceLimit without using it up.
        """
        open_code = (
            (pairing_codes.c.digest == digest)
            & pairing_codes.c.used_at.is_(None)
            & (pairing_codes.c.expires_at > now_ms)
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(select(pairing_codes).where(open_code))).one_or_none()
            if row is None:
                raise CodeInvalid
            account = AccountId(row.account)
            # The account before the code, as whoever ends its log-ins locks them: two that did it crosswise would wait
            # for each other.
            await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
            # Of two redeemers at once one finds the row no longer open.
            taken = await connection.execute(update(pairing_codes).where(open_code).values(used_at=now_ms))
            if taken.rowcount == 0:
                raise CodeInvalid
            roster = await register_within(
                connection,
                account,
                device,
                login_at=now_ms,
                devices_max=devices_max,
                now_ms=now_ms,
                outbox=self._outbox,
            )
            family = Family(family_id, account, now_ms, DeviceId(device.id), SessionId(row.session))
            family = await begin_within(connection, family, refresh_digest, refresh_expires_at)
            if family.login_at > FOR_EVER:
                raise CodeInvalid  # the account is going, and no revocation covers a log-in after "for ever"
        return Redeemed(family, roster)
