"""A whole service over PostgreSQL, as users that Vault makes for seconds: nobody's request fails over their change."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from pydantic import SecretStr

from deploy.local.postgres import DATABASE, USER, Postgres
from deploy.local.vault import Vault
from syncbridge.app import Service
from syncbridge.cli.direct import bring_up, schema
from syncbridge.config import Settings
from syncbridge.doctor.keys import check_records
from syncbridge.records.database import Database
from tests.integration.vault.conftest import DEADLINE_S, Place, set_life
from tests.integration.vault.test_service import PERSON, settings_for

ROTATIONS = 5


@pytest.fixture
async def settings(vault: Vault, place: Place, tmp_path: Path, postgres: Postgres) -> Settings:
    """Records in PostgreSQL with a schema; the address names neither user nor password."""
    set_life(vault, "2s", "2s")
    place.rotate()
    url = f"postgresql+asyncpg://127.0.0.1:{postgres.port}/{DATABASE}"
    rules = place.rules_with(database_role="syncbridge")
    in_force = settings_for(place, tmp_path, vault=rules, database_url=SecretStr(url), database_pool_size=2)
    await bring_up(in_force)
    return in_force


class Answers(NamedTuple):
    """How requests were answered over the rotations, and as whom the records were asked meanwhile."""

    outcomes: Counter[int]
    users: set[str]


async def ask_over(settings: Settings, postgres: Postgres, rotations: int) -> Answers:
    """Requests were made until the database user had changed so often."""
    outcomes, users, changes = Counter[int](), set[str](), 0
    before = users_of(postgres)
    async with Service.running(settings) as service:
        (database,) = [one for one in service.secrets.standings if one.name == "database"]
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, timeout=DEADLINE_S, trust_env=False) as http:
            body = PERSON | {"email": f"{uuid.uuid4().hex}@example.com"}  # the server is that of all tests here
            token = (await http.post("/v1/accounts", json=body)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            async with asyncio.timeout(2 * DEADLINE_S):
                while database.changes <= rotations:
                    made = await http.post("/v1/sessions", json={"type": "custom", "state": {}})
                    listed = await http.get("/v1/sessions")
                    outcomes.update((made.status_code, listed.status_code))
                    if database.changes != changes:
                        changes = database.changes
                        users |= await asyncio.to_thread(users_of, postgres) - before
                    await asyncio.sleep(0.01)
            page = (await http.get("/metrics")).text
    assert 'secret_changes_total{secret="database"}' in page
    return Answers(outcomes, users)


def users_of(postgres: Postgres) -> set[str]:
    """Which of the users that Vault made are connected."""
    return set(postgres.psql("SELECT usename FROM pg_stat_activity WHERE usename LIKE 'v-%'").split())


async def test_requests_go_on_over_five_changes_of_the_database_user(settings: Settings, postgres: Postgres) -> None:
    outcomes, users = await ask_over(settings, postgres, ROTATIONS)
    # On a slow machine it goes on for so long that the account is told to slow down: that is no failed question.
    assert {201, 200} <= set(outcomes) <= {201, 200, 429}
    assert len(users) >= ROTATIONS - 1
    # The tables stay their owner's, whoever of the users made them.
    owners = postgres.psql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == USER


async def test_records_that_stay_with_the_user_of_an_ended_lease_would_be_seen(
    settings: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: nobody tells the pool of other credentials. An open connection outlives its user, and nothing fails."""
    monkeypatch.setattr(Database, "_log_in_anew", lambda self: None)
    assert len((await ask_over(settings, postgres, 2)).users) == 1


async def test_look_at_the_records_needs_no_signing_key(settings: Settings, place: Place) -> None:
    place.delete(1)
    assert (await schema(settings)).is_served
    assert not [one for one in await check_records(settings) if one.severity == "problem"]
