"""The engines behind `Database`: how SQLite and PostgreSQL are connected to, and what each connection is told."""

from __future__ import annotations

import ssl
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from syncbridge.errors import Unavailable
from syncbridge.ports import CredentialSource

WRITES: Final = "syncbridge_writes"
"""The execution option of a transaction that writes."""

BUSY_TIMEOUT_S = 5
SQLITE_WAIT_S = 2.0
"""A request is better told `unavailable` than kept in a queue."""

ANSWER_WITHIN_S = 0.85
"""Of PostgreSQL: until somebody has a connection that works, whatever is wrong. A log-in fails within a second."""
POSTGRES_WAIT_S = 0.7
"""For one of the pool's connections; what is left of `ANSWER_WITHIN_S` is for trying it, or making it."""
STATEMENT_MS = 4_000
"""No statement of ours takes so long; the server cuts it off, and what it held is free again."""
LOCK_MS = 2_000
"""Of it, for a row that another transaction holds."""
IDLE_IN_TRANSACTION_MS = 10_000
"""A node that stands still within a transaction (frozen, cut off) holds its rows no longer than that."""
COMMAND_S = 5.0
"""The same as `STATEMENT_MS`, asked of our side: for a server that is frozen too."""
APPLICATION: Final = "syncbridge"
_NUMBERS: Final = ("max_cacheable_statement_size", "max_cached_statement_lifetime", "statement_cache_size")
"""Parameters of an address that the driver wants as numbers; SQLAlchemy hands them over as text."""
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""Of libpq; the first three verify nothing, `require` only where an authority is named."""


def sqlite_engine(url: URL, *, pool_size: int) -> AsyncEngine:
    """An engine over a file. There is nothing to lose contact with."""
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=SQLITE_WAIT_S,
        hide_parameters=True,  # a statement's values are people's data: not in messages, not in logs
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def postgres_engine(
    url: URL, *, pool_size: int, credentials: CredentialSource | None, is_patient: bool = False
) -> AsyncEngine:
    """An engine over a server, with at most ``pool_size`` connections.

    Each connection logs in by what ``credentials`` say at that moment; what they leave out is the URL's.
    ``is_patient`` sets no bound to a statement: for migrations. Raises Unavailable where `tls_of` does.
    """
    url, tls = tls_of(url)
    told = {"application_name": APPLICATION, "jit": "off"}  # our statements are short: compiling them costs more
    if not is_patient:
        told |= {
            "statement_timeout": str(STATEMENT_MS),
            "lock_timeout": str(LOCK_MS),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        }
    numbers = {name: int(str(url.query[name])) for name in _NUMBERS if name in url.query}
    engine = create_async_engine(
        url.difference_update_query(_NUMBERS),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POSTGRES_WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,  # as above
        connect_args={
            **numbers,
            "timeout": ANSWER_WITHIN_S,
            "command_timeout": None if is_patient else COMMAND_S,
            "server_settings": told,
            **tls,
        },
    )

    def log_in(_dialect: object, _record: object, _args: list[Any], named: dict[str, Any]) -> None:
        current = None if credentials is None else credentials.current()
        if current is not None:
            named |= {"user": current.username} if current.username else {}
            named |= {"password": current.password} if current.password else {}

    event.listen(engine.sync_engine, "do_connect", log_in)
    return engine


def tls_of(url: URL) -> tuple[URL, dict[str, Any]]:
    """The URL without a word of TLS, and what the driver is told in its place.

    The mode is libpq's `sslmode`, or the driver's `ssl`; `sslrootcert` names the authority, which the driver would look
    for in its user's home alone. Who names one and no mode means `verify-full`: the certificate is one of its, and for
    this host. `verify-full` and `verify-ca` without one trust the system's. The file is read now.

    Raises Unavailable naming what is wrong.
    """
    query = dict(url.query)
    modes = [query.pop(name) for name in ("sslmode", "ssl") if name in query]
    authorities = query.pop("sslrootcert", None)
    if not modes and authorities is None:
        return url, {}
    mode = modes[0] if modes else None
    if len(modes) > 1 or mode not in (None, *SSL_MODES) or not isinstance(authorities, str | None):
        raise Unavailable(f"database_url: expected one sslmode of {', '.join(SSL_MODES)}, and one sslrootcert.")
    plain = url.set(query=query)
    if mode in SSL_MODES[:3] or (mode == "require" and authorities is None):
        return plain, {"ssl": mode}
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        why = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        raise Unavailable(f"database_url: sslrootcert {authorities} {why}.") from None
    context.check_hostname = mode in (None, "verify-full")
    return plain, {"ssl": context}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: `_begin_sqlite` decides which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        "secure_delete=ON",  # what is erased is overwritten in the file
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
