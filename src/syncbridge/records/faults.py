"""What goes wrong between us and a database, as one word each, and as `Unavailable` for whoever asked.

A word is for the operator: a label of a metric, a line in the log. The one who asked is told that the records do not
answer, and nothing of the server's text, which may quote people's data.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, ParamSpec, TypeVar, get_args

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from syncbridge.errors import Unavailable

Reason = Literal[
    "pool_exhausted",
    "no_answer",
    "unreachable",
    "untrusted",
    "shutting_down",
    "too_many_connections",
    "wrong_password",
    "no_database",
    "no_right",
    "read_only",
    "undone",
    "slow_statement",
    "other",
]
"""Why the records did not do what they were asked.

pool_exhausted        every connection of ours was in use for longer than a request may wait
no_answer             the server took the question and said nothing in time: it is frozen, or the way to it is cut
unreachable           nobody listens there
untrusted             the server's certificate is of no authority that we trust, or for another name
shutting_down         the server starts, stops, or its operator ended the connection
too_many_connections  the server has no room for one more
wrong_password        the server does not know us
no_database           the server is there, the database is not
no_right              the role may not do what was asked
read_only             it is a standby, or was set read-only
undone                the transaction lost against another one, and was tried as often as is sensible
slow_statement        a statement, or the wait for a row that somebody else holds, took too long and was cut off
"""
REASONS: Final[tuple[str, ...]] = get_args(Reason)

_ADVICE: Final[dict[Reason, str]] = {
    "no_answer": "see whether it is frozen, or something on the way keeps silent (a firewall)",
    "unreachable": "start it, or correct host and port in database_url",
    "untrusted": "name its authority as sslrootcert in database_url, and the host as the certificate calls it",
    "shutting_down": "wait until it has started",
    "too_many_connections": "raise its max_connections, or lower database_pool_size",
    "wrong_password": "correct it where it comes from: database_url, database_password_file or vault.database_role",
    "no_database": "CREATE DATABASE, or correct the name in database_url",
    "no_right": "let the role be one that may do it: docs/operations.md says what it needs",
    "read_only": "name the primary in database_url",
}
"""What an operator does about it, where one thing is to be done."""

_BY_SQLSTATE: Final[dict[str, Reason]] = {
    "57P01": "shutting_down",
    "57P02": "shutting_down",
    "57P03": "shutting_down",
    "57P05": "shutting_down",
    "53300": "too_many_connections",
    "28P01": "wrong_password",
    "28000": "wrong_password",
    "3D000": "no_database",
    "42501": "no_right",
    "25006": "read_only",
    "40001": "undone",
    "40P01": "undone",
    "57014": "slow_statement",
    "55P03": "slow_statement",
    "25P03": "slow_statement",
    "08000": "unreachable",
    "08001": "unreachable",
    "08003": "unreachable",
    "08004": "unreachable",
    "08006": "unreachable",
}
"""PostgreSQL 15, Appendix A."""

ATTEMPTS: Final = 4
"""How often a transaction that another one undid is made: of two that deadlock one always gets through."""

_P = ParamSpec("_P")
_Answer = TypeVar("_Answer")


def reason_of(error: BaseException | None) -> Reason:
    """The word for what a driver, or the pool, raised."""
    while isinstance(error, Unavailable) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, PoolTimeout):
        return "pool_exhausted"
    known = _BY_SQLSTATE.get(sqlstate_of(error))
    if known is not None:
        return known
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return "unreachable"
        error = error.orig
    if isinstance(error, TimeoutError):
        return "no_answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "untrusted"
    return "unreachable" if isinstance(error, OSError) else "other"


def advice_for(error: BaseException | None) -> str:
    """What an operator does about what a driver, or the pool, raised; "" where that is not known."""
    return _ADVICE.get(reason_of(error), "")


def sqlstate_of(error: BaseException | None) -> str:
    """The server's code for what it raised; "" where it was not the server."""
    held = error.orig if isinstance(error, DBAPIError) else error
    return getattr(held, "sqlstate", None) or ""


@contextmanager
def translated(on_fault: Callable[[Reason], object]) -> Iterator[None]:
    """What a driver raises when the database is away becomes `Unavailable`; our own mistakes stay what they are."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError) as error:
        is_ours = isinstance(error, IntegrityError | ProgrammingError | DataError)
        if is_ours and sqlstate_of(error) not in _BY_SQLSTATE:
            raise
        on_fault(reason_of(error))
        raise Unavailable("The records do not answer; try again.") from error


def retried(transaction: Callable[_P, Coroutine[Any, Any, _Answer]]) -> Callable[_P, Coroutine[Any, Any, _Answer]]:
    """The method, which is one whole transaction, made again where the server undid it for the sake of another.

    Nothing of what was undone took effect, so this is sound for any transaction that does nothing else.
    """

    @functools.wraps(transaction)
    async def made(*args: _P.args, **named: _P.kwargs) -> _Answer:
        for _ in range(ATTEMPTS - 1):
            try:
                return await transaction(*args, **named)
            except Unavailable as fault:
                if reason_of(fault) != "undone":
                    raise
        return await transaction(*args, **named)

    return made
