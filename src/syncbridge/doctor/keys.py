"""The records: their schema, and the keys that sign tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select

from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.doctor.records import looking_at_records, records_file
from syncbridge.errors import SyncBridgeError
from syncbridge.records.database import Database, newest_revision
from syncbridge.records.schema import signing_keys
from syncbridge.story.words import moment, span

RECORDS = "records"
KEYS = "keys"
DAY_MS = 86_400_000
AGE_MAX_MS = 90 * DAY_MS
"""The operators' handbook rotates signing keys every 90 days."""


class KeyState(NamedTuple):
    """What may be told of a key."""

    kid: str
    created_at: int
    signs_from: int
    retired_at: int | None


async def check_records(settings: Settings) -> list[Finding]:
    """Every finding about the records and the keys in them."""
    file = records_file(settings)
    if file is not None and not file.exists():
        return [ok(RECORDS, f"{file} is not there yet; the first start makes it")]
    try:
        async with looking_at_records(settings) as database:
            revision = await database.revision()
            keys = await _keys(database) if revision == newest_revision() else []
            server = await database.server_version()
    except SyncBridgeError as fault:
        return [
            problem(
                RECORDS,
                f"they cannot be read: {fault.message}",
                "Nobody can log in; live sessions go on while it runs.",
                "look after the database, or restore it from a backup",
            )
        ]
    findings = list(judge_revision(revision, newest_revision()))
    findings += judge_server(server) if file is None else [ok(RECORDS, f"{file} answers")]
    if revision == newest_revision():
        findings += judge_keys(keys, time.time_ns() // 1_000_000)
    return findings


def judge_revision(found: str, newest: str) -> Iterator[Finding]:
    """The schema is this program's."""
    if found == newest:
        yield ok(RECORDS, f"schema revision {found}")
    elif found < newest:
        yield warning(
            RECORDS,
            f"schema revision {found}, this program's is {newest}",
            "The next start brings it up; going back needs a backup.",
            "syncbridge migrate",
        )
    else:
        yield problem(
            RECORDS,
            f"schema revision {found}, this program knows {newest}",
            "The data was written by a newer program; this one does not start.",
            "start the newer program",
        )


def judge_server(version: tuple[int, ...]) -> Iterator[Finding]:
    """The database server is one that is supported."""
    text = ".".join(map(str, version))
    if version < (13,):
        yield warning(
            RECORDS, f"PostgreSQL {text}", "It gets no security fixes any more.", "upgrade to PostgreSQL 15 or newer"
        )
    else:
        yield ok(RECORDS, f"PostgreSQL {text}")


def judge_keys(keys: Sequence[KeyState], now_ms: int) -> Iterator[Finding]:
    """There is a key that signs, it is not old, and its successor is in time."""
    good = [key for key in keys if key.retired_at is None or key.retired_at > now_ms]
    signing = max(
        (key for key in good if key.signs_from <= now_ms),
        key=lambda key: (key.signs_from, key.created_at),
        default=None,
    )
    coming = [key for key in good if key.signs_from > now_ms]
    if signing is None:
        if not keys:
            yield ok(KEYS, "no key yet; the first start makes it")
        else:
            yield problem(
                KEYS,
                f"none of {len(keys)} keys may sign now",
                "Nobody can log in, and every token is refused.",
                "syncbridge keys rotate",
            )
        return
    age_ms = now_ms - max(signing.created_at, signing.signs_from)
    found = f"key {signing.kid} signs, {span(age_ms)} old"
    if signing.created_at > now_ms + DAY_MS:
        yield problem(
            KEYS,
            f"key {signing.kid} was made at {moment(signing.created_at)}, which lies ahead",
            "The clock of this machine, or of the one that made it, was wrong.",
            "set the clock",
        )
    elif age_ms > AGE_MAX_MS:
        yield warning(
            KEYS,
            found,
            f"One that was copied unseen is good for as long as it is in use; {AGE_MAX_MS // DAY_MS} days is the rule.",
            "syncbridge keys rotate",
        )
    else:
        yield ok(KEYS, found)
    for key in coming:
        yield ok(KEYS, f"key {key.kid} takes over at {moment(key.signs_from)}")
    leaving = [key for key in good if key.retired_at is not None]
    if leaving:
        until = moment(max(key.retired_at or 0 for key in leaving))
        yield ok(KEYS, f"older keys still taken: {len(leaving)}, the last until {until}")


async def _keys(database: Database) -> list[KeyState]:
    columns = signing_keys.c
    query = select(columns.kid, columns.created_at, columns.signs_from, columns.retired_at).order_by(columns.ordinal)
    async with database.reading() as connection:
        return [KeyState(*row) for row in (await connection.execute(query)).all()]
