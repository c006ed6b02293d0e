"""The TLS certificate from Vault: issued, renewed at two thirds of its life, and nobody is dropped for it."""

from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import websockets

from deploy.local.vault import Vault
from syncbridge.adapters.cluster.vault.certificates import VaultCertificate
from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.app import Service
from syncbridge.net.options import TlsFiles
from syncbridge.net.tls import read_certificate
from syncbridge.secrets.faults import SecretFault
from tests.integration.vault.conftest import DEADLINE_S, Place, until
from tests.integration.vault.test_keys import Ahead
from tests.integration.vault.test_service import settings_for

HOUR_MS = 3_600_000


@pytest.fixture
async def client(vault: Vault, place: Place) -> AsyncIterator[VaultClient]:
    """Who may have certificates issued."""
    opened = VaultClient(vault.url, place.rules, vault.token)
    yield opened
    opened.close()


async def test_certificate_is_whole_for_us_alone_and_renewed_at_two_thirds_of_its_life(
    client: VaultClient, place: Place
) -> None:
    clock = Ahead()
    rules = place.rules_with(
        pki_role="syncbridge", pki_name="api.example.com", pki_alt_names="www.example.com, 127.0.0.1", pki_ttl_s=3600
    )
    kept = VaultCertificate(client, rules, clock)
    await kept.keep()
    first = read_certificate(TlsFiles(kept.file))
    assert set(first.names) == {"api.example.com", "www.example.com", "127.0.0.1"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kept.file)
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.file.parent.stat().st_mode) == 0o700
    clock.ms = HOUR_MS * 2 // 3 - 60_000
    await kept.keep()
    assert read_certificate(TlsFiles(kept.file)) == first
    clock.ms = HOUR_MS * 2 // 3 + 1_000
    await kept.keep()
    second = read_certificate(TlsFiles(kept.file))
    assert second.serial_number != first.serial_number
    assert kept.standing.lasts_s is not None
    kept.close()
    assert not kept.file.parent.exists()


async def test_name_that_the_role_does_not_allow_is_refused(client: VaultClient, place: Place) -> None:
    rules = place.rules_with(pki_role="syncbridge", pki_name="api.example.org")
    kept = VaultCertificate(client, rules, Ahead())
    with pytest.raises(SecretFault, match=r"pki/issue/syncbridge of Vault at .* refuses what it was sent \(400\)"):
        await kept.keep()
    kept.close()


async def test_renewed_certificate_is_shown_to_new_connections_and_drops_no_open_one(
    vault: Vault, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncbridge.app.CERTIFICATE_EVERY_MS", 10)
    place.rotate()
    rules = place.rules_with(pki_role="syncbridge", pki_name="localhost", pki_alt_names="127.0.0.1", pki_ttl_s=3)
    authority = vault.client().adapter.get("/v1/pki/cert/ca")["data"]["certificate"]
    trust = ssl.create_default_context(cadata=authority)
    async with AsyncExitStack() as stack:
        settings = settings_for(place, tmp_path, vault=rules, tls_port=0, test_echo=True)
        service = await stack.enter_async_context(Service.running(settings))
        address = f"wss://127.0.0.1:{service.server.tls_port}/v1/test/echo"
        before = await stack.enter_async_context(websockets.connect(address, ssl=trust))
        shown = set()

        def look() -> bool:
            assert service.server.identity is not None
            shown.add(service.server.identity.certificate.serial_number)
            return len(shown) >= 3

        await until(look)
        async with websockets.connect(address, ssl=trust) as after:
            await after.send("new")
            assert await after.recv() == "new"
        await before.send("old")
        assert await asyncio.wait_for(before.recv(), DEADLINE_S) == "old"
        base = f"https://127.0.0.1:{service.server.tls_port}"
        async with httpx.AsyncClient(base_url=base, verify=trust, timeout=DEADLINE_S, trust_env=False) as http:
            assert (await http.get("/health/live")).status_code == 200
        file = service.secrets.certificate
    assert file is not None
    assert not file.exists()
