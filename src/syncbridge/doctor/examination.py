"""The whole examination: every check, in the order in which one leans on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from syncbridge.config import Settings
from syncbridge.doctor.backends import check_backends, check_rabbitmq, check_redis
from syncbridge.doctor.certificates import check_certificate
from syncbridge.doctor.clock import check_clock
from syncbridge.doctor.configuration import check_configuration
from syncbridge.doctor.findings import Finding, problem
from syncbridge.doctor.issuers import check_issuers
from syncbridge.doctor.keys import check_records
from syncbridge.doctor.machine import check_machine
from syncbridge.doctor.secrets import check_secrets
from syncbridge.doctor.service import check_service
from syncbridge.doctor.storage import check_storage
from syncbridge.doctor.versions import check_versions


async def examine(settings: Settings, url: str | None = None, *, asks_issuers: bool = False) -> list[Finding]:
    """Every finding. A check that breaks is a finding too, and keeps no other from being made.

    Nothing beyond this machine is asked but the back ends of the settings, the service at ``url``, and with
    ``asks_issuers`` those issuers.
    """
    findings: list[Finding] = []
    findings += _made("versions", check_versions)
    findings += _made("config", lambda: check_configuration(settings))
    findings += _made("backends", lambda: check_backends(settings))
    findings += _made("certificate", lambda: check_certificate(settings))
    if settings.redis_url is None:
        findings += _made("storage", lambda: check_storage(settings))
    findings += await _awaited("secrets", check_secrets(settings))
    findings += await _awaited("redis", check_redis(settings))
    findings += await _awaited("rabbitmq", check_rabbitmq(settings))
    findings += await _awaited("records", check_records(settings))
    if asks_issuers:
        findings += await _awaited("issuers", check_issuers(settings))
    findings += _made("clock", lambda: check_clock(settings))
    findings += _made("machine", lambda: check_machine(settings))
    if url is not None:
        findings += await asyncio.to_thread(_made, "service", lambda: check_service(url))
    return findings


def _made(check: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:  # noqa: BLE001 - the doctor must not fall ill of what it finds
        return [_broken(check, error)]


async def _awaited(check: str, looking: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await looking
    except Exception as error:  # noqa: BLE001 - as above
        return [_broken(check, error)]


def _broken(check: str, error: Exception) -> Finding:
    return problem(
        check,
        f"it could not be looked at: {type(error).__name__}: {error}",
        "What is wrong here keeps the doctor from looking; the service may meet it too.",
        "look at what the sentence names; if it names nothing of yours, report it",
    )
