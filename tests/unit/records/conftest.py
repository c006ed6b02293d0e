"""Real records in SQLite and in PostgreSQL, with one account in them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.core.ids import AccountId
from syncbridge.records import Account, Records, engines, open_records
from tests.databases import KINDS, Databases, Kind, sqlite_url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which database the test runs on: it runs on each."""
    found: Kind = request.param
    return found


@pytest.fixture
def databases(kind: Kind, request: pytest.FixtureRequest) -> Databases | None:
    """The server; asked for by name, so that a run on SQLite alone starts none."""
    return request.getfixturevalue("postgres") if kind == "postgresql" else None


@pytest.fixture
async def records_url(databases: Databases | None, tmp_path: Path) -> str:
    """The URL of an empty database with the newest schema, or of a file that gets it when it is opened."""
    return sqlite_url(tmp_path) if databases is None else await databases.migrated()


@pytest.fixture
async def empty_url(databases: Databases | None, tmp_path: Path) -> str:
    """The URL of a database with nothing in it."""
    return sqlite_url(tmp_path / "new") if databases is None else await databases.empty()


@pytest.fixture
async def records(records_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Records]:
    """Records with the account ``ann``; who waits for a connection is served at last, however slow the disk is."""
    for bound in ("SQLITE_WAIT_S", "BUSY_TIMEOUT_S", "POSTGRES_WAIT_S", "ANSWER_WITHIN_S"):
        monkeypatch.setattr(engines, bound, 60)
    opened = await open_records(records_url)
    await opened.accounts.add(Account(AccountId("ann"), "ann@example.com", 1), "hash")
    yield opened
    await opened.close()
