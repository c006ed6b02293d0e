"""Health: alive (the loop turns), ready (send traffic here), and the whole picture for people and monitors.

It says which dependency is down, never why: what a driver says of an address or a user is for the log.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from syncbridge.errors import NotFound

PROBE_TIMEOUT_S = 1.0
KEPT_MS = 500
"""So long a report is given again: who asks a thousand times a second asks the dependencies twice."""
Probe = Callable[[], bool | Awaitable[bool]]


class Dependency(BaseModel):
    """One thing that the service leans on."""

    name: str
    status: Literal["up", "down"]
    is_critical: bool = Field(description="Whether the service is of no use without it.")
    latency_ms: float


class HealthReport(BaseModel):
    """How the service is."""

    status: Literal["healthy", "degraded", "draining", "unhealthy"]
    version: str
    timestamp: str = Field(description="When they were asked (RFC 3339).", examples=["2026-11-25T12:00:00Z"])
    uptime: int = Field(description="Whole seconds since the start.")
    uptime_s: float
    dependencies: dict[str, Dependency]


class Health:
    """Knows the dependencies and asks them; the composition root tells it which there are.

    Cost  a report asks every dependency once; reports within ``kept_ms`` of it are the same one, also those that are
          asked for while it is made.
    """

    def __init__(self, version: str, *, kept_ms: int = KEPT_MS) -> None:
        self._version = version
        self._kept_ms = kept_ms
        self._kept: HealthReport | None = None
        self._kept_at_s = 0.0
        self._asking = asyncio.Lock()
        self._started_at_s = time.monotonic()
        self._probes: dict[str, tuple[Probe, bool]] = {}
        self._is_draining = False

    def watch(self, name: str, probe: Probe, *, is_critical: bool = True) -> None:
        """The dependency is asked at each report; without a critical one the service is not ready."""
        self._probes[name] = (probe, is_critical)

    def drain(self) -> None:
        """No new traffic, please: not ready from now on, though alive."""
        self._is_draining = True
        self._kept = None

    async def report(self) -> HealthReport:
        """The picture now, or of a moment ago; ends within twice `PROBE_TIMEOUT_S`, whatever hangs."""
        async with self._asking:
            if self._kept is None or time.monotonic() - self._kept_at_s >= self._kept_ms / 1000:
                self._kept = await self._ask_all()
                self._kept_at_s = time.monotonic()
            return self._kept

    async def _ask_all(self) -> HealthReport:
        answers = await asyncio.gather(*(self._ask(probe) for probe, _ in self._probes.values()))
        dependencies = {
            name: Dependency(
                name=name, status="up" if is_up else "down", is_critical=is_critical, latency_ms=round(took_ms, 3)
            )
            for (name, (_, is_critical)), (is_up, took_ms) in zip(self._probes.items(), answers, strict=True)
        }
        down = [one for one in dependencies.values() if one.status == "down"]
        status: Literal["healthy", "degraded", "draining", "unhealthy"] = "healthy"
        if any(one.is_critical for one in down):
            status = "unhealthy"
        elif self._is_draining:
            status = "draining"
        elif down:
            status = "degraded"
        uptime_s = time.monotonic() - self._started_at_s
        return HealthReport(
            status=status,
            version=self._version,
            timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            uptime=int(uptime_s),
            uptime_s=round(uptime_s, 3),
            dependencies=dependencies,
        )

    async def _ask(self, probe: Probe) -> tuple[bool, float]:
        begin = time.perf_counter()
        try:
            answer = probe()
            is_up = await asyncio.wait_for(answer, PROBE_TIMEOUT_S) if inspect.isawaitable(answer) else bool(answer)
        except Exception:  # noqa: BLE001 - whatever a probe raises, its dependency is not there
            is_up = False
        return is_up, (time.perf_counter() - begin) * 1000


router = APIRouter(tags=["health"])


@router.get("/health", responses={503: {"model": HealthReport}})
async def health(request: Request, response: Response) -> HealthReport:
    """How the service and what it leans on are; 503 when it is of no use."""
    report = await _health(request).report()
    response.status_code = 503 if report.status == "unhealthy" else 200
    return report


@router.get("/health/live")
async def live() -> dict[str, Literal["alive"]]:
    """The process answers. Restart it when this fails, and for no other reason."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"model": HealthReport}})
async def ready(request: Request, response: Response) -> HealthReport:
    """Whether to send traffic here: 503 while a critical dependency is down, or the service drains."""
    report = await _health(request).report()
    response.status_code = 200 if report.status in ("healthy", "degraded") else 503
    return report


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(request: Request) -> Response:
    """Every figure in Prometheus' text format, or in OpenMetrics; `not_found` where a port of their own has them."""
    context = request.app.state.context
    if context.settings.metrics_port is not None:
        raise NotFound
    page, content_type = context.telemetry.exposed(request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": content_type})


def _health(request: Request) -> Health:
    found = request.app.state.context.health
    assert isinstance(found, Health)
    return found
