"""Whom a connection over TLS is made to: servers whose certificate, by the name we asked for, an authority signed."""

from __future__ import annotations

import ssl


class CannotTrust(Exception):
    """The file of authorities cannot be used; the text says why."""


def trusting(ca_file: str = "") -> ssl.SSLContext:
    """The certificates in this PEM file are trusted and no others; "" trusts the system's (or SSL_CERT_FILE's).

    The file is read now, and not again. Raises CannotTrust.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:  # an OSError too, whose text is OpenSSL's own
        raise CannotTrust(f"{ca_file} holds no certificate in PEM") from None
    except OSError as error:
        raise CannotTrust(f"{ca_file} cannot be read: {error.strerror}") from None
