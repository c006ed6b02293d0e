"""The REST service as one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware

from syncbridge import __version__
from syncbridge.auth import Authority
from syncbridge.core.session_types import SESSION_TYPES, SessionType
from syncbridge.http import (
    accounts,
    auth,
    conflicts,
    devices,
    handoffs,
    health,
    history,
    pairing,
    privacy,
    reference,
    sessions,
    snapshots,
    state,
    timeline,
)
from syncbridge.http.context import Context, HttpSettings, OwnedSessions
from syncbridge.http.document import complete
from syncbridge.http.envelope import Envelope
from syncbridge.http.gate import RequestGate
from syncbridge.http.health import Health
from syncbridge.http.problems import MEDIA_TYPE, handle_problems
from syncbridge.http.rates import RateLimiter
from syncbridge.lifecycle import Lifecycle
from syncbridge.ports import Clock, SessionService
from syncbridge.rates import Rate
from syncbridge.records import Records
from syncbridge.telemetry import PrometheusTelemetry

DESCRIPTION = """Sessions that go on from device to device.

Live devices speak the WebSocket protocol at `/v1/ws`; this is everything else. Send
`Authorization: Bearer ACCESS_TOKEN`, which `POST /v1/accounts` and `POST /v1/auth/token` answer with. Times are
milliseconds since 1970, server time. Every error is problem details (RFC 9457) with a `code` and a `request_id`.
What is not yours is answered as what does not exist. A POST that makes
something takes `Idempotency-Key`, and may be sent again under it. Every answer says how many requests may still be made
(`X-RateLimit-Remaining`); past that it is 429 with `Retry-After`."""

RATE_HEADERS = {
    "X-RateLimit-Limit": "Requests that may be made at once.",
    "X-RateLimit-Remaining": "Requests that may still be made now.",
    "X-RateLimit-Reset": "Seconds until as many as the limit may be made again.",
}
"""On every answer but those of health and metrics."""
_NO_TELEMETRY_OF_ITS_OWN: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""The framework's spans hold paths, queries and the texts of exceptions: ours (`telemetry.traces`) hold none."""

_RESOURCES = (
    *(accounts, privacy, auth, devices, sessions, state, handoffs, pairing, snapshots, history, conflicts, timeline),
    health,
)


def build_app(
    service: SessionService,
    records: Records,
    authority: Authority,
    settings: HttpSettings,
    *,
    lifecycle: Lifecycle,
    telemetry: PrometheusTelemetry,
    clock: Clock,
    health_report: Health | None = None,
    session_types: Mapping[str, SessionType] = SESSION_TYPES,
) -> FastAPI:
    """The application over these services. It owns none of them: whoever opened them closes them.

    It watches the records' health, and passes every change of an account's devices, and every revocation, on to the
    live sessions; other dependencies are added by ``health_report.watch``.
    """
    rules = authority.rules
    report = health_report or Health(__version__)
    # A server is away for every node alike: with none of them ready, nobody could come back to a session that lives.
    report.watch("records", records.is_healthy, is_critical=not settings.has_shared_records)
    authority.rosters.follow(service.roster_changed)
    authority.revocations.follow(service.recheck)
    app = bare_app()
    app.state.context = Context(
        service=service,
        records=records,
        authority=authority,
        settings=settings,
        clock=clock,
        telemetry=telemetry,
        health=report,
        session_types=session_types,
        logins=RateLimiter(
            clock, Rate(rules.login_burst, rules.login_refill_ms), limit="login_burst", telemetry=telemetry
        ),
        guesses=RateLimiter(
            clock, Rate(rules.guess_burst, rules.guess_refill_ms), limit="guess_burst", telemetry=telemetry
        ),
        owned=OwnedSessions(records),
        lifecycle=lifecycle,
    )
    lifecycle.gone.follow(app.state.context.owned.forget)
    app.add_middleware(RequestGate)
    app.add_middleware(Envelope, telemetry=telemetry)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id")
            ],
            expose_headers=[
                *("ETag", "Link", "Location", "Retry-After", "SyncBridge-Code", "SyncBridge-Hash", "X-Request-Id"),
                *("Idempotency-Replayed", *RATE_HEADERS),
            ],
            max_age=600,
        )
    return app


def bare_app() -> FastAPI:
    """The routes and their description without any service behind them: enough for the OpenAPI document."""
    app = FastAPI(
        title="SyncBridge",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY_OF_ITS_OWN,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        responses={
            429: {
                "description": "Too many requests: of the account, of the address, or of what must not be guessed.",
                "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
                | {name: {"description": text, "schema": {"type": "integer"}} for name, text in RATE_HEADERS.items()},
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
            "default": {
                "description": "Why it was not answered as asked.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for resource in _RESOURCES:
        app.include_router(resource.router)
    app.include_router(reference.router)
    _complete_document(app)
    handle_problems(app)
    return app


def _complete_document(app: FastAPI) -> None:
    """The document is whole: with errors, parameters and answers described."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        is_new = app.openapi_schema is None
        document = generate()
        if is_new:
            complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
