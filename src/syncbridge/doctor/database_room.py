"""Room at the database server: how many connections it takes, and how many the nodes may ask for."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from sqlalchemy import text

from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.records.database import Database
from syncbridge.records.engines import APPLICATION

CHECK = "records"
FULL_SHARE = 0.8
"""Of the server's connections, from which on one more node, or a busy hour of somebody else's, may find none."""


class Room(Struct, frozen=True):
    """Connections of one server: how many it takes of such as us, how many there are, how many of them are ours."""

    most: int
    taken: int
    ours: int
    is_standby: bool = False


async def database_room(database: Database) -> Room:
    """The server's room as it is now. Raises Unavailable."""
    # A role without pg_monitor sees that connections of others are there, and whose, if not what they do.
    query = text(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " AS most, count(*) AS taken, count(*) FILTER (WHERE application_name = :ours) AS ours,"
        " pg_is_in_recovery() AS is_standby FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    async with database.reading() as connection:
        row = (await connection.execute(query, {"ours": APPLICATION})).one()
    return Room(row.most, row.taken, row.ours, row.is_standby)


def judge_room(room: Room, pool_size: int, workers: int) -> Iterator[Finding]:
    """Every process finds its connections, and may write."""
    if room.is_standby:
        yield problem(
            CHECK,
            "the server is a standby: it can be read, not written",
            "Nobody can log in, and nothing is kept; live sessions go on.",
            "point database_url at the primary",
        )
    asked = pool_size * workers
    text_ = f"{room.taken} of {room.most} connections are taken, {room.ours} by us; this node asks for up to {asked}"
    if asked > room.most:
        yield problem(
            CHECK,
            text_,
            "Log-ins fail as soon as all are in use at once (too_many_connections).",
            "lower database_pool_size, raise max_connections, or put a pooler in between",
        )
    elif max(room.taken, room.taken - room.ours + asked) > room.most * FULL_SHARE:
        yield warning(
            CHECK,
            text_,
            f"Nodes times database_pool_size ({pool_size} times {workers} here) may be more than the server takes.",
            "lower database_pool_size, raise max_connections, or put a pooler in between",
        )
    else:
        yield ok(CHECK, text_)
