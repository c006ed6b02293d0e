"""The TLS certificate from Vault: issued, renewed at two thirds of its life, and nobody is dropped for it."""

from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import websockets

from deploy.local.vault import Vault
from syncbridge.adapters.cluster.vault.certificates import VaultCertificate
from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.app import Service
from syncbridge.net.options import TlsFiles
from syncbridge.net.renewal import CertificateKeeper
from syncbridge.net.server import Server
from syncbridge.net.tls import Identity, read_certificate
from syncbridge.secrets.faults import SecretFault
from tests.integration.vault.conftest import DEADLINE_S, Place
from tests.integration.vault.test_keys import Ahead
from tests.integration.vault.test_service import settings_for

HOUR_MS = 3_600_000
SOCKETS = 20


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


@dataclass
class Renewals:
    """What was seen from outside while Vault issued one certificate after the other."""

    shown: set[int] = field(default_factory=set)
    """The serial numbers that new connections were shown."""
    dropped: int = 0
    file: Path = Path()


async def watch_renewals(vault: Vault, place: Place, folder: Path, *, shown: int, issued_max: int = 40) -> Renewals:
    """Sockets stayed open while new ones came, until those had been shown so many certificates, or so many issued."""
    place.rotate()
    rules = place.rules_with(pki_role="syncbridge", pki_name="localhost", pki_alt_names="127.0.0.1", pki_ttl_s=10)
    authority = vault.client().adapter.get("/v1/pki/cert/ca")["data"]["certificate"]
    trust = ssl.create_default_context(cadata=authority)
    seen = Renewals()
    async with AsyncExitStack() as stack:
        settings = settings_for(place, folder, vault=rules, tls_port=0, test_echo=True)
        service = await stack.enter_async_context(Service.running(settings))
        address = f"wss://127.0.0.1:{service.server.tls_port}/v1/test/echo"
        before = [await stack.enter_async_context(websockets.connect(address, ssl=trust)) for _ in range(SOCKETS)]
        (certificate,) = [one for one in service.secrets.standings if one.name == "certificate"]
        async with asyncio.timeout(DEADLINE_S):
            while not seen.shown or (len(seen.shown) < shown and certificate.changes < issued_max):
                async with websockets.connect(address, ssl=trust) as fresh:
                    seen.shown.add(int(fresh.transport.get_extra_info("peercert")["serialNumber"], 16))
                    seen.dropped += not await answers(fresh)
        seen.dropped += sum([not await answers(one) for one in before])
        base = f"https://127.0.0.1:{service.server.tls_port}"
        async with httpx.AsyncClient(base_url=base, verify=trust, timeout=DEADLINE_S, trust_env=False) as http:
            assert (await http.get("/health/live")).status_code == 200
        assert service.secrets.certificate is not None
        seen.file = service.secrets.certificate
    return seen


async def answers(socket: websockets.ClientConnection) -> bool:
    """Whether it is as open as it was."""
    try:
        await socket.send("here")
        return await asyncio.wait_for(socket.recv(), DEADLINE_S) == "here"
    except websockets.ConnectionClosed:
        return False


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is renewed early in its life, long before a busy machine could see its end."""
    monkeypatch.setattr("syncbridge.app.CERTIFICATE_EVERY_MS", 10)
    monkeypatch.setattr("syncbridge.adapters.cluster.vault.certificates.RENEW_AT", 0.08)


async def test_renewed_certificate_is_shown_to_new_connections_and_drops_no_open_one(
    vault: Vault, place: Place, tmp_path: Path, soon: None
) -> None:
    seen = await watch_renewals(vault, place, tmp_path, shown=3)
    assert (len(seen.shown), seen.dropped) == (3, 0)
    assert not seen.file.exists()


async def test_renewal_that_is_not_taken_up_or_drops_sockets_would_be_seen(
    vault: Vault, place: Place, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutants: one is issued and stays in its file; one is shown, and whoever was connected is cut off."""
    with monkeypatch.context() as planted:
        planted.setattr(CertificateKeeper, "look", lambda self: None)
        seen = await watch_renewals(vault, place, tmp_path / "kept", shown=2, issued_max=3)
    assert (len(seen.shown), seen.dropped) == (1, 0)

    real = Server.show

    def show(self: Server, identity: Identity) -> None:
        real(self, identity)
        for socket in tuple(self.door.sockets):
            socket.abort()

    monkeypatch.setattr(Server, "show", show)
    seen = await watch_renewals(vault, place, tmp_path / "cut", shown=2)
    assert seen.dropped >= SOCKETS
