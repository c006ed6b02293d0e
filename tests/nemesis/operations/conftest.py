"""One stage for all tests of this folder."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deploy.local.postgres import Postgres
from tests.nemesis.operations.stage import Stage


@pytest.fixture(scope="session")
def whole_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # Not below pytest's own folder: each run that starts beside this one shuts that to PostgreSQL's user.
    with tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as folder:
        stage = Stage(tmp_path_factory.mktemp("stage"), Postgres(Path(folder)))
        with stage.running():
            yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """The stage, and all of it running again afterwards."""
    yield whole_stage
    whole_stage.mend()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is opened in the test, closed after it."""
    async with AsyncExitStack() as stack:
        yield stack
