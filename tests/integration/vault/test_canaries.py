"""No secret from outside in logs of every severity, figures, health or commands; and what the page says is typed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from pydantic import SecretStr

from deploy.local.vault import Vault
from syncbridge.app import Service
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import Standing
from syncbridge.telemetry import configure_logging
from tests.integration.vault.conftest import ROOT, Place, until
from tests.integration.vault.test_service import settings_for


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Logging as it was before, after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def told_by_a_run(
    vault: Vault, place: Place, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], str]:
    """(every secret that the service held, everything that it told)."""
    made = vault.client().adapter.post("/v1/auth/token/create", json={"policies": ["root"], "ttl": "1h"})
    token = str(made["auth"]["client_token"])
    place.rotate()
    rules = place.rules_with(pki_role="syncbridge", pki_name="localhost")
    settings = settings_for(place, folder, vault=rules, vault_token=SecretStr(token), tls_port=0).model_copy(
        update={"log_level": "debug"}
    )
    configure_logging("debug", "json")
    async with Service.running(settings) as service:
        place.shell("vault kv put -mount=secret harmonyflow/jwt signing_key=changeme-canary")
        await until(lambda: service.secrets.standings[0].failures["weak"] > 0)
        vault.client().adapter.post("/v1/auth/token/revoke", json={"token": token})
        await until(lambda: any(one.failures["log_in"] for one in service.secrets.standings))
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
            pages = [(await http.get(path)).text for path in ("/metrics", "/health", "/v1/ws?token=x")]
        keys = [key.secret.decode() for key, _ in service.authority.ring.states()]
        assert service.secrets.certificate is not None
        private = service.secrets.certificate.read_text("ascii").splitlines()[1]
        shown = f"{service.secrets!r}{settings!r}{service.authority.ring.states()!r}"
    out, err = capsys.readouterr()
    assert "a new signing key cannot be used" in out + err
    return [*keys, token, "changeme-canary", private], "\n".join([*pages, shown, out, err])


async def test_no_secret_is_told(
    vault: Vault, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], own_logging: None
) -> None:
    secrets, told = await told_by_a_run(vault, place, tmp_path, capsys)
    assert len(secrets) >= 4
    assert [secret[:4] for secret in secrets if secret in told] == []


async def test_log_line_that_tells_a_key_is_seen(
    vault: Vault,
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    own_logging: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutant: a fault that repeats what it refuses."""
    real = Standing.failed

    def failed(self: Standing, fault: SecretFault) -> None:
        structlog.get_logger("syncbridge").warning("refused", what="changeme-canary")
        real(self, fault)

    monkeypatch.setattr(Standing, "failed", failed)
    secrets, told = await told_by_a_run(vault, place, tmp_path, capsys)
    assert [secret for secret in secrets if secret in told] == ["changeme-canary"]


def test_commands_of_the_page_are_those_that_rotate_and_retire(place: Place) -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    lines = re.findall(r"^vault .+$", text, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        place.shell(line)
    versions = place.vault.client().adapter.get(f"/v1/secret/metadata/{place.path}")["data"]["versions"]
    assert [number for number, one in versions.items() if one["deletion_time"]] == ["1"]
    assert len(versions) == 2
