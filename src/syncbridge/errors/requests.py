"""Conditions and rates of requests."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class PreconditionFailed(ClientFault):
    code = "precondition_failed"
    http_status = 412
    retry = "resync"
    meaning = "The resource changed since the version in If-Match."


class PreconditionRequired(ClientFault):
    code = "precondition_required"
    http_status = 428
    meaning = "This change needs If-Match with the version it was made from."


class SnapshotsExceeded(ClientFault):
    code = "snapshots_exceeded"
    http_status = 409
    meaning = "The session has its full number of labelled snapshots; delete one to make room."


class IdempotencyInProgress(ClientFault):
    code = "idempotency_in_progress"
    http_status = 409
    retry = "later"
    meaning = "The first request under this Idempotency-Key is not answered yet; ask again in a moment."


class IdempotencyKeyReused(ClientFault):
    code = "idempotency_key_reused"
    http_status = 422
    meaning = "This Idempotency-Key was used for another request; a new request needs a new key."


class RateLimited(ClientFault):
    code = "rate_limited"
    http_status = 429
    close_code = 4429
    retry = "later"
    meaning = "Too many requests; wait as long as the answer says."


class TooSlow(ClientFault):
    code = "too_slow"
    close_code = 4408
    retry = "later"
    meaning = "The device reads nothing; reconnect and resume."
