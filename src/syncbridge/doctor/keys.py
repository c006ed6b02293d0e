"""The records: their schema, and the keys that sign tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from syncbridge.auth import AuthRules
from syncbridge.auth.keyring import states
from syncbridge.config import Settings
from syncbridge.doctor.database_room import database_room, judge_room
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.doctor.records import looking_at_records, records_file
from syncbridge.doctor.upkeep import check_upkeep
from syncbridge.errors import SyncBridgeError
from syncbridge.ports import SigningKey
from syncbridge.records.keys import SigningKeys
from syncbridge.records.migration import Schema, newest_revision, schema_of
from syncbridge.story.words import moment, span

RECORDS = "records"
KEYS = "keys"
DAY_MS = 86_400_000
BY_HAND_MS = 90 * DAY_MS
"""The operators' handbook rotates signing keys every 90 days."""
LATE_MS = 3_600_000
"""A running service looks every few seconds; one that was just started may be about to."""


async def check_records(settings: Settings) -> list[Finding]:
    """Every finding about the records and the keys in them."""
    file = records_file(settings)
    if file is not None and not file.exists():
        return [ok(RECORDS, f"{file} is not there yet; the first start makes it")]
    try:
        async with looking_at_records(settings) as database:
            schema = await schema_of(database)
            server = await database.server_version()
            room = None if file is not None else await database_room(database)
            now_ms = time.time_ns() // 1_000_000
            keys = await SigningKeys(database).read() if schema.is_served else []
            upkeep = await check_upkeep(database, settings, now_ms) if schema.is_served else []
    except SyncBridgeError as fault:
        mend = "mend what the sentence names" if file is None else "restore it from a backup"
        return [
            problem(
                RECORDS,
                f"they cannot be read: {fault.message}",
                "No service starts; one that runs goes on with live sessions, and nobody can log in.",
                mend,
            )
        ]
    findings = list(judge_schema(schema, is_server=file is None))
    findings += judge_server(server) if file is None else [ok(RECORDS, f"{file} answers")]
    if room is not None:
        findings += judge_room(room, settings.database_pool_size, max(1, settings.workers))
    if schema.is_served:
        if not settings.has_outside_keys:
            findings += judge_keys(keys, settings.auth, now_ms)
        findings += upkeep
    return findings


def judge_schema(found: Schema, *, is_server: bool) -> Iterator[Finding]:
    """The schema serves this program."""
    ours = newest_revision()
    if found.state == "current":
        yield ok(RECORDS, f"schema revision {found.revision}")
    elif found.state == "newer":
        yield warning(
            RECORDS,
            f"schema revision {found.revision} of a newer program; it serves this one ({ours}) too",
            "This node is the older of two releases; that is meant to last as long as an upgrade.",
            "upgrade this node",
        )
    elif found.state == "foreign":
        yield problem(
            RECORDS,
            f"schema revision {found.revision}, this program knows {ours}",
            "The data was written by a newer program; this one does not start.",
            "start the newer program",
        )
    elif is_server:
        yield problem(
            RECORDS,
            f"schema revision {found.revision or 'none'}, this program needs {ours}",
            "It does not start, unless database_migrate says that a start brings it up.",
            "syncbridge migrate",
        )
    else:
        yield warning(
            RECORDS,
            f"schema revision {found.revision or 'none'}, this program's is {ours}",
            "The next start brings it up; going back needs a backup.",
            "syncbridge migrate",
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


def judge_keys(keys: Sequence[SigningKey], rules: AuthRules, now_ms: int) -> Iterator[Finding]:
    """There is a key that signs, it is not older than the rules want it, and its successor is in time."""
    if not keys:
        yield ok(KEYS, "no key yet; the first start makes it")
        return
    by_state = states(keys, now_ms)
    coming = [key for key, state in by_state if state == "next"]
    current = next((key for key, state in by_state if state == "current"), None)
    if current is not None:
        yield _judge_current(current, coming, rules, now_ms)
    elif coming:
        first = min(coming, key=lambda key: key.signs_from)
        yield problem(
            KEYS,
            f"no key signs yet; key {first.kid} does from {moment(first.signs_from)} on",
            "The clock of this machine lies behind that of the one that made it, or the keys before it were lost.",
            "set the clock, or syncbridge keys rotate --now",
        )
    else:
        yield problem(
            KEYS,
            f"none of {len(keys)} keys may sign now",
            "Nobody can log in, and every token is refused.",
            "syncbridge keys rotate --now",
        )
    for key in coming:
        yield ok(KEYS, f"key {key.kid} takes over at {moment(key.signs_from)}")
    leaving = [key.retired_at or 0 for key, state in by_state if state == "previous"]
    if leaving:
        yield ok(KEYS, f"older keys still taken: {len(leaving)}, the last until {moment(max(leaving))}")


def _judge_current(key: SigningKey, coming: Sequence[SigningKey], rules: AuthRules, now_ms: int) -> Finding:
    found = f"key {key.kid} signs, {span(max(0, now_ms - key.born_at))} old"
    if not key.secret:
        return problem(
            KEYS,
            f"key {key.kid} is to sign, and has no secret",
            "Nobody can log in: its row was changed by hand, or put back from a half copy.",
            "syncbridge keys rotate --now",
        )
    if key.created_at > now_ms + DAY_MS:
        return problem(
            KEYS,
            f"key {key.kid} was made at {moment(key.created_at)}, which lies ahead",
            "The clock of this machine, or of the one that made it, was wrong.",
            "set the clock",
        )
    if key.retired_at is not None and not any(one.signs_from <= key.retired_at for one in coming):
        return warning(
            KEYS,
            f"{found}, and is retired at {moment(key.retired_at)} with none to follow it",
            "From then on nobody can log in, and every token is refused.",
            "syncbridge keys rotate",
        )
    age_ms = now_ms - key.born_at
    if rules.key_rotate_ms and age_ms > rules.key_rotate_ms + rules.key_lead_ms + LATE_MS and not coming:
        return warning(
            KEYS,
            f"{found}; auth.key_rotate_ms replaces it after {span(rules.key_rotate_ms)}",
            "A running service does that by itself; none ran, or it could not.",
            "syncbridge keys rotate; beside a running service look at its log",
        )
    if not rules.key_rotate_ms and age_ms > BY_HAND_MS:
        return warning(
            KEYS,
            f"{found}; auth.key_rotate_ms is 0, so nothing replaces it",
            f"One that was copied unseen is good as long as it is in use; {span(BY_HAND_MS)} is the rule.",
            "syncbridge keys rotate",
        )
    return ok(KEYS, found)
