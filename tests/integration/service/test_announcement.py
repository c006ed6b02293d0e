"""What a service says at its start: lines for a person, one event for a machine, and every address that it has."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from syncbridge import __version__
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.serving import announce, places_of


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A chain with its key, in one file."""
    path = tmp_path / "both.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


async def test_a_machine_gets_every_address_as_a_field_of_one_event(tmp_path: Path, certificate: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(port=0, tls_port=0, tls_certificate=certificate, metrics_port=0, data_dir=data)
    async with Service.running(settings) as service:
        port, tls = service.server.port, service.server.tls_port
        with capture_logs() as logged:
            announce(places_of(settings, port, tls, service.metrics_port), for_people=False)
        metrics = service.metrics_port
    assert logged == [
        {
            "event": "SyncBridge is listening",
            "log_level": "info",
            "version": __version__,
            "rest": f"http://127.0.0.1:{port}/v1",
            "websocket": f"ws://127.0.0.1:{port}/v1/ws",
            "tls": f"https://127.0.0.1:{tls}/v1",
            "api_page": f"http://127.0.0.1:{port}/docs",
            "metrics": f"http://127.0.0.1:{metrics}/metrics",
            "data_dir": str(data),
        }
    ]


async def test_a_person_gets_a_line_each_and_the_command_that_makes_an_account(tmp_path: Path) -> None:
    async with Service.running(Settings(port=0, data_dir=tmp_path)) as service:
        base = f"http://127.0.0.1:{service.server.port}"
        with capture_logs() as logged:
            announce(places_of(service.settings, service.server.port), for_people=True)
    lines = [str(one["event"]) for one in logged]
    assert lines[0] == "SyncBridge is listening"
    assert lines[1:-1] == [
        f"REST       {base}/v1",
        f"WebSocket  {base.replace('http', 'ws')}/v1/ws",
        f"API page   {base}/docs",
        f"Data       {tmp_path}",
    ]
    assert lines[-1].startswith("Account    ")
    assert lines[-1].endswith(f"account create you@example.com --url {base}")
