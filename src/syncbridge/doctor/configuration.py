"""Whether the configuration can be used, and whether it is one to put people on."""

from __future__ import annotations

from collections.abc import Iterator

from syncbridge.config import ConfigError, Settings
from syncbridge.core.session_types import SessionType
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.errors import SyncBridgeError

CHECK = "config"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
ARGON2_MEMORY_KIB_MIN = 19_456
"""With two passes; OWASP's password storage cheat sheet, 19 MiB and 2."""


def refused(error: ConfigError) -> Iterator[Finding]:
    """One finding a line of what is wrong with it."""
    for line in str(error).splitlines():
        yield problem(
            CHECK, line, "The service does not start.", "correct the key; docs/configuration.md tells of each"
        )


def check_configuration(settings: Settings) -> Iterator[Finding]:
    """What of the settings is risky, or contradicts itself only when it is used."""
    count = 0
    for finding in (*_session_types(settings), *_exposure(settings), *_costs(settings)):
        count += 1
        yield finding
    if not count:
        yield ok(CHECK, "can be used")


def _session_types(settings: Settings) -> Iterator[Finding]:
    for name, table in settings.session_types.items():
        try:
            SessionType.from_mapping(name, table)
        except (SyncBridgeError, ValueError, TypeError) as error:
            yield problem(
                CHECK,
                f"session_types.{name}: {error}",
                "The service does not start.",
                "mend the table in the configuration file",
            )


def _exposure(settings: Settings) -> Iterator[Finding]:
    is_public = settings.host not in _LOOPBACK
    if is_public and not settings.has_tls and not settings.trusted_proxies:
        yield warning(
            CHECK,
            f"host {settings.host} without TLS and without a proxy",
            "Tokens and passwords cross the network in the clear.",
            "set tls_certificate and tls_key, or trusted_proxies where a proxy ends TLS",
        )
    if is_public and not settings.public_url:
        yield warning(
            CHECK,
            "public_url is empty",
            f"Links and one-time codes name {settings.base_url}, which is no address that a phone reaches.",
            "set public_url to what people type",
        )
    if settings.log_level == "debug":
        yield warning(
            CHECK,
            "log_level is debug",
            "Each request is told at length; it costs time and disk.",
            "set log_level to info",
        )
    if is_public and settings.metrics_port is None:
        yield warning(
            CHECK,
            "/metrics is on the public port",
            "Whoever reaches the service reads its figures.",
            "set metrics_port, or close /metrics in the proxy",
        )


def _costs(settings: Settings) -> Iterator[Finding]:
    rules = settings.auth
    if rules.argon2_time_cost * rules.argon2_memory_kib < 2 * ARGON2_MEMORY_KIB_MIN:
        yield warning(
            CHECK,
            f"argon2id with {rules.argon2_memory_kib} KiB and {rules.argon2_time_cost} passes",
            "Passwords out of a stolen database are guessed sooner than they should be.",
            f"set auth.argon2_memory_kib to {ARGON2_MEMORY_KIB_MIN} and auth.argon2_time_cost to 2 or more",
        )
