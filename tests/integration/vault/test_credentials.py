"""Passwords that somebody rotates, and database users that live as long as their lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from deploy.local.postgres import DATABASE, Postgres
from deploy.local.vault import Vault
from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.adapters.cluster.vault.credentials import DatabaseCredentials, KvCredentials
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import keep_fresh
from syncbridge.secrets.rules import VaultRules
from tests.integration.vault.conftest import Place, set_life, until
from tests.integration.vault.test_logins import Onward


@pytest.fixture
async def client(vault: Vault, place: Place) -> AsyncIterator[VaultClient]:
    """Who may read every path."""
    opened = VaultClient(vault.url, place.rules, vault.token)
    yield opened
    opened.close()


async def test_password_that_is_rotated_in_vault_is_told_once(client: VaultClient, place: Place) -> None:
    source = KvCredentials(client, "redis", "secret", place.path, "default", 0.02)
    told: list[tuple[str, str]] = []
    source.watch(lambda: told.append((source.current().username, source.current().password)))
    place.shell("vault kv put -mount=secret harmonyflow/jwt password=canary-one")
    with capture_logs() as logs:
        await source.keep()
        await source.keep()
        keeping = asyncio.create_task(keep_fresh([source]))
        place.shell("vault kv put -mount=secret harmonyflow/jwt password=canary-two username=syncbridge")
        await until(lambda: len(told) == 2)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert told == [("default", "canary-one"), ("syncbridge", "canary-two")]
    assert "canary" not in f"{logs}{source.current()!r}"


async def test_secret_without_a_password_is_named_and_changes_nothing(client: VaultClient, place: Place) -> None:
    source = KvCredentials(client, "redis", "secret", place.path, "", 0.02)
    place.shell("vault kv put -mount=secret harmonyflow/jwt password=one")
    await source.keep()
    place.shell("vault kv put -mount=secret harmonyflow/jwt passwort=canary")
    with pytest.raises(SecretFault, match="has no text in its field password") as refused:
        await source.keep()
    assert "canary" not in str(refused.value)
    assert source.current().password == "one"


async def test_lease_is_renewed_before_it_is_replaced(vault: Vault, client: VaultClient, postgres: Postgres) -> None:
    """As far as this clock goes: it is moved on, and Vault's is not."""
    clock = Onward()
    set_life(vault, "60s", "1h")
    source = DatabaseCredentials(client, "database", "syncbridge", now_s=clock)
    await source.keep()
    user = source.current().username
    clock.ahead_s = 35.0
    assert 0 < await source.keep() <= 5  # not before two thirds of its life
    had_at_s = source.standing.had_at_s
    clock.ahead_s = 41.0
    await source.keep()
    assert source.standing.had_at_s != had_at_s
    assert source.current().username == user
    # Near the longest life that the role allows a renewal gives too little.
    set_life(vault, "20s", "20s")
    clock.ahead_s += 41.0
    await source.keep()
    assert source.current().username != user


async def test_new_log_in_gets_other_credentials_before_the_old_token_takes_its_own_along(
    vault: Vault, place: Place, postgres: Postgres
) -> None:
    made = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["syncbridge"], "ttl": "1h"})
    place.write("token", made["auth"]["client_token"])
    client = VaultClient(vault.url, place.rules_with(token_file=str(place.folder / "token")))
    set_life(vault, "1h", "1h")
    source = DatabaseCredentials(client, "database", "syncbridge")
    await source.keep()
    first = source.current()
    other = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["syncbridge"], "ttl": "1h"})
    place.write("token", other["auth"]["client_token"])
    vault.client().adapter.post("/v1/auth/token/revoke", json={"token": made["auth"]["client_token"]})
    await client.read("secret/metadata/harmonyflow/jwt")
    await source.keep()
    assert source.current() != first
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=postgres.port,
        user=source.current().username,
        password=source.current().password,
        database=DATABASE,
    )
    await connection.close()
    client.close()


async def test_vault_that_is_away_leaves_the_lease_in_force(own_vault: Vault) -> None:
    client = VaultClient(own_vault.url, VaultRules(timeout_ms=5_000), own_vault.token)
    api = own_vault.client().adapter
    api.post("/v1/sys/mounts/database", json={"type": "database"})
    source = KvCredentials(client, "redis", "secret", "redis", "", 0.02)
    api.post("/v1/secret/data/redis", json={"data": {"password": "held"}})
    await source.keep()
    own_vault.process.kill()
    with pytest.raises(SecretFault, match="nobody answers"):
        await source.keep()
    assert source.current().password == "held"
    client.close()
