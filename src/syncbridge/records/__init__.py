"""What is known beside the session logs: accounts, devices, listings, snapshots, tokens, codes, keys.

One set of repositories in SQLAlchemy Core over asyncio, for `sqlite+aiosqlite` and `postgresql+asyncpg` alike, with
the migrations inside the package.

::

    records = await open_records("sqlite+aiosqlite:///data/records.db")  # migrated to the newest schema
    records.directory  # the SessionDirectory port
    records.incidents  # the FlightRecorder port
    await records.close()  # what was noted is written, where the database answers
"""

from __future__ import annotations

from syncbridge.errors import Unavailable
from syncbridge.limits import Retention
from syncbridge.ports import CredentialSource
from syncbridge.records.accounts import Account, Accounts
from syncbridge.records.archive import Archive
from syncbridge.records.database import Database
from syncbridge.records.devices import Device, Devices, Roster
from syncbridge.records.directory import Directory
from syncbridge.records.erasures import Erasure, Erasures
from syncbridge.records.expiry import Expiry
from syncbridge.records.idempotency import Claim, IdempotencyKeys, KeptAnswer
from syncbridge.records.identities import Identities
from syncbridge.records.incidents import Incidents
from syncbridge.records.keys import SigningKeys
from syncbridge.records.migration import LOCK_WAIT_S, Schema, schema_of
from syncbridge.records.migration import migrate as bring_up
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
    "Schema",
    "SessionRecord",
    "SnapshotRecord",
    "look_at_schema",
    "migrate",
    "open_records",
]


class Records:
    """Every repository over one database; ``retention`` says how long the archive keeps a state."""

    def __init__(self, database: Database, *, retention: Retention | None = None) -> None:
        self.database = database
        self.outbox = OutboxTable()
        self.accounts = Accounts(database)
        self.identities = Identities(database)
        self.devices = Devices(database, self.outbox)
        self.sessions = Sessions(database, self.outbox)
        self.directory = Directory(database)
        self.incidents = Incidents(database)
        self.snapshots = Snapshots(database)
        self.archive = Archive(database, retention)
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
        """Pending notes are written, where the database answers, and every connection is closed."""
        try:
            for written_behind in (self.directory, self.incidents, self.archive):
                await written_behind.close()
        finally:
            await self.database.close()


async def open_records(
    url: str,
    *,
    pool_size: int = 4,
    retention: Retention | None = None,
    credentials: CredentialSource | None = None,
    migrates: bool | None = None,
) -> Records:
    """The records of this database, with a schema that serves this program.

    Schema   a file is brought up to the newest, and made where it is not there. A server is where ``migrates`` says
             so: many nodes share it, and its role may be one that must not change tables.
    Raises   Unavailable naming the place, what is wrong and what to do.
    """
    database = Database(url, pool_size=pool_size, credentials=credentials)
    try:
        if database.is_sqlite if migrates is None else migrates:
            await _migrated(url, credentials)
        else:
            schema = await schema_of(database)
            if not schema.is_served:
                raise Unavailable(schema.sentence(database.place))
    except BaseException:
        await database.close()
        raise
    return Records(database, retention=retention)


async def migrate(url: str, *, credentials: CredentialSource | None = None, wait_s: float = LOCK_WAIT_S) -> Schema:
    """The database has at least this program's schema; answers it. Safe to run twice. Raises Unavailable."""
    return await _migrated(url, credentials, wait_s)


async def look_at_schema(url: str, *, credentials: CredentialSource | None = None) -> Schema:
    """The schema that the database has; nothing is changed. Raises Unavailable."""
    database = Database(url, pool_size=1, credentials=credentials)
    if database.file is not None and not database.file.exists():
        return Schema("absent")
    try:
        return await schema_of(database)
    finally:
        await database.close()


async def _migrated(url: str, credentials: CredentialSource | None, wait_s: float = LOCK_WAIT_S) -> Schema:
    database = Database(url, pool_size=1, credentials=credentials, is_patient=True)
    try:
        return await bring_up(database, wait_s=wait_s)
    finally:
        await database.close()
