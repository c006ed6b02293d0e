"""Everything that is held of a person, as one JSON document that is written while it is read.

Bounded   one page of entries, one snapshot or one state is in memory at a time, however much there is.
Whole     the document ends with ``"complete": true``; one that was cut off is no JSON.
Readable  a member or an item of a list a line, so that a person can look through it and a program can go line by line.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import NotFound, StateDamaged
from syncbridge.lifecycle.stored import StoredLogs
from syncbridge.ports import Clock, Telemetry
from syncbridge.records import Records

FORMAT = "syncbridge-export"
FORMAT_VERSION = 1
SESSIONS_AT_ONCE = 50
ENTRIES_AT_ONCE = 500
SNAPSHOTS_AT_ONCE = 1
"""A state may be 256 KiB."""
INCIDENTS_AT_ONCE = 200
CHUNK_BYTES = 64 * 1024
"""Short lines are written together."""

_encode = msgspec.json.Encoder().encode


class Exporter:
    """Writes exports, at most one at a time for an account."""

    def __init__(self, logs: StoredLogs, records: Records, *, clock: Clock, telemetry: Telemetry) -> None:
        self._logs = logs
        self._records = records
        self._clock = clock
        self._telemetry = telemetry
        self._running: set[AccountId] = set()

    def claim(self, account: AccountId) -> bool:
        """Whether the account may export now; then it is doing so until `release`."""
        if account in self._running:
            return False
        self._running.add(account)
        return True

    def release(self, account: AccountId, *, is_whole: bool) -> None:
        """The export is over: all of it was taken, or it was cut off."""
        self._running.discard(account)
        self._telemetry.measured("export", 1, "whole" if is_whole else "cut")

    async def document(self, account: AccountId) -> AsyncGenerator[bytes, None]:
        """The document in pieces of about `CHUNK_BYTES`. Raises NotFound, Unavailable: what was given is void then."""
        piece = bytearray()
        async for part in self._parts(account):
            piece += part
            if len(piece) >= CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    async def _parts(self, account: AccountId) -> AsyncIterator[bytes]:
        personal = self._records.personal
        found = await personal.account(account)
        if found is None:
            raise NotFound
        yield b'{"format": %b, "version": %d' % (_encode(FORMAT), FORMAT_VERSION)
        yield _member("exported_at", self._clock.now_ms())
        yield _member("account", found)
        for name, rows in (
            ("identities", await personal.identities(account)),
            ("devices", await personal.devices(account)),
            ("log_ins", await personal.log_ins(account)),
            ("requests", await personal.requests(account)),
        ):
            async for part in _list(name, _each(rows)):
                yield part
        async for part in _list("sessions", self._sessions(account)):
            yield part
        yield _member("erasure", await personal.erasure(account))
        yield _member("complete", True)
        yield b"\n}\n"

    async def _sessions(self, account: AccountId) -> AsyncIterator[bytes]:
        """Each session as parts; an empty part stands between two of them."""
        after = ""
        while True:
            page = await self._records.personal.sessions(account, after, SESSIONS_AT_ONCE)
            for row in page:
                yield b""
                async for part in self._session(row):
                    yield part
            if len(page) < SESSIONS_AT_ONCE:
                return
            after = page[-1]["id"]

    async def _session(self, row: dict[str, Any]) -> AsyncIterator[bytes]:
        session = SessionId(row["id"])
        yield b'{"id": %b' % _encode(session)
        listed = {name: value for name, value in row.items() if name != "id"}
        faults: list[str] = []
        try:
            head = await self._logs.head(session)
        except (NotFound, StateDamaged) as error:
            faults.append(error.code)
            for name, value in listed.items():
                yield _member(name, value)
        else:
            live = {"status": head.status, "version": head.version, "active": head.active}
            for name, value in (listed | live | {"updated_at": head.updated_at}).items():
                yield _member(name, value)
            yield _member("first_title", head.title)
            yield _member("epoch", head.epoch)
            yield _member("heard", head.heard)
            yield _member("state", head.state)
            async for part in _list("entries", self._entries(session, faults)):
                yield part
        # Why there is no state and no log, or not all of it.
        yield _member("fault", faults[0] if faults else None)
        personal = self._records.personal
        kept = await personal.archived_state(session)
        # A copy of the log's newest state, in another store: shown where it is, whatever the log says.
        yield _member("archived_state", None if kept is None else kept | {"body": msgspec.Raw(kept["body"])})
        async for part in _list("snapshots", self._snapshots(session)):
            yield part
        async for part in _list("pairing_codes", _each(await personal.pairing_codes(session))):
            yield part
        async for part in _list("incidents", self._incidents(session)):
            yield part
        yield b"}"

    async def _entries(self, session: SessionId, faults: list[str]) -> AsyncIterator[bytes]:
        after = 0
        while True:
            try:
                stretch = await self._logs.entries(session, after, ENTRIES_AT_ONCE)
            except (NotFound, StateDamaged) as error:
                faults.append(error.code)  # deleted meanwhile, or damaged further on: the rest is told all the same
                return
            for entry in stretch.entries:
                yield b""
                yield _encode(entry)
            if not stretch.entries or stretch.entries[-1].version >= stretch.head:
                return
            after = stretch.entries[-1].version

    async def _snapshots(self, session: SessionId) -> AsyncIterator[bytes]:
        after = ""
        while page := await self._records.personal.snapshots(session, after, SNAPSHOTS_AT_ONCE):
            for row in page:
                yield b""
                yield _encode(row | {"state": msgspec.Raw(row["state"])})
            after = page[-1]["id"]

    async def _incidents(self, session: SessionId) -> AsyncIterator[bytes]:
        after = 0
        while page := await self._records.personal.incidents(session, after, INCIDENTS_AT_ONCE):
            for row in page:
                yield b""
                yield _encode(row)
            after = page[-1]["id"]


def _member(name: str, value: Any) -> bytes:
    return b",\n%b: %b" % (_encode(name), _encode(value))


async def _each(rows: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for row in rows:
        yield b""
        yield _encode(row)


async def _list(name: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The member ``name``, a list; each item begins after an empty part."""
    yield b",\n%b: [" % _encode(name)
    is_first = True
    async for part in parts:
        if part:
            yield part
        else:
            yield b"\n" if is_first else b",\n"
            is_first = False
    yield b"]"
