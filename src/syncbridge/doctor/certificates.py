"""The TLS certificate: its dates, its names, its key."""

from __future__ import annotations

import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.net.options import TlsFiles
from syncbridge.net.tls import Certificate, make_context, read_certificate
from syncbridge.story.words import moment, span

CHECK = "certificate"
DAY_MS = 86_400_000
LEFT_WARNING_MS = 21 * DAY_MS
"""An automatic renewal comes 30 days before; one that is this late did not come."""
_RENEW = "renew the files; a running service takes them up by itself"


def check_certificate(settings: Settings) -> Iterator[Finding]:
    """Every finding about the certificate; none without one."""
    if settings.tls_certificate is None:
        return  # or Vault issues it, to each process its own
    files = TlsFiles(settings.tls_certificate, settings.tls_key)
    try:
        make_context(files)
        found = read_certificate(files)
    except (OSError, ssl.SSLError) as error:
        yield problem(
            CHECK,
            str(error.strerror or error),
            "The service does not start; a running one keeps the pair that it has.",
            "name a PEM chain and its key in tls_certificate and tls_key",
        )
        return
    yield judge_dates(found, time.time_ns() // 1_000_000)
    yield from judge_names(found, settings.public_url)
    yield from _judge_key(files.keyfile or files.certfile)


def judge_dates(certificate: Certificate, now_ms: int) -> Finding:
    """It is good now, and for a while."""
    ends = moment(certificate.not_after_ms)
    if now_ms < certificate.not_before_ms:
        return problem(
            CHECK,
            f"good from {moment(certificate.not_before_ms)} on only",
            "Clients refuse it: it is from the future, or the clock is wrong.",
            "set the clock, or " + _RENEW,
        )
    if now_ms > certificate.not_after_ms:
        return problem(CHECK, f"ended at {ends}", "No client connects.", _RENEW)
    left = span(certificate.not_after_ms - now_ms)
    if certificate.not_after_ms - now_ms < LEFT_WARNING_MS:
        return warning(CHECK, f"ends at {ends}, in {left}", "Then no client connects.", _RENEW)
    return ok(CHECK, f"good until {ends}, {left} more")


def judge_names(certificate: Certificate, public_url: str) -> Iterator[Finding]:
    """It is good for the name that people type."""
    names = ", ".join(certificate.names[:5]) or "no name"
    host = urlsplit(public_url).hostname if public_url else None
    if not certificate.names:
        yield problem(CHECK, "it has no subjectAltName", "No client of today takes a common name for one.", _RENEW)
    elif host is not None and not any(_covers(name.lower(), host) for name in certificate.names):
        yield problem(
            CHECK,
            f"for {names}; not for {host}, which is public_url",
            "Clients refuse it.",
            "get one for that name, or mend public_url",
        )
    else:
        yield ok(CHECK, f"for {names}")


def _covers(name: str, host: str) -> bool:
    """RFC 6125 section 6.4.3: a star stands for one whole label, the leftmost."""
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _judge_key(file: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o007:
        yield warning(
            CHECK,
            f"{file} has mode {mode:04o}",
            "Every user of the machine reads the private key.",
            f"chmod 0600 {file}",
        )
