"""What the link to Redis goes by, and what it counts."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from syncbridge.adapters.cluster.link.replies import Failure

WAITS_MAX = 2  # one is waited for, and the next is in the server's buffer: it never stands idle for a trip


class Rules(Struct, frozen=True):
    """Times and bounds of a link; see `link.RedisLink.open`."""

    frozen_ms: int = 1_250  # an answer so late never comes: half of the time after which people are refused
    retry_ms: int = 2_000  # from the call to `unavailable`, while the server refuses for a time or is not there
    wait_ms: int = 400  # for the replicas; three waits in a row are within `frozen_ms`
    connect_ms: int = 1_000  # from the first SYN to the end of the greeting
    look_ms: int = 1_000  # between two looks at a server: its role, its replicas, whether it lives
    layout_ms: int = 5_000  # between two looks at who has which slot, when nothing seems wrong
    replica_grace_ms: int = 3_000  # after the last replica left: it may come back; then commits go on without one
    pipes: int = (
        1  # connections a server for calls: more split the batches, and gave no rate (bench/test_redis_link.py)
    )
    calls_max: int = 8_192  # on one pipe, unanswered
    call_bytes_max: int = 32 * 1024 * 1024  # of these, in bytes
    parked_max: int = 16_384  # calls of slots that have no server now, all together
    parked_bytes_max: int = 64 * 1024 * 1024  # of these, in bytes

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {
            "(WAITS_MAX + 1) * wait_ms <= frozen_ms": (WAITS_MAX + 1) * self.wait_ms <= self.frozen_ms,
            "frozen_ms <= retry_ms": self.frozen_ms <= self.retry_ms,
            "pipes >= 1": self.pipes >= 1,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"rules of the Redis link contradict each other: {'; '.join(broken)}")


class Figures(Struct):
    """What the link did since it began; read by whoever shows it."""

    calls: int = 0
    writes: int = 0  # batches, each one write to a socket
    reconnects: int = 0
    redirects: int = 0  # MOVED and ASK
    retries: int = 0  # calls that went out again, for whatever reason
    timeouts: int = 0  # connections given up because nothing was answered
    short_waits: int = 0  # batches whose replicas did not answer in time
    unknown: int = 0
    unavailable: int = 0
    refused: int = 0

    def failed(self, kind: Literal["unknown", "unavailable", "refused"], text: str) -> Failure:
        """The failure, counted."""
        setattr(self, kind, getattr(self, kind) + 1)
        return Failure(kind, text)
