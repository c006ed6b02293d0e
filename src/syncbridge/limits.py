"""Every limit of the service with its reason, the plans of accounts, and the relations that must hold.

Each is configurable (`syncbridge.config`), announced in ``welcome.limits`` where a device must know it, and
has an error of its own. Bounds come last in a name, units before them: ``message_bytes_max``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INTEGER_SAFE_MAX = 2**53 - 1
"""Largest integer a JSON peer in JavaScript can hold (RFC 7493, I-JSON, section 2.2)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults are for a phone-sized session; see docs/configuration.md for when to change one."""

    # one message
    message_bytes_max: int = 64 * 1024  # a change of a large field; a state has more room
    signal_bytes_max: int = 16 * 1024  # of a signal's data: told to all, many times a second
    message_depth_max: int = 40  # a state of depth_max inside an op inside a message
    ops_max: int = 128  # a patch is a change, not a document
    # one state
    state_bytes_max: int = 256 * 1024  # held in memory while the session lives, and written as snapshots
    state_depth_max: int = 32  # far above what people design, far below what recursion stands
    # one connection
    joins_max: int = 32  # sessions one connection follows
    inflight_max: int = 64  # unanswered pushes of a device; also how many settled ones a session remembers
    message_burst: int = 256  # messages that are no push: joining all sessions, measuring the clock, a cursor's signals
    message_refill_ms: int = 10  # then 100 a second: a cursor makes 60
    message_refusals_max: int = 20  # refused in a row, then the connection is closed with 4429
    hello_messages_max: int = 64  # said between `hello` and `welcome`: whoever pipelines its joins
    bad_messages_max: int = 20  # then the connection is closed with 4400
    hello_pending_max: int = 2_000  # sockets that are not let in yet; the oldest gives way (1013)
    hellos_at_once_max: int = 8  # looked at: each may wait for the database, whose connections are few
    hellos_waiting_max: int = 512  # for their turn: some seconds' worth; more are told when to come back (1013)
    # REST
    body_bytes_max: int = 16 * 1024  # of a request that carries no state; one with a state may have twice its limit
    settings_bytes_max: int = 16 * 1024  # a session's settings: in every listing
    requests_inflight_max: int = 512  # answered at once: each holds its body and its answer in memory
    address_request_burst: int = 120  # requests of one address without a good token: an office logs in behind one
    address_request_refill_ms: int = 250  # then 4 a second
    idempotency_key_ms: int = 86_400_000  # a phone that lost the answer asks again the same day
    idempotency_keys_max: int = 1_000  # of one account; for a new one, the one answered longest ago is forgotten
    idempotency_lease_ms: int = 60_000  # a request that a crash cut off holds its key so long
    # the log
    resume_entries_max: int = 1000  # further back, a snapshot is cheaper
    log_entries_kept_max: int = 1000  # in memory, for resume and rebase without a read
    checkpoint_entries: int = 32  # an old base's state is at most this many patches from a kept one
    txn_entries_max: int = 256  # committed at once; more waits for the next commit
    snapshot_entries_max: int = 256  # a commit this far past the last snapshot writes one
    queue_entries_max: int = 4096  # pushes waiting on one session while a commit is in flight
    retry_conflicts_max: int = 16  # lost races with other nodes before `unavailable`
    # time
    hello_timeout_ms: int = 10_000  # from the open socket to `hello`: a token may have to be fetched
    heartbeat_ms: int = 15_000  # often enough for the proxies and NATs that forget after 30 s
    idle_timeout_ms: int = 45_000  # three heartbeats without a byte read
    token_warning_ms: int = 60_000  # to fetch a new one before the old one ends
    handoff_ready_ms: int = 5_000  # an online target must be ready within
    handoff_offer_ms: int = 600_000  # an offer to an offline device waits
    handoff_offer_ms_max: int = 86_400_000  # an offer of yesterday surprises
    pairing_code_ms: int = 300_000  # to type it on the other device; 50 bits stand that long
    store_timeout_ms: int = 2_500  # then a request is answered `unavailable`: people wait no longer
    conflict_undo_ms: int = 7 * 86_400_000  # how long a losing value can be brought back by one call
    session_idle_unload_ms: int = 60_000  # nobody joined: leave memory, stay on disk
    progress_slack_ms: int = 1_500  # how far behind its own anchor a player's clock may honestly fall
    stall_ms_max: int = 30_000  # how long a player may have stood still before it says so
    seek_fresh_ms: int = 10_000  # a person's seek this young wins over progress that overtook it on the way
    retry_first_ms: int = 50  # an unknown outcome is asked again after this, doubling
    retry_last_ms: int = 1_000  # at most this, so that it ends soon after the store is back
    # playhead
    rate_max: float = 4.0  # nobody listens to anything faster

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {
            "state_bytes_max >= message_bytes_max": self.state_bytes_max >= self.message_bytes_max,
            "message_depth_max >= state_depth_max + 4": self.message_depth_max >= self.state_depth_max + 4,
            "idle_timeout_ms >= 2 * heartbeat_ms": self.idle_timeout_ms >= 2 * self.heartbeat_ms,
            "snapshot_entries_max <= log_entries_kept_max": self.snapshot_entries_max <= self.log_entries_kept_max,
            "resume_entries_max <= log_entries_kept_max": self.resume_entries_max <= self.log_entries_kept_max,
            "signal_bytes_max <= message_bytes_max": self.signal_bytes_max <= self.message_bytes_max,
            "inflight_max <= queue_entries_max": self.inflight_max <= self.queue_entries_max,
            "idempotency_keys_max >= requests_inflight_max": self.idempotency_keys_max >= self.requests_inflight_max,
            "idempotency_lease_ms > store_timeout_ms": self.idempotency_lease_ms > self.store_timeout_ms,
            "handoff_offer_ms <= handoff_offer_ms_max": self.handoff_offer_ms <= self.handoff_offer_ms_max,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"limits contradict each other: {'; '.join(broken)}")


@dataclass(frozen=True, slots=True)
class Retention:
    """Table ``[retention]`` of the configuration: how long what people leave here is kept, and how it goes."""

    live_ms: int = 7 * 86_400_000  # an active or paused session after its last change; how far back a history reaches
    completed_ms: int = 30 * 86_400_000  # a completed session after its last change: a month to look back
    archived_ms: int = 180 * 86_400_000  # an archived one: put away by a person, so to be found again
    snapshot_ms: int = 7 * 86_400_000  # a labelled snapshot, after it was made or its session last changed
    incident_ms: int = 30 * 86_400_000  # what befell a session: as long as somebody may ask why progress was lost
    receipt_ms: int = 3 * 365 * 86_400_000  # the receipt of an erasure: to show that it was done; nothing personal
    run_every_ms: int = 3_600_000  # what is past its time is gone at most this much later
    leap_ms: int = 2 * 86_400_000  # a clock further ahead of the last run than this is not believed at once
    leap_wait_ms: int = 86_400_000  # but when it has stood so long, or somebody runs the job by hand
    batch_max: int = 50  # rows and sessions removed in one step: between two steps live sessions are served

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        relations = {f"{name} > 0": getattr(self, name) > 0 for name in self.__slots__}
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"retention rules contradict each other: {'; '.join(broken)}")

    def session_ms(self, status: str) -> int:
        """How long a session in this status is kept after its last change."""
        return {"completed": self.completed_ms, "archived": self.archived_ms}.get(status, self.live_ms)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one account may have and how fast it may go: a table below ``[plans]``, named in the account's record.

    A rate is a token bucket: so many at once, and then one more each so many ms. The defaults are those of `standard`.
    """

    devices_max: int = 5  # five are a phone, a watch, a tablet, a television and a computer
    request_burst: int = 120  # REST requests at once: an app that opens many screens
    request_refill_ms: int = 100  # then one more; an app that follows over the socket asks seldom
    push_burst: int = 1_000  # a day's edits made offline are sent at once
    push_refill_ms: int = 10  # then one more; a finger on a slider makes 60 a second for a while

    def __post_init__(self) -> None:
        """Raises ValueError naming what is not above 0."""
        broken = [name for name in self.__slots__ if getattr(self, name) <= 0]
        if broken:
            raise ValueError(f"expected numbers above 0: {', '.join(broken)}")


SHIPPED_PLANS: Final[dict[str, Plan]] = {
    "free": Plan(devices_max=2, request_burst=60, request_refill_ms=500, push_burst=500, push_refill_ms=20),
    "standard": Plan(),
}
"""The plans that are there without a word in the configuration, which may change them and add others."""
