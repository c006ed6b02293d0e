"""What surrounds every request: its id, its figures, its log line, and the answer when our own code breaks."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncbridge.errors import Internal
from syncbridge.http.problems import Refused, answer
from syncbridge.http.templates import Templates
from syncbridge.telemetry import PrometheusTelemetry

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_QUIET = ("/health", "/metrics")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = structlog.get_logger("syncbridge.http")


class Envelope:
    """ASGI middleware around the app.

    Ids      a sane X-Request-Id is taken over and sent back; else a new one.
    Safety   an unexpected exception is logged with the id and answered 500 `internal` without any detail.
    Headers  nothing is sniffed, framed, or cached where a token came along.
    """

    def __init__(self, app: ASGIApp, telemetry: PrometheusTelemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._templates: Templates | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its head to the end of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        extra = [
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]
        # What can be got can be asked about (RFC 9110 section 9.3.2); the server leaves the body out.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *extra]
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(inner, receive, send_on)
        except Exception:
            _log.exception("http request error", method=scope["method"], route=self._route(inner), code=Internal.code)
            if status:
                raise
            await answer(Refused(Internal()), request_id)(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - begin
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = self._route(inner)
            self._telemetry.request(method, route, status, seconds)
            if not route.startswith(_QUIET):
                _log.info("http request", method=method, route=route, status=status, ms=round(seconds * 1000, 2))
            structlog.contextvars.unbind_contextvars("request_id")

    def _route(self, scope: Scope) -> str:
        """The template of the route, never the path: no ids in figures and logs."""
        route = getattr(scope.get("route"), "path", None)
        if route is None:  # it was answered before a route took it, as what comes too often is
            if self._templates is None:
                self._templates = Templates(scope["app"].routes)
            route = self._templates.of(scope["path"])
        return route or "unmatched"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value).decode("ascii")
    return secrets.token_hex(12)
