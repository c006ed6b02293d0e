"""An authority that takes the tokens of an issuer on a local port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from syncbridge.auth import Authority, AuthRules, open_authority
from syncbridge.auth.rules import IssuerRules
from syncbridge.limits import Limits
from syncbridge.records import Records, open_records
from tests.integration.auth.issuer import AUDIENCE, OutsideIssuer, Server, serving

RULES = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, jwks_timeout_ms=1_500)


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture
def clock() -> MovedClock:
    """A clock that a test moves."""
    return MovedClock()


@pytest.fixture
def server() -> Iterator[Server]:
    """Where the issuer's keys are."""
    with serving() as server:
        yield server


@pytest.fixture
def canary() -> Iterator[Server]:
    """A server that must never be asked."""
    with serving() as server:
        yield server
        assert server.asked == []


@pytest.fixture
def issuer(server: Server) -> OutsideIssuer:
    """The issuer, with its keys published."""
    return OutsideIssuer(server)


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    """Empty records."""
    opened = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def issuers(server: Server, issuer: OutsideIssuer) -> tuple[IssuerRules, ...]:
    """What the configuration says of it."""
    return (IssuerRules(issuer.name, AUDIENCE, f"{server.url}/keys"),)


@pytest.fixture
async def authority(records: Records, clock: MovedClock, issuers: tuple[IssuerRules, ...]) -> AsyncIterator[Authority]:
    """An authority over these records that takes the issuer's tokens."""
    opened = await open_authority(records, RULES, Limits(), clock, issuers=issuers)
    yield opened
    opened.close()
