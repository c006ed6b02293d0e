"""A real server with Vault's API, set up as the deployment does it; a path of its own for each test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.local.postgres import DATABASE, USER, Postgres
from deploy.local.vault import Vault
from syncbridge.secrets.rules import VaultRules

ROOT = Path(__file__).resolve().parents[3]
BAO = Path(sys.executable).parent / "bao"
DEADLINE_S = 30.0


async def until(holds: Callable[[], bool]) -> None:
    """It holds now; asked again and again until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def environment(vault: Vault, folder: Path, **more: str) -> dict[str, str]:
    """What Vault's command line reads."""
    path = os.pathsep.join([str(BAO.parent), os.environ["PATH"]])
    named = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": vault.token, "BAO_ADDR": vault.url, "BAO_TOKEN": vault.token}
    return {"PATH": path, "HOME": str(folder), "VAULT": str(BAO), **named, **more}


def set_up(vault: Vault, folder: Path, **more: str) -> str:
    """`deploy/vault/setup.sh` ran; what it printed."""
    script = ROOT / "deploy/vault/setup.sh"
    ran = subprocess.run(
        [str(script)], env=environment(vault, folder, **more), capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


class Place:
    """A kv path of one test, and the operator who writes there by the very command of the handbook."""

    def __init__(self, vault: Vault, folder: Path) -> None:
        self.vault = vault
        self.folder = folder
        self.path = f"harmonyflow/jwt-{uuid.uuid4().hex}"
        self.rules = VaultRules(jwt_path=self.path, timeout_ms=2_000, start_wait_ms=1_000, poll_ms=50)

    def shell(self, command: str) -> str:
        """What the command printed; it must end with 0."""
        text = command.replace("vault ", "bao ", 1).replace("harmonyflow/jwt", self.path)
        ran = subprocess.run(
            ["sh", "-c", text], env=environment(self.vault, self.folder), capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def rotate(self) -> None:
        """Step 1 of the handbook's manual procedure."""
        self.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=$(openssl rand -base64 32)")

    def write(self, name: str, text: str | None) -> None:
        """The file in the test's folder holds this, or is gone."""
        file = self.folder / name
        file.unlink() if text is None else file.write_text(text)

    def delete(self, version: int) -> None:
        self.shell(f"vault kv delete -mount=secret -versions={version} harmonyflow/jwt")

    def rules_with(self, **changes: Any) -> VaultRules:
        return replace(self.rules, **changes)


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """One server of this run, with the deployment's policy and log-in, and certificates for example.com."""
    folder = tmp_path_factory.mktemp("vault")
    server = Vault(folder / "server")
    server.start()
    try:
        set_up(server, folder, PKI_DOMAIN="example.com", PKI_TTL="1h")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres(vault: Vault) -> Iterator[Postgres]:
    """A server whose users Vault makes, by the deployment's script."""
    # Not below pytest's own folder: each run that starts beside this one shuts that to other users.
    with tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as named:
        folder = Path(named)
        server = Postgres(folder)
        server.start()
        try:
            set_up(
                vault,
                folder,
                DATABASE_ADMIN_URL=f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{server.port}/{DATABASE}",
                DATABASE_ADMIN_USER=USER,
                DATABASE_ADMIN_PASSWORD=server.password,
            )
            yield server
        finally:
            server.stop()


def set_life(vault: Vault, ttl: str, max_ttl: str) -> None:
    """Users that are made from now on live so long, and with renewals so long at the most."""
    api = vault.client().adapter
    role = api.get("/v1/database/roles/syncbridge")["data"]
    api.post("/v1/database/roles/syncbridge", json={**role, "default_ttl": ttl, "max_ttl": max_ttl})


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[Vault]:
    """A server that this test may seal, freeze and kill."""
    server = Vault(tmp_path / "own-vault")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def place(vault: Vault, tmp_path: Path) -> Place:
    """A path with no key yet."""
    return Place(vault, tmp_path)
