"""An authority over real records, a clock that a test moves, and hashing that costs little."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from syncbridge.auth import Authority, AuthRules, open_authority
from syncbridge.limits import Limits
from syncbridge.ports import SigningKey
from syncbridge.records import Records, open_records


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Source:
    """Keys that a test hands over; counts how often it is asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)
        self.reads = 0

    async def read(self) -> Sequence[SigningKey]:
        self.reads += 1
        return self.keys


CHEAP = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)


@pytest.fixture
def clock() -> MovedClock:
    """A clock that a test moves."""
    return MovedClock()


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    """Empty records."""
    opened = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    yield opened
    await opened.close()


@pytest.fixture
async def authority(records: Records, clock: MovedClock) -> AsyncIterator[Authority]:
    """An authority over these records."""
    opened = await open_authority(records, CHEAP, Limits(), clock)
    yield opened
    opened.close()
