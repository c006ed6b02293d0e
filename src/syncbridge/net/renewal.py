"""The TLS certificate in force follows its files, whoever replaces them and however.

A renewer may write certificate and key one after the other, rename new files over the old ones, or move a link
(cert-manager, a Vault agent, certbot and a mounted Kubernetes secret each do it their way). So nothing is taken from
a hint but that something changed: what counts is a pair that fits, in its dates, read between two equal looks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from syncbridge.net.options import TlsFiles
from syncbridge.net.server import Server
from syncbridge.net.tls import Identity, Stamp, load_identity, stamp_of
from syncbridge.ports import Telemetry

_logger = logging.getLogger("syncbridge.net")


class CertificateKeeper:
    """Keeps a server's certificate that of its files.

    Invariants   what new connections are shown is a pair that fits; a bad new one leaves the old in force.
    Told         each taking up and each failure, in the log and in the figures; a failure that goes on, once.
    Blocking     a look is a stat of each file, a renewal reads them: milliseconds in the loop's thread.
    """

    def __init__(self, server: Server, files: TlsFiles, telemetry: Telemetry, now_ms: Callable[[], int]) -> None:
        """`server` has started with `files`."""
        self._server = server
        self._files = files
        self._telemetry = telemetry
        self._now_ms = now_ms
        identity = server.identity
        assert identity is not None
        self._taken: Stamp = identity.stamp
        self._seen: Stamp = identity.stamp
        self._failure: tuple[Stamp, str] | None = None
        self._tell_dates(identity)

    def look(self) -> None:
        """Files that changed, and stood still since the last look, are taken up; to be called every few seconds."""
        stamp = stamp_of(self._files)
        is_still, self._seen = stamp == self._seen, stamp
        if is_still and stamp != self._taken:
            self._take_up(stamp)

    def renew(self) -> None:
        """The files are taken up now, changed or not; a failure is told again."""
        self._failure = None
        self._take_up(stamp_of(self._files))

    def _take_up(self, stamp: Stamp) -> None:
        try:
            identity = load_identity(self._files)
        except OSError as error:  # ssl.SSLError is one
            self._tell_failure(stamp, error.strerror or str(error))
            return
        if not identity.certificate.is_in_force(self._now_ms()):
            # Not yet or not any more: tried again at each look, so one of tomorrow is taken up tomorrow.
            self._tell_failure(stamp, f"the TLS certificate {self._files.certfile} is not in force today")
            return
        self._failure = None
        self._taken = identity.stamp
        self._server.show(identity)
        self._telemetry.measured("tls_reload", 1, "reloaded")
        self._tell_dates(identity)
        _logger.info("TLS certificate taken up", extra=_told_of(identity))

    def _tell_failure(self, stamp: Stamp, reason: str) -> None:
        if self._failure != (stamp, reason):
            self._failure = stamp, reason
            self._telemetry.measured("tls_reload", 1, "failed")
            _logger.error("TLS certificate not taken up; the old one stays in use", extra={"reason": reason})

    def _tell_dates(self, identity: Identity) -> None:
        not_after_ms = identity.certificate.not_after_ms
        self._telemetry.measured("tls_not_after_s", not_after_ms / 1000)
        if not identity.certificate.is_in_force(self._now_ms()):
            _logger.warning("the TLS certificate is not in force today", extra=_told_of(identity))


def _told_of(identity: Identity) -> dict[str, object]:
    certificate = identity.certificate
    return {"names": ", ".join(certificate.names), "not_after_ms": certificate.not_after_ms}
