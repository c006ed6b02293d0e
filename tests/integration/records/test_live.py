"""Live sessions while PostgreSQL is away: they go on, a known device comes back, and what waited lands afterwards."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from syncbridge.app import Service
from syncbridge.auth import rosters
from syncbridge.config import Settings
from syncbridge.core.ids import SessionId
from tests.databases import Databases
from tests.integration.service.conftest import PASSWORD, Client

pytestmark = pytest.mark.serial

PUSHES = 200
DEADLINE_S = 60.0
WITHIN_S = 1.5
"""A log-in is told within a second by the records; the rest is for a busy machine."""


@pytest.mark.parametrize("weather", ["frozen", "killed"])
async def test_live_sessions_go_on_while_postgresql_is_away(
    own_postgres: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weather: str
) -> None:
    server = own_postgres.server
    url = await own_postgres.migrated()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            Service.running(Settings(port=0, data_dir=tmp_path, database_url=SecretStr(url)))
        )
        ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
        stack.push_async_callback(ann.http.aclose)
        await ann.make_account()
        session = SessionId(await ann.make_session())
        phone, tablet = await ann.device("phone", session), await ann.device("tablet", session)
        await asyncio.to_thread(server.freeze if weather == "frozen" else server.kill)
        try:
            for version in range(1, PUSHES + 1):
                await phone.push(session, version, "/n", version)
                await phone.hear("ack")
            head = PUSHES + 1
            await tablet.hear("entry", matching=lambda message: message["version"] == head)

            begin = time.perf_counter()
            body = {"grant_type": "password", "email": "ann@example.com", "password": PASSWORD}
            refused = await ann.http.post("/v1/auth/token", json=body)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert time.perf_counter() - begin < WITHIN_S

            # Whoever asks whether to send devices here must not be told no: every other node would say the same.
            ready, health = await ann.http.get("/health/ready"), await ann.http.get("/health")
            assert (ready.status_code, health.json()["status"]) == (200, "degraded")
            assert health.json()["dependencies"]["records"]["status"] == "down"

            await tablet.socket.close()
            # Its roster is older than what is taken without a look.
            monkeypatch.setattr(rosters, "AGE_MAX_MS", -1)
            again = await ann.device("tablet", session)
            await again.push(session, head, "/n", "back")
            await again.hear("ack")
            assert service.records.database.connections_in_use <= service.settings.database_pool_size
        finally:
            await asyncio.to_thread(server.thaw if weather == "frozen" else server.start)
        async with asyncio.timeout(DEADLINE_S):
            while not await service.records.is_healthy():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
            # What was noted while it was away is in the listing.
            while (await service.records.sessions.versions([session]))[session] < head + 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await service.records.incidents.flush()
            joins = [one for one in await service.records.incidents.of_session(session) if one.kind == "joined"]
            assert [one.device for one in joins].count("tablet") == 2
        await ann.log_in()
