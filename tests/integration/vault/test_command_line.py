"""What an operator types where the keys are kept elsewhere; no command shows one."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from deploy.local.vault import Vault
from tests.integration.vault.conftest import Place
from tests.unit.cli.test_cli import Run

KEY = base64.b64encode(hashlib.sha256(b"canary").digest()).decode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command in this process."""
    monkeypatch.delenv("JWT_SECRET", raising=False)
    return Run(monkeypatch, capsys, tmp_path / "data")


def test_keys_in_vault_are_listed_and_replaced_by_the_command_that_is_said(
    vault: Vault, place: Place, run: Run, tmp_path: Path
) -> None:
    made = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["root"], "ttl": "1h"})
    token = made["auth"]["client_token"]
    place.write("token", token)
    file = tmp_path / "syncbridge.toml"
    file.write_text(
        f'vault_addr = "{vault.url}"\n[vault]\njwt_path = "{place.path}"\ntoken_file = "{tmp_path / "token"}"\n'
    )
    place.shell(f"vault kv put -mount=secret harmonyflow/jwt signing_key={KEY}")
    place.rotate()
    code, listed, _ = run("keys", "list", "--json", "--config", str(file))
    assert code == 0
    rows = [(row["kid"].partition("-")[0], row["state"]) for row in json.loads(listed)]
    assert rows == [("v2", "next"), ("v1", "current")]
    code, out, told = run("keys", "rotate", "--now", "--config", str(file))
    assert (code, out) == (1, "")
    assert f"vault kv put -mount=secret {place.path} signing_key=$(openssl rand -base64 32)" in told
    assert f"vault kv delete -mount=secret -versions=OLD {place.path}" in told
    code, shown, _ = run("config", "--config", str(file))
    assert code == 0
    for text in (listed, told, shown):
        assert KEY not in text
        assert token not in text


@pytest.mark.parametrize("source", ["file", "variable"])
def test_keys_of_a_file_or_a_variable_are_listed_and_never_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source == "file":
        (tmp_path / "jwt").write_text(KEY)
        monkeypatch.setenv("SYNCBRIDGE_JWT_SECRET_FILE", str(tmp_path / "jwt"))
    else:
        monkeypatch.setenv("JWT_SECRET", KEY)
    code, listed, _ = run("keys", "list")
    assert (code, len(listed.splitlines())) == (0, 2)
    assert "current" in listed
    code, out, told = run("keys", "rotate")
    assert (code, out) == (1, "")
    assert "openssl rand -base64 32" in told
    code, shown, _ = run("config")
    assert code == 0
    assert "***" in shown or source == "file"
    assert KEY not in listed + told + shown


def test_weak_key_of_a_variable_is_refused_and_not_repeated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "canary-changeme")
    code, out, told = run("keys", "list")
    assert (code, out) == (1, "")
    assert "the signing key in JWT_SECRET is too weak; expected at least 256 random bits" in told
    assert "canary" not in told
