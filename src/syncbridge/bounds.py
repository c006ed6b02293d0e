"""Every limit of the service in one table: what the peer gets who meets it, and what operators see.

The defaults and their reasons stand where the settings are declared (`limits`, `net.limits`, `auth.rules`); the table
of the docs is made of both. A test holds that every number of the configuration is in one of the two tables here, that
every code exists, and that every metric does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """Limits that are met together; ``keys`` with a ``*`` stand for every plan's, a bare name for what is fixed.

    ``code`` is the error's, "" where there is none; ``close`` the WebSocket close code, 0 where the connection stays.
    ``metric`` is a name of the metrics' table, with one of its labels where that tells this limit apart.
    """

    keys: tuple[str, ...]
    gets: str
    metric: str
    code: str = ""
    close: int = 0


def _hits(limit: str) -> str:
    return f'limit_hits_total{{limit="{limit}"}}'


def _errors(code: str) -> str:
    return f'websocket_connection_errors_total{{code="{code}"}}'


def _rejects(code: str) -> str:
    return f'rejects_total{{code="{code}"}}'


_STATUS = "http_requests_total"

BOUNDS: tuple[Bound, ...] = (
    # -- who may come -------------------------------------------------------------------------------------------
    Bound(("connections_max",), "no socket: 503 at the handshake", _errors("busy"), "busy"),
    Bound(("net.handshakes_max",), "the oldest is dropped", _errors("handshakes_max")),
    Bound(("net.handshake_timeout_ms", "net.request_timeout_ms"), "dropped", _errors("request_timeout")),
    Bound(("net.head_bytes_max",), "400, and the connection ends", _errors("bad_handshake")),
    Bound(("limits.hello_pending_max",), "the oldest is closed", _errors("busy"), "busy", 1013),
    Bound(("limits.hellos_waiting_max",), "closed, with a time to come back", _errors("busy"), "busy", 1013),
    Bound(("limits.hello_timeout_ms",), "closed", _errors("hello_timeout"), "hello_timeout", 4401),
    Bound(("limits.hello_messages_max",), "closed", _hits("hello_messages_max"), "bad_message", 4400),
    Bound(
        ("plans.*.devices_max",),
        "not registered; the devices are listed",
        _errors("device_limit"),
        "device_limit",
        4403,
    ),
    # -- how fast -----------------------------------------------------------------------------------------------
    Bound(
        ("plans.*.request_burst", "plans.*.request_refill_ms"),
        "429 with Retry-After",
        _hits("request_burst"),
        "rate_limited",
    ),
    Bound(
        ("limits.address_request_burst", "limits.address_request_refill_ms"),
        "429 with Retry-After",
        _hits("address_request_burst"),
        "rate_limited",
    ),
    Bound(("limits.requests_inflight_max",), "503 with Retry-After", _hits("requests_inflight_max"), "busy"),
    Bound(("auth.login_burst", "auth.login_refill_ms"), "429 with Retry-After", _hits("login_burst"), "rate_limited"),
    Bound(("auth.guess_burst", "auth.guess_refill_ms"), "429 with Retry-After", _hits("guess_burst"), "rate_limited"),
    Bound(("auth.argon2_waiting_max",), "429", _STATUS, "rate_limited"),
    Bound(
        ("plans.*.push_burst", "plans.*.push_refill_ms"),
        "`reject`, to be sent again after `retry_after_ms`",
        _hits("push_burst"),
        "rate_limited",
    ),
    Bound(
        ("limits.message_burst", "limits.message_refill_ms"),
        "`error`, not acted on",
        _hits("message_burst"),
        "rate_limited",
    ),
    Bound(("limits.message_refusals_max",), "closed", _hits("message_refusals_max"), "rate_limited", 4429),
    Bound(("net.control_frames_per_second_max",), "closed", _errors("rate_limited"), "rate_limited", 4429),
    # -- how large ----------------------------------------------------------------------------------------------
    Bound(
        ("limits.message_bytes_max", "net.fragments_max"),
        "closed",
        _errors("message_too_large"),
        "message_too_large",
        1009,
    ),
    Bound(("limits.message_depth_max",), "`error`; REST: 422 `depth_exceeded`", _STATUS, "bad_message"),
    Bound(("limits.bad_messages_max",), "closed", _errors("bad_message"), "bad_message", 4400),
    Bound(("limits.signal_bytes_max",), "`error`, not passed on", _hits("signal_bytes_max"), "message_too_large"),
    Bound(("limits.ops_max",), "`reject`", _rejects("bad_patch"), "bad_patch"),
    Bound(("limits.state_bytes_max",), "`reject`", _rejects("state_too_large"), "state_too_large"),
    Bound(("limits.state_depth_max",), "`reject`", _rejects("depth_exceeded"), "depth_exceeded"),
    Bound(("limits.body_bytes_max",), "413", _STATUS, "message_too_large"),
    Bound(("limits.settings_bytes_max",), "422", _hits("settings_bytes_max"), "validation_failed"),
    Bound(("auth.password_chars_min", "auth.password_chars_max"), "422", _STATUS, "validation_failed"),
    # -- how many -----------------------------------------------------------------------------------------------
    Bound(("limits.joins_max",), "`error`", _hits("joins_max"), "joins_exceeded"),
    Bound(
        ("limits.inflight_max",), "a repeat of an older push is not recognised", _rejects("seq_settled"), "seq_settled"
    ),
    Bound(("limits.queue_entries_max",), "`reject`, to be sent again", _hits("queue_entries_max"), "busy"),
    Bound(("limits.retry_conflicts_max",), "`reject`, to be sent again", "commit_retries_total", "unavailable"),
    Bound(("limits.resume_entries_max",), "a snapshot instead of entries", 'resumes_total{mode="behind"}'),
    Bound(("limits.log_entries_kept_max",), "`reject` with the state", _rejects("base_too_old"), "base_too_old"),
    Bound(("snapshots_max",), "409", _hits("snapshots_max"), "snapshots_exceeded"),
    Bound(("limits.idempotency_keys_max",), "the oldest answer is forgotten", _hits("idempotency_keys_max")),
    # -- what a slow reader may owe -----------------------------------------------------------------------------
    Bound(
        ("net.outlet_bytes_max", "net.outlet_low_bytes", "net.unsent_bytes_max"),
        "one catch-up instead of entries",
        'resumes_total{mode="slow"}',
    ),
    Bound(("net.outlet_bytes_hard_max", "limits.idle_timeout_ms"), "closed", _errors("too_slow"), "too_slow", 4408),
    # -- how long -----------------------------------------------------------------------------------------------
    Bound(("auth.access_token_ms",), "401; a socket is closed", _errors("token_expired"), "token_expired", 4401),
    Bound(("auth.refresh_token_ms",), "401", _STATUS, "token_expired"),
    Bound(("auth.outside_token_ms_max",), "401", _STATUS, "token_invalid"),
    Bound(("auth.fresh_login_ms",), "403: the password is asked for", _STATUS, "proof_required"),
    Bound(("limits.conflict_undo_ms",), "410", _STATUS, "conflict_expired"),
    Bound(("limits.pairing_code_ms",), "the code is refused", _STATUS, "code_invalid"),
    Bound(
        ("limits.handoff_ready_ms", "limits.handoff_offer_ms"),
        "`handoff.failed`, the source runs on",
        'cross_device_handoffs_total{outcome="expired"}',
        "handoff_expired",
    ),
    Bound(("limits.handoff_offer_ms_max",), "422, `error`", _STATUS, "validation_failed"),
    Bound(("limits.store_timeout_ms",), "503, `reject`", _STATUS, "unavailable"),
    Bound(("limits.idempotency_key_ms",), "the request is judged anew", "idempotency_replays_total"),
    Bound(("limits.idempotency_lease_ms",), "409 until then", _STATUS, "idempotency_in_progress"),
    # -- what a player may say ----------------------------------------------------------------------------------
    Bound(("limits.rate_max",), "`reject`", _rejects("playhead_intent"), "playhead_intent"),
    Bound(
        ("limits.progress_slack_ms", "limits.stall_ms_max", "limits.seek_fresh_ms"),
        "`reject` with the true position",
        _rejects("stale_position"),
        "stale_position",
    ),
)

RHYTHMS: dict[str, str] = {
    "port": "an address",
    "tls_port": "an address",
    "database_pool_size": "requests wait for a connection",
    "workers": "the operator's choice",
    "limits.hellos_at_once_max": "the others wait",
    "limits.checkpoint_entries": "how often",
    "limits.txn_entries_max": "the rest goes with the next commit",
    "limits.snapshot_entries_max": "how often",
    "limits.heartbeat_ms": "how often",
    "limits.token_warning_ms": "how early",
    "limits.session_idle_unload_ms": "how soon",
    "limits.retry_first_ms": "how soon",
    "limits.retry_last_ms": "how often",
    "net.backlog": "the kernel's queue",
    "net.close_timeout_ms": "how long an ending may take",
    "net.shutdown_grace_ms": "how long an ending may take",
    "net.read_buffer_bytes": "memory of an idle connection; the rest waits in the kernel",
    "net.read_bytes_max": "how much at a time; the rest waits in the kernel",
    "otel_sample_ratio": "how many",
    "auth.key_rotate_ms": "how often",
    "auth.key_lead_ms": "how early",
    "auth.key_refresh_ms": "how often",
    "auth.jwks_age_ms": "how often",
    "auth.jwks_stale_ms": "how long an old key set serves where no new one is to be had",
    "auth.jwks_timeout_ms": "how long a fetch may take",
    "auth.argon2_time_cost": "the price of a guess",
    "auth.argon2_memory_kib": "the price of a guess",
    "auth.argon2_parallelism": "the price of a guess",
    "vault.timeout_ms": "how long a question may take",
    "vault.start_wait_ms": "how long a start waits",
    "vault.poll_ms": "how often",
    "vault.pki_ttl_s": "how long a certificate lasts",
}
"""Numbers of the configuration that refuse nobody anything, and what they are instead."""

KEPT_TIMES = "retention."
"""Below this the numbers say how long things are kept; what is past its time is `not_found`."""

FIXED: dict[str, str] = {
    "ids of devices, sessions, handoffs": "64 characters of A-Z a-z 0-9 . _ : -",
    "names, platforms, capabilities of a device": "100 characters each, 32 capabilities",
    "titles": "200 characters",
    "labels of snapshots": "100 characters",
    "tokens": "8,192 characters",
    "marks (`ref`) and epochs": "64 characters",
    "Idempotency-Key": "128 characters",
    "e-mail addresses": "254 characters (RFC 5321 section 4.5.3.1)",
    "a page of a listing": "100 items",
    "numbers": "integers up to 2^53 - 1 (RFC 7493 section 2.2)",
}
"""Parts of the format, the same everywhere: a client in the field cannot learn of another value. `bad_message`, 422."""


def of(key: str) -> Bound | None:
    """The row of a setting."""
    if key.startswith("plans."):
        key = f"plans.*.{key.rpartition('.')[2]}"
    return next((bound for bound in BOUNDS if key in bound.keys), None)
