"""A running service, as it tells of itself at its address."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from syncbridge import __version__
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.story.words import plain, span

CHECK = "service"
TIMEOUT_S = 5
BODY_BYTES_MAX = 64 * 1024
SLOW_MS = 250.0


class Told(NamedTuple):
    """The answer of /health: its status, and its members (empty where it was no JSON object)."""

    status: int
    report: dict[str, Any]


def check_service(url: str) -> Iterator[Finding]:
    """Every finding about the service at the address."""
    if urlsplit(url).scheme not in ("http", "https"):
        yield problem(CHECK, f"{plain(url)} is no address", "Nothing was asked.", "give one like http://127.0.0.1:8080")
        return
    try:
        told = _ask(url.rstrip("/") + "/health")
    except ssl.SSLCertVerificationError as error:
        yield problem(
            CHECK,
            f"{url} is not trusted: {error.verify_message}",
            "Clients refuse it too.",
            "mend the certificate, or name its authority in SSL_CERT_FILE",
        )
    except (OSError, http.client.HTTPException) as error:
        yield problem(CHECK, f"{url} does not answer: {error}", "Nobody is served.", "syncbridge serve")
    else:
        yield from judge_health(told)


def judge_health(told: Told) -> Iterator[Finding]:
    """It is well, and so is what it leans on."""
    report = told.report
    status = report.get("status")
    if not isinstance(status, str) or "dependencies" not in report:
        yield problem(
            CHECK,
            f"what answers ({told.status}) is not SyncBridge",
            "Something else has the port, or a proxy answers in its place.",
            "look at the address and the proxy",
        )
        return
    version, uptime = plain(str(report.get("version"))), span(1000 * float(report.get("uptime_s", 0)))
    found = f"{plain(status)}, version {version}, up for {uptime}"
    if told.status != 200 or status == "unhealthy":
        yield problem(CHECK, found, "No traffic should be sent to it.", "mend what is down below; its log says more")
    elif status != "healthy":
        yield warning(
            CHECK, found, "It drains, or does without something.", "wait for its end, or mend what is down below"
        )
    else:
        yield ok(CHECK, found)
    if report.get("version") != __version__:
        yield warning(
            CHECK,
            f"it runs {plain(str(report.get('version')))}, this program is {__version__}",
            "What is said here of files and settings may not be true of it.",
            "restart it, or use its own doctor",
        )
    for name, one in sorted(dict(report["dependencies"]).items()):
        latency = float(one.get("latency_ms", 0))
        text = f"{plain(name)} is {plain(str(one.get('status')))}, asked in {latency:.1f} ms"
        if one.get("status") != "up":
            yield problem(CHECK, text, "See docs/monitoring.md, Health.", "mend it; the service recovers by itself")
        elif latency > SLOW_MS:
            yield warning(CHECK, text, "Requests wait for it.", "look at its load")
        else:
            yield ok(CHECK, text)


def _ask(url: str) -> Told:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https, judged above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - judged above
            return _told(answer.status, answer.read(BODY_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            return _told(error.code, error.read(BODY_BYTES_MAX))
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise


def _told(status: int, body: bytes) -> Told:
    try:
        report = json.loads(body)
    except ValueError:
        report = {}
    return Told(status, report if isinstance(report, dict) else {})
