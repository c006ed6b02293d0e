"""The doctor's view of secrets from outside, and of the deployment's policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local.vault import Vault
from syncbridge.config import Settings
from syncbridge.doctor.secrets import check_secrets, needed
from syncbridge.secrets.rules import VaultRules
from tests.integration.vault.conftest import ROOT, Place
from tests.integration.vault.test_service import settings_for


async def found(settings: Settings) -> list[str]:
    """Each finding as "severity check: what"."""
    return [f"{one.severity} {one.check}: {one.found}" for one in await check_secrets(settings)]


def policy_token(vault: Vault, *policies: str) -> SecretStr:
    made = vault.client().adapter.post("/v1/auth/token/create", json={"policies": list(policies), "ttl": "1h"})
    return SecretStr(made["auth"]["client_token"])


async def test_all_is_well_with_the_policy_of_the_deployment(vault: Vault, place: Place, tmp_path: Path) -> None:
    rules = VaultRules(database_role="syncbridge", pki_role="syncbridge", pki_name="example.com")
    url = SecretStr("postgresql+asyncpg://db/harmonyflow")
    settings = settings_for(
        place, tmp_path, vault=rules, vault_token=policy_token(vault, "syncbridge"), database_url=url
    )
    said = await found(settings)
    assert [line.split(":")[0] for line in said] == ["ok vault", "ok vault", "ok keys"]
    assert "the policy allows the 5 paths" in said[1]


async def test_what_the_policy_lacks_is_named_path_by_path(vault: Vault, place: Place, tmp_path: Path) -> None:
    settings = settings_for(place, tmp_path, vault_token=policy_token(vault, "default"))
    said = await found(settings)
    assert f"problem vault: the policy does not allow to read secret/data/{place.path}" in said
    assert f"problem vault: the policy does not allow to read secret/metadata/{place.path}" in said


async def test_root_token_a_weak_version_and_a_closed_door_are_told(vault: Vault, place: Place, tmp_path: Path) -> None:
    place.rotate()
    place.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=changeme")
    said = await found(settings_for(place, tmp_path))
    assert said[0].endswith("the token never ends")
    assert any("version 2, field signing_key is too weak" in line for line in said)
    assert any(line.startswith("ok keys: key v1-") for line in said)
    away = settings_for(place, tmp_path, vault_addr="http://127.0.0.1:1")
    assert await found(away) == ["problem vault: nobody answers for Vault at http://127.0.0.1:1"]


async def test_files_and_variables_are_judged(tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    file.write_text("changeme")
    assert "too weak" in (await found(Settings(jwt_secret_file=file)))[0]
    file.write_text("0123456789abcdef" * 4)
    file.chmod(0o644)
    said = await found(Settings(jwt_secret_file=file))
    assert said == [f"warning secrets: {file} has mode 0644", f"ok secrets: jwt_secret_file: {file} can be read"]
    assert "too weak" in (await found(Settings(jwt_secret=SecretStr("changeme"))))[0]
    assert (await found(Settings(jwt_secret=SecretStr("0123456789abcdef" * 4))))[0].startswith("ok secrets")
    assert await found(Settings()) == []


@pytest.mark.parametrize(
    "path",
    sorted(
        needed(
            VaultRules(
                redis_path="harmonyflow/redis",
                amqp_path="harmonyflow/rabbitmq",
                database_role="syncbridge",
                pki_role="syncbridge",
                pki_name="n",
            )
        )
    ),
)
def test_policy_of_the_deployment_names_every_path(path: str) -> None:
    assert f'path "{path}"' in (ROOT / "deploy/vault/policy.hcl").read_text("utf-8")
