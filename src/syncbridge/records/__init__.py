"""What is known beside the session logs: accounts, devices, listings, snapshots, tokens, codes, keys.

One set of repositories in SQLAlchemy Core over asyncio, for `sqlite+aiosqlite` and `postgresql+asyncpg` alike, with
the migrations inside the package.

::

    records = await open_records("sqlite+aiosqlite:///data/records.db")  # migrated to the newest schema
    records.directory  # the SessionDirectory port
    records.incidents  # the FlightRecorder port
    await records.close()  # what was noted is written
"""

from __future__ import annotations

from syncbridge.records.accounts import Account, Accounts
from syncbridge.records.database import Database
from syncbridge.records.devices import Device, Devices, Roster
from syncbridge.records.directory import Directory
from syncbridge.records.erasures import Erasure, Erasures
from syncbridge.records.expiry import Expiry
from syncbridge.records.idempotency import Claim, IdempotencyKeys, KeptAnswer
from syncbridge.records.identities import Identities
from syncbridge.records.incidents import Incidents
from syncbridge.records.keys import SigningKeys
from syncbridge.records.moments import Moments
from syncbridge.records.outbox import OutboxTable, RecordsOutbox
from syncbridge.records.pairing import PairingCodes, Redeemed
from syncbridge.records.personal import Personal
from syncbridge.records.revocations import Revocation, RevocationTable
from syncbridge.records.sessions import SessionRecord, Sessions
from syncbridge.records.snapshots import SnapshotRecord, Snapshots
from syncbridge.records.tokens import Family, Tokens

__all__ = [
    "Account",
    "Claim",
    "Device",
    "Erasure",
    "Family",
    "KeptAnswer",
    "Records",
    "RecordsOutbox",
    "Redeemed",
    "Revocation",
    "Roster",
    "SessionRecord",
    "SnapshotRecord",
    "migrate",
    "open_records",
]


class Records:
    """Every repository over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = OutboxTable()
        self.accounts = Accounts(database)
        self.identities = Identities(database)
        self.devices = Devices(database, self.outbox)
        self.sessions = Sessions(database, self.outbox)
        self.directory = Directory(database)
        self.incidents = Incidents(database)
        self.snapshots = Snapshots(database)
        self.tokens = Tokens(database)
        self.revocations = RevocationTable(database)
        self.pairing = PairingCodes(database, self.outbox)
        self.keys = SigningKeys(database)
        self.idempotency = IdempotencyKeys(database)
        self.expiry = Expiry(database)
        self.moments = Moments(database)
        self.erasures = Erasures(database, self.outbox)
        self.personal = Personal(database)

    async def is_healthy(self) -> bool:
        """Whether the database answers now."""
        return await self.database.is_healthy()

    async def close(self) -> None:
        """Pending notes are written and every connection is closed."""
        try:
            await self.directory.close()
            await self.incidents.close()
        finally:
            await self.database.close()


async def open_records(url: str, *, pool_size: int = 4) -> Records:
    """The records of this database, at the newest schema; made when they are not there. Raises Unavailable."""
    database = Database(url, pool_size=pool_size)
    try:
        await database.migrate()
    except BaseException:
        await database.close()
        raise
    return Records(database)


async def migrate(url: str) -> str:
    """The database has the newest schema; answers its revision. Safe to run twice."""
    database = Database(url, pool_size=1)
    try:
        return await database.migrate()
    finally:
        await database.close()
