"""The records as an onlooker reads them: nothing is made, migrated or changed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url

from syncbridge.config import Settings
from syncbridge.errors import Unavailable
from syncbridge.records.database import Database
from syncbridge.secret_sources import open_secrets


class WallClock:
    """The machine's clock, as it is."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def records_file(settings: Settings) -> Path | None:
    """The file of the records; None where they are in a database server."""
    url = make_url(settings.records_url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


@asynccontextmanager
async def looking_at_records(settings: Settings) -> AsyncIterator[Database]:
    """The database of the records. Raises Unavailable, with a sentence for the operator."""
    file = records_file(settings)
    if file is not None and not file.exists():
        raise Unavailable(f"there are no records at {file}: no service was ever started there")
    url = settings.records_url if file is None else f"sqlite+aiosqlite:///{file.resolve().as_uri()}?mode=ro&uri=true"
    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=WallClock(), purpose="records")
        database = Database(url, pool_size=1, credentials=secrets.database)
        stack.push_async_callback(database.close)
        yield database
