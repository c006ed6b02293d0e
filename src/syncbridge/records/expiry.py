"""Rows past their time, kind by kind, in steps that are short transactions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, not_, or_, select

from syncbridge.core.ids import SessionId
from syncbridge.limits import Retention
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.revocations import KEPT_AFTER_MS
from syncbridge.records.schema import (
    erasures,
    idempotency_keys,
    incidents,
    log_snapshots,
    pairing_codes,
    refresh_tokens,
    revocations,
    sessions,
    snapshots,
    token_families,
)


class Expiry:
    """What of the records has had its time.

    Atomicity  a step is one transaction; what it names as gone is gone from the tables, and from the files at the
               next `Database.fold`.
    """

    KINDS = (
        "snapshot",
        "incident",
        "pairing_code",
        "idempotency_key",
        "token",
        "log_in",
        "revocation",
        "receipt",
        "archived_state",
    )
    """In the order in which they go: a log-in goes with the last of its tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def remove(self, kind: str, now_ms: int, retention: Retention, count_max: int) -> int:
        """At most ``count_max`` rows of the kind are gone that were past their time; how many there were."""
        table, is_over = _rule(kind, now_ms, retention)
        columns = list(table.primary_key)
        async with self._database.transaction() as connection:
            # Of two nodes that sweep at once each takes rows that the other has not.
            due = select(*columns).where(is_over).limit(count_max).with_for_update(skip_locked=True, of=table)
            rows = (await connection.execute(due)).all()
            for row in rows:
                same = and_(*(column == value for column, value in zip(columns, row, strict=True)))
                await connection.execute(delete(table).where(same))
            return len(rows)

    async def count(self, now_ms: int, retention: Retention) -> dict[str, int]:
        """How many rows of each kind are past their time."""
        counts: dict[str, int] = {}
        async with self._database.reading() as connection:
            for kind in self.KINDS:
                table, is_over = _rule(kind, now_ms, retention)
                counts[kind] = (
                    await connection.execute(select(func.count()).select_from(table).where(is_over))
                ).scalar_one()
        return counts

    async def stale_sessions(self, now_ms: int, retention: Retention, count_max: int) -> list[SessionId]:
        """Sessions that by their listing are past their time: their logs should be gone, and they with them."""
        query = select(sessions.c.id).where(_has_ended(now_ms, retention)).order_by(sessions.c.updated_at)
        async with self._database.reading() as connection:
            return [SessionId(one) for one in (await connection.execute(query.limit(count_max))).scalars()]


def _has_ended(now_ms: int, retention: Retention) -> ColumnElement[bool]:
    status, updated_at = sessions.c.status, sessions.c.updated_at
    ended = ("completed", "archived")
    return or_(
        and_(status.not_in(ended), updated_at <= now_ms - retention.live_ms),
        *(and_(status == one, updated_at <= now_ms - retention.session_ms(one)) for one in ended),
    )


def _rule(kind: str, now_ms: int, retention: Retention) -> tuple[Table, ColumnElement[bool]]:
    """The table of a kind, and which of its rows are past their time."""
    rules: dict[str, tuple[Table, Any]] = {
        # Seven days after the later of two moments: both lie that far back.
        "snapshot": (
            snapshots,
            and_(
                snapshots.c.created_at <= now_ms - retention.snapshot_ms,
                exists().where(
                    sessions.c.id == snapshots.c.session, sessions.c.updated_at <= now_ms - retention.snapshot_ms
                ),
            ),
        ),
        "incident": (incidents, incidents.c.at <= now_ms - retention.incident_ms),
        "pairing_code": (
            pairing_codes,
            or_(pairing_codes.c.expires_at <= now_ms, pairing_codes.c.used_at.is_not(None)),
        ),
        "idempotency_key": (idempotency_keys, idempotency_keys.c.expires_at <= now_ms),
        # A used one stays until then: that it comes again is how a theft is seen.
        "token": (refresh_tokens, refresh_tokens.c.expires_at <= now_ms),
        "log_in": (token_families, not_(exists().where(refresh_tokens.c.family == token_families.c.id))),
        "revocation": (revocations, revocations.c.expires_at <= now_ms - retention.leap_ms - KEPT_AFTER_MS),
        "archived_state": (log_snapshots, log_snapshots.c.expires_at <= now_ms),
        "receipt": (erasures, erasures.c.finished_at <= now_ms - retention.receipt_ms),
    }
    return rules[kind]
