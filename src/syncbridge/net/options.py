"""What the server is told at its start, with the reason for each default and the relations that must hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; `keyfile` None means that the key is in `certfile`."""

    certfile: Path
    keyfile: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Everything that `Server` needs to know; it reads no environment.

    With `tls`, the one port speaks TLS. With `tls` and `tls_port`, `port` stays plain and `tls_port` speaks TLS,
    in the same loop and with the same handlers. Port 0 is any free port; `Server.port` tells which.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls: TlsFiles | None = None
    tls_port: int | None = None
    backlog: int = 2048
    # who may come
    ws_path: str = "/v1/ws"
    test_echo: bool = False  # /v1/test/echo beside it, see syncbridge.net.echo; never where strangers come
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: frozenset[str] = frozenset()
    connections_max: int = 10_000
    handshakes_max: int = 512  # connections whose first request has not fully arrived; the oldest gives way
    # what a request may be
    head_bytes_max: int = 16 * 1024
    handshake_timeout_ms: int = 5_000
    request_timeout_ms: int = 30_000  # a body that dribbles in
    # what a socket may send
    message_bytes_max: int = 64 * 1024
    fragments_max: int = 16
    control_frames_per_second_max: int = 32  # a browser sends none, a library one in twenty seconds
    # what a socket may owe
    outlet_bytes_max: int = 256 * 1024
    outlet_low_bytes: int = 64 * 1024
    outlet_bytes_hard_max: int = 448 * 1024  # with the kernel's share still within half a MiB a device
    unsent_bytes_max: int = 64 * 1024  # in the kernel and not on the way; left alone, that grows to 4 MiB a device
    # time
    ping_interval_ms: int = 15_000
    idle_timeout_ms: int = 45_000  # three pings without a byte read
    close_timeout_ms: int = 2_000  # for the peer's half of the closing handshake
    shutdown_grace_ms: int = 10_000
    # memory
    read_buffer_bytes: int = 4 * 1024
    read_bytes_max: int = 32 * 1024  # taken from one socket at a time; also bounds the growth of its buffer

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {
            "outlet_low_bytes < outlet_bytes_max": self.outlet_low_bytes < self.outlet_bytes_max,
            "outlet_bytes_max < outlet_bytes_hard_max": self.outlet_bytes_max < self.outlet_bytes_hard_max,
            "idle_timeout_ms >= 2 * ping_interval_ms": self.idle_timeout_ms >= 2 * self.ping_interval_ms,
            "ws_path starts with / and has no query": self.ws_path.startswith("/") and "?" not in self.ws_path,
            "tls_port needs tls": self.tls_port is None or self.tls is not None,
            "connections_max and handshakes_max > 0": min(self.connections_max, self.handshakes_max) > 0,
            "allowed_origins are lower case": all(origin == origin.lower() for origin in self.allowed_origins),
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"server options contradict each other: {'; '.join(broken)}")
