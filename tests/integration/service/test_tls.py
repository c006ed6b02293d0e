"""TLS of the whole service: both ports, a certificate that is replaced, and what operators see of it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import trustme
import websockets

from syncbridge.app import Service
from syncbridge.config import Settings
from tests.integration.service.conftest import DEADLINE_S


class Files:
    """A certificate and its key, as files that an authority renews."""

    def __init__(self, folder: Path) -> None:
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self._authority = trustme.CA()
        self.trust = ssl.create_default_context()
        self._authority.configure_trust(self.trust)
        self.renew()

    def renew(self) -> None:
        issued = self._authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.chain.write_bytes(issued.cert_chain_pems[0].bytes())


@pytest.fixture
async def secure(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> tuple[Service, Files, httpx.AsyncClient]:
    """A service with a plain and a TLS port that looks at its files often, and a client of its TLS port."""
    monkeypatch.setattr("syncbridge.app.CERTIFICATE_EVERY_MS", 10)
    files = Files(tmp_path)
    settings = Settings(
        port=0, tls_port=0, tls_certificate=files.chain, tls_key=files.key, data_dir=tmp_path / "data", test_echo=True
    )
    service = await stack.enter_async_context(Service.running(settings))
    base = f"https://127.0.0.1:{service.server.tls_port}"
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=base, verify=files.trust, timeout=DEADLINE_S))
    return service, files, http


def figure(page: str, name: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_certificate_that_is_replaced_is_served_and_told(
    secure: tuple[Service, Files, httpx.AsyncClient],
) -> None:
    service, files, http = secure
    identity = service.server.identity
    assert identity is not None
    page = (await http.get("/metrics")).text
    ends_s = identity.certificate.not_after_ms / 1000
    assert figure(page, "tls_certificate_expiry_timestamp_seconds") == ends_s
    address = f"wss://127.0.0.1:{service.server.tls_port}/v1/test/echo"
    async with websockets.connect(address, ssl=files.trust) as before:
        files.renew()
        async with asyncio.timeout(DEADLINE_S):
            while figure(page, 'tls_reloads_total{outcome="reloaded"}') == 0:
                page = (await http.get("/metrics")).text
        assert service.server.identity is not identity
        async with websockets.connect(address, ssl=files.trust) as after:
            await after.send(b"new")
            assert await after.recv() == b"new"
        await before.send("old")
        assert await before.recv() == "old"


async def test_both_ports_serve_the_same_service(secure: tuple[Service, Files, httpx.AsyncClient]) -> None:
    service, _, http = secure
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.server.port}", timeout=DEADLINE_S) as plain:
        assert (await plain.get("/health/live")).status_code == (await http.get("/health/live")).status_code == 200


async def test_echo_of_a_service_that_was_not_asked_for_it_is_not_found(service: Service) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.server.port}", timeout=DEADLINE_S) as http:
        answer = await http.get("/v1/test/echo", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
