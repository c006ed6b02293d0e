"""Real records in SQLite, with one account in them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.core.ids import AccountId
from syncbridge.records import Account, Records, database, open_records


@pytest.fixture
async def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Records]:
    """Records with the account ``ann``; who waits for a connection is served at last, however slow the disk is."""
    monkeypatch.setattr(database, "_POOL_TIMEOUT_S", 60)
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 60)
    opened = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    await opened.accounts.add(Account(AccountId("ann"), "ann@example.com", 1), "hash")
    yield opened
    await opened.close()
