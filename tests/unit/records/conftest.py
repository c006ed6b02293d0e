"""Real records in SQLite, with one account in them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.core.ids import AccountId
from syncbridge.records import Account, Records, open_records


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    """Records with the account ``ann``."""
    opened = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    await opened.accounts.add(Account(AccountId("ann"), "ann@example.com", 1), "hash")
    yield opened
    await opened.close()
