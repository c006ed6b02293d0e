"""Traces to an OpenTelemetry collector: requests, commits and handoffs as spans, where an operator asks for them.

Off   nothing of OpenTelemetry is imported, and nothing stands in anybody's way: the root puts neither wrapper in place.
On    what is measured anyway becomes spans too; a request carries the caller's trace on (W3C Trace Context).
Safe  a span holds methods, routes, status codes, modes and durations. No path, no query, no header, no content.
Sampling  the ratio decides by the trace's id, for callers' traces too: how much is recorded is not a stranger's to say.
          A caller's wish not to be recorded is kept.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from syncbridge.ports import Clock, Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

EXPORT_TIMEOUT_S = 3
"""A collector that is away holds up the end of the process by this much at most."""
_QUIET = ("/health", "/metrics")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class TracesUnavailable(Exception):
    """Traces were asked for, and the packages that make them are not installed."""


class TracedTelemetry:
    """The `Telemetry` port in front of another: what it is told becomes spans where it began and ended somewhere."""

    def __init__(self, inner: Telemetry, tracer: Tracer, clock: Clock) -> None:
        self._inner = inner
        self._tracer = tracer
        self._clock = clock

    def measured(self, name: str, value: float, label: str = "") -> None:
        """The figure is counted; a commit or a handoff is a span too."""
        self._inner.measured(name, value, label)
        if name == "commit_ms":
            self._span("store.commit", value, {})
        elif name == "handoff_done":
            self._span("handoff", self._clock.now_ms() - value, {"syncbridge.handoff.mode": label})

    def _span(self, name: str, took_ms: float, attributes: dict[str, str]) -> None:
        end_ns = time.time_ns()
        begin_ns = end_ns - int(max(0.0, took_ms) * 1e6)
        self._tracer.start_span(name, attributes=attributes, start_time=begin_ns).end(end_ns)


class TracedRequests:
    """ASGI around the whole app: one span a request, the child of the caller's where it named one."""

    def __init__(self, app: AsgiApp, tracer: Tracer) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = tracer
        self._kind = SpanKind.SERVER
        self._error = Status(StatusCode.ERROR)
        self._extract = TraceContextTextMapPropagator().extract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its head to the end of its answer; checks of health are left out."""
        if scope["type"] != "http" or scope["path"].startswith(_QUIET):
            await self._app(scope, receive, send)
            return
        carried = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span("request", context=self._extract(carried), kind=self._kind)
        if not span.is_recording():
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_on(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            # The template of the route, known once it was found: a path holds ids.
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            span.set_attribute("syncbridge.request_id", scope.get("state", {}).get("request_id", ""))
            if status >= 500 or not status:
                span.set_status(self._error)
            span.end()


class Traces:
    """The way to one collector. Made by `open_traces`; `close` sends what waits."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("syncbridge")

    def around(self, app: AsgiApp) -> TracedRequests:
        """The app whose requests are spans."""
        return TracedRequests(app, self._tracer)

    def before(self, telemetry: Telemetry, clock: Clock) -> TracedTelemetry:
        """The telemetry whose commits and handoffs are spans too."""
        return TracedTelemetry(telemetry, self._tracer, clock)

    def close(self) -> None:
        """What was recorded is sent, or given up. Blocks, for the time-out of an export at most."""
        self._provider.shutdown()


def open_traces(endpoint: str, *, sample_ratio: float, version: str, instance: str) -> Traces:
    """Spans go to the collector at this address, by OTLP over HTTP, from a thread of the library's own.

    Headers and resource attributes are taken from the variables that OpenTelemetry names for them
    (``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_RESOURCE_ATTRIBUTES``). Raises TracesUnavailable.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise TracesUnavailable(
            f"otel_endpoint is set, but {error.name} is not installed: pip install 'syncbridge[otel]', or empty it"
        ) from error
    ratio = TraceIdRatioBased(sample_ratio)
    resource = Resource.create(
        {"service.name": "syncbridge", "service.version": version, "service.instance.id": instance}
    )
    sampler = ParentBased(ratio, remote_parent_sampled=ratio)
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider)
