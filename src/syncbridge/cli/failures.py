"""What a command says when it could not do its work."""

from __future__ import annotations

import ssl


class Failed(Exception):
    """The command did not do its work; the text says why, and what to do."""


def not_trusted(url: str, error: ssl.SSLCertVerificationError) -> Failed:
    """The service is there, but its certificate is none that this machine trusts."""
    return Failed(f"{url} is not trusted: {error.verify_message}; SSL_CERT_FILE names a file of certificates to trust.")
