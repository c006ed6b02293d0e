"""Table ``[net]`` of the configuration: what one connection may cost before and below its messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetLimits:
    """Each with its reason; `ServerOptions` has them all, and what else a server is told."""

    backlog: int = 2048  # connections that the kernel holds until they are accepted; capped by net.core.somaxconn
    # what a request may be
    handshakes_max: int = 512  # connections whose first request has not fully arrived; the oldest gives way
    head_bytes_max: int = 16 * 1024  # a request's line and headers: browsers with many cookies send 8 KiB
    handshake_timeout_ms: int = 5_000  # a head, or a TLS handshake, that dribbles in
    request_timeout_ms: int = 30_000  # a body that dribbles in
    # what a socket may send
    fragments_max: int = 16  # of one message; browsers do not fragment, proxies do it by a few
    control_frames_per_second_max: int = 32  # a browser sends none, a library one in twenty seconds
    # what a socket may owe
    outlet_bytes_max: int = 256 * 1024  # waiting for a slow reader; then its entries become one catch-up
    outlet_low_bytes: int = 64 * 1024  # below this the catch-up comes
    outlet_bytes_hard_max: int = 448 * 1024  # with the kernel's share still within half a MiB a device
    unsent_bytes_max: int = 64 * 1024  # in the kernel and not on the way; left alone, that grows to 4 MiB a device
    # time
    close_timeout_ms: int = 2_000  # for the peer's half of the closing handshake
    shutdown_grace_ms: int = 5_000  # for requests under way when the service stops
    # memory
    read_buffer_bytes: int = 4 * 1024  # of an idle connection: with it one costs about 16 KiB
    read_bytes_max: int = 32 * 1024  # taken from one socket at a time; also bounds the growth of its buffer

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {f"{name} > 0": getattr(self, name) > 0 for name in NetLimits.__slots__} | {
            "outlet_low_bytes < outlet_bytes_max": self.outlet_low_bytes < self.outlet_bytes_max,
            "outlet_bytes_max < outlet_bytes_hard_max": self.outlet_bytes_max < self.outlet_bytes_hard_max,
            "read_buffer_bytes <= read_bytes_max": self.read_buffer_bytes <= self.read_bytes_max,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"limits of connections contradict each other: {'; '.join(broken)}")
