"""A ClientHello of TLS 1.3 by hand (RFC 8446 section 4.1.2), to offer what no client of ours would."""

from __future__ import annotations

FFDHE8192 = 0x0104
P256 = 0x0017
FFDHE8192_SHARE = b"\x7f" * 1024  # below any of the group's primes, and nobody had to raise it to a power
HANDSHAKE, ALERT = 0x16, 0x15


def client_hello(group: int, share: bytes) -> bytes:
    """One record that offers TLS 1.3 with this one group, and a key share for it."""
    entry = group.to_bytes(2, "big") + _sized(share, 2)
    extensions = b"".join(
        (
            _extension(43, b"\x02\x03\x04"),  # supported_versions: 1.3
            _extension(10, _sized(group.to_bytes(2, "big"), 2)),  # supported_groups
            _extension(13, _sized(b"\x04\x03\x08\x04\x04\x01", 2)),  # signature_algorithms
            _extension(51, _sized(entry, 2)),  # key_share
        )
    )
    body = b"\x03\x03" + bytes(32) + _sized(bytes(32), 1) + _sized(b"\x13\x01", 2) + b"\x01\x00" + _sized(extensions, 2)
    return b"\x16\x03\x01" + _sized(b"\x01" + _sized(body, 3), 2)


def _extension(number: int, content: bytes) -> bytes:
    return number.to_bytes(2, "big") + _sized(content, 2)


def _sized(content: bytes, bytes_of_size: int) -> bytes:
    return len(content).to_bytes(bytes_of_size, "big") + content
