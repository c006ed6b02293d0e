"""Before every request: how many are answered at once, and how fast one account or one address may ask."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncbridge.auth import Claims
from syncbridge.errors import Busy, SyncBridgeError
from syncbridge.http.context import Context, context_of, network_of_request
from syncbridge.http.problems import Refused, answer, request_id
from syncbridge.http.rates import rate_headers, refused
from syncbridge.rates import Bucket, Buckets, Rate

_SCHEME: Final = "bearer "


class RequestGate:
    """ASGI middleware between the envelope and the resources.

    Who       a good token's account, at the rate of its plan; anybody else the address, IPv6 by its /64.
    Headers   X-RateLimit-Limit, -Remaining and -Reset on every answer, refusals and errors too.
    Free      health and metrics: whoever watches over us must never be told to come back later.
    Bounded   `requests_inflight_max` requests at once, and two tables of buckets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._accounts = Buckets()
        self._addresses = Buckets()
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, refused or passed on."""
        if scope["type"] != "http" or _is_free(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        context = context_of(request)
        if self._in_flight >= context.settings.limits.requests_inflight_max:
            context.telemetry.measured("limit_hit", 1, "requests_inflight_max")
            busy = Refused(Busy("Too many requests are being answered; ask again in a moment."))
            await answer(busy, request_id(request))(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._rated(request, context, scope, receive, send)
        finally:
            self._in_flight -= 1

    async def _rated(self, request: Request, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        claims = await _claims_of(request, context)
        request.state.claims = claims
        bucket, rate, limit = await self._bucket(request, context, claims)
        now_ms = context.clock.now_ms()
        is_taken = bucket.take(rate, now_ms)
        extra = rate_headers(bucket, rate, now_ms)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        if is_taken:
            await self._app(scope, receive, send_on)
            return
        context.telemetry.measured("limit_hit", 1, limit)
        await answer(refused(bucket.wait_ms(rate, now_ms)), request_id(request))(scope, receive, send_on)

    async def _bucket(self, request: Request, context: Context, claims: Claims | None) -> tuple[Bucket, Rate, str]:
        if claims is None:
            limits = context.settings.limits
            rate = Rate(limits.address_request_burst, limits.address_request_refill_ms)
            return self._addresses.of(network_of_request(request)), rate, "address_request_burst"
        plan = context.authority.plans.of("")
        with suppress(SyncBridgeError):  # the records are away: the resource says so itself, where it needs them
            plan = context.authority.rosters.plan(await context.authority.rosters.get(claims.account))
        return self._accounts.of(claims.account), Rate(plan.request_burst, plan.request_refill_ms), "request_burst"


async def _claims_of(request: Request, context: Context) -> Claims | None:
    """Who asks; None where the token is missing or bad, which the resource answers, if it minds."""
    credentials = request.headers.get("authorization", "")
    if credentials[: len(_SCHEME)].lower() != _SCHEME:
        return None
    try:
        return await context.authority.identify(credentials[len(_SCHEME) :].strip())
    except SyncBridgeError:
        return None


def _is_free(path: str) -> bool:
    return path in ("/health", "/metrics") or path.startswith("/health/")
