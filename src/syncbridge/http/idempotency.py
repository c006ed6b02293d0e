"""`Idempotency-Key`: a request that is sent again because its answer was lost makes nothing twice.

After draft-ietf-httpapi-idempotency-key-header. A route takes part by naming the header among its parameters. The key
is the account's; with it are kept the digest of the request (who, method, address, body) and the answer. Only an answer
that would be the same again is kept: not "later", and not an error of ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import structlog
from fastapi import Header, Request
from fastapi.responses import Response
from msgspec import json

from syncbridge.auth import Claims
from syncbridge.errors import ClientFault, IdempotencyInProgress, NotFound, SyncBridgeError, ValidationFailed
from syncbridge.http.context import Context, context_of
from syncbridge.http.problems import Refused, answer, request_id
from syncbridge.records import Claim, KeptAnswer

HEADER: Final = "Idempotency-Key"
PARAMETER: Final = "idempotency_key"
REPLAYED: Final = "Idempotency-Replayed"
BODY_BYTES_MAX: Final = 64 * 1024
"""A longer answer is not kept. Only an undo of very long values has one, and sent again it changes nothing anyway."""

_KEY = re.compile(r"[\x20-\x7e]{1,128}")
_KEPT_HEADERS: Final = ("content-type", "etag", "location", "syncbridge-hash")
_log = structlog.get_logger("syncbridge.http")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="A fresh id of the caller's, 1 to 128 printable ASCII characters, in quotes or not. The same "
        "request under the same key is answered as before, with `Idempotency-Replayed: true`, and makes nothing anew.",
    ),
]
"""The parameter by which a route takes part: ``idempotency_key: IdempotencyKey = None``."""


async def answered_once(request: Request, body: bytes, handle: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of ``handle``, or the one that this request got before. Without the header, or a good token, as it is.

    Raises   ValidationFailed for a bad key, TokenRevoked, IdempotencyKeyReused, Refused with IdempotencyInProgress,
             Unavailable.
    """
    key = _key_of(request)
    claims: Claims | None = getattr(request.state, "claims", None)
    if key is None or claims is None:
        return await handle()
    context = context_of(request)
    context.authority.require_good(claims)  # the body may have taken its time, and a kept answer asks nobody else
    limits, now_ms = context.settings.limits, context.clock.now_ms()
    try:
        found = await context.records.idempotency.claim(
            claims.account,
            key,
            _digest(request, claims, body),
            now_ms=now_ms,
            until_ms=now_ms + limits.idempotency_lease_ms,
            keys_max=limits.idempotency_keys_max,
        )
    except IdempotencyInProgress as error:
        raise Refused(error, headers={"Retry-After": "1"}) from error
    except NotFound:
        return await handle()  # the account is gone: the resource says so
    if isinstance(found, KeptAnswer):
        context.telemetry.measured("idempotency_replay", 1)
        return Response(found.body, found.status, {**found.headers, REPLAYED: "true"})
    if found.forgotten:
        context.telemetry.measured("limit_hit", 1, "idempotency_keys_max")
    return await _first(request, context, found, handle)


async def _first(
    request: Request, context: Context, claim: Claim, handle: Callable[[], Awaitable[Response]]
) -> Response:
    try:
        response = await _judged(request, handle)
    except Exception:
        await _settle(context, claim, None)
        raise
    # Cut off in between (a kill, a cancellation), the claim runs out by itself: nobody knows what was made.
    body = bytes(response.body) if hasattr(response, "body") else None
    if body is None or len(body) > BODY_BYTES_MAX:
        await _settle(context, claim, None)
        return response
    headers = {name: value for name in _KEPT_HEADERS if (value := response.headers.get(name)) is not None}
    await _settle(context, claim, KeptAnswer(response.status_code, headers, body))
    return response


async def _judged(request: Request, handle: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, refusals that the same request would get again included. Raises every other."""
    try:
        return await handle()
    except (Refused, SyncBridgeError) as error:
        refused = error if isinstance(error, Refused) else Refused(error)
        fault = refused.error
        is_final = isinstance(fault, ClientFault) and fault.retry in ("never", "resync") and fault.http_status != 401
        if not is_final:
            raise
        return answer(refused, request_id(request))


async def _settle(context: Context, claim: Claim, kept: KeptAnswer | None) -> None:
    keys = context.records.idempotency
    try:
        if kept is None:
            await keys.release(claim)
        else:
            await keys.keep(claim, kept, context.clock.now_ms() + context.settings.limits.idempotency_key_ms)
    except SyncBridgeError as fault:
        # What was made stays made, and its answer goes out; a repeat is told to wait until the claim runs out.
        _log.warning("an idempotency key stays claimed", account=claim.account, code=fault.code)


def _key_of(request: Request) -> str | None:
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    key = values[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':  # the draft's own form, a string of RFC 8941
        key = key[1:-1]
    if len(values) > 1 or not _KEY.fullmatch(key):
        raise ValidationFailed(f"header.{HEADER}: expected one, of 1 to 128 printable ASCII characters")
    return key


def _digest(request: Request, claims: Claims, body: bytes) -> bytes:
    """What makes it the same request. Who asks belongs to it: nobody gets an answer that was given to another."""
    head = (
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("if-match", ""),
        claims.device,
        claims.session,
    )
    return hashlib.sha256(json.encode(head) + body).digest()
