"""Server options that contradict each other are found at the start, by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from syncbridge.net.options import ServerOptions, TlsFiles


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"outlet_low_bytes": 300_000}, "outlet_low_bytes < outlet_bytes_max"),
        ({"outlet_bytes_max": 500_000}, "outlet_bytes_max < outlet_bytes_hard_max"),
        ({"idle_timeout_ms": 20_000}, "idle_timeout_ms >= 2 * ping_interval_ms"),
        ({"ws_path": "v1/ws"}, "ws_path"),
        ({"ws_path": "/v1/ws?"}, "ws_path"),
        ({"tls_port": 8443}, "tls_port needs tls"),
        ({"connections_max": 0}, "connections_max"),
        ({"allowed_origins": frozenset({"https://App.example.com"})}, "allowed_origins"),
    ],
)
def test_contradiction_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        ServerOptions(**options)


def test_defaults_and_a_second_tls_port_are_consistent() -> None:
    options = ServerOptions(tls=TlsFiles(Path("certificate.pem")), tls_port=8443)
    # A device's whole share: the queue, and a message's fragments or its frame in the read buffer.
    assert options.outlet_bytes_hard_max + options.message_bytes_max <= 512 * 1024
