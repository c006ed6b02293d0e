"""What the server is told at its start, with the reason for each default and the relations that must hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from syncbridge.net.limits import NetLimits


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; `keyfile` None means that the key is in `certfile`."""

    certfile: Path
    keyfile: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerOptions(NetLimits):
    """Everything that `Server` needs to know beside the limits of a connection; it reads no environment.

    With `tls`, the one port speaks TLS. With `tls` and `tls_port`, `port` stays plain and `tls_port` speaks TLS,
    in the same loop and with the same handlers. Port 0 is any free port; `Server.port` tells which.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls: TlsFiles | None = None
    tls_port: int | None = None
    reuse_port: bool = False  # other processes listen there too, and the kernel deals connections out among them
    # who may come
    ws_path: str = "/v1/ws"
    test_echo: bool = False  # /v1/test/echo beside it, see syncbridge.net.echo; never where strangers come
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: frozenset[str] = frozenset()
    connections_max: int = 10_000
    # what a socket may send
    message_bytes_max: int = 64 * 1024
    # time
    ping_interval_ms: int = 15_000
    idle_timeout_ms: int = 45_000  # three pings without a byte read

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        NetLimits.__post_init__(self)  # `super()` finds no class in one that was made anew for its slots
        relations = {
            "idle_timeout_ms >= 2 * ping_interval_ms": self.idle_timeout_ms >= 2 * self.ping_interval_ms,
            "ws_path starts with / and has no query": self.ws_path.startswith("/") and "?" not in self.ws_path,
            "tls_port needs tls": self.tls_port is None or self.tls is not None,
            "connections_max > 0": self.connections_max > 0,
            "allowed_origins are lower case": all(origin == origin.lower() for origin in self.allowed_origins),
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"server options contradict each other: {'; '.join(broken)}")
