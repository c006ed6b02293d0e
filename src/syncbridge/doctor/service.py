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

from prometheus_client.parser import text_string_to_metric_families

from syncbridge import __version__
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.story.words import plain, span

CHECK = "service"
TIMEOUT_S = 5
BODY_BYTES_MAX = 64 * 1024
FIGURES_BYTES_MAX = 4 * 1024 * 1024
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
        yield from _figures(url)


def _figures(url: str) -> Iterator[Finding]:
    try:
        page = _open(url.rstrip("/") + "/metrics", FIGURES_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        yield warning(CHECK, f"its metrics do not come: {error}", "What they say is not known.", "ask again")
        return
    if page[0] == 200:  # else they are kept off this port, as they should be
        yield from judge_figures(page[1].decode("utf-8", "replace"))


def judge_figures(text: str) -> Iterator[Finding]:
    """Nothing that was to be kept was dropped, and what is past its time goes."""
    figures = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    dropped, failed = figures.get("incidents_dropped_total", 0), figures.get("retention_failures_total", 0)
    if dropped:
        yield warning(
            CHECK,
            f"it dropped {dropped:.0f} incidents since it started",
            "`doctor session` does not know of those; the records were away, or too slow.",
            "look after the records: records_wait_seconds, and its log",
        )
    if failed:
        yield warning(
            CHECK,
            f"{failed:.0f} runs of retention did not finish since it started",
            "Data may stay longer than the configuration says; what is left goes with the next run.",
            "look for `retention` in its log",
        )
    if not dropped and not failed:
        yield ok(CHECK, "it dropped no incidents, and retention finished")


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
    return _told(*_open(url, BODY_BYTES_MAX))


def _open(url: str, bytes_max: int) -> tuple[int, bytes]:
    """The status and the body, as far as it is wanted. Raises OSError, HTTPException."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https, judged above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - judged above
            return answer.status, answer.read(bytes_max)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(bytes_max)
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
