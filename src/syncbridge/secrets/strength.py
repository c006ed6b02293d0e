"""What a signing key must be: 256 bits, as text, and random as far as that can be seen."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from syncbridge.secrets.faults import SecretFault

BITS_MIN: Final = 256
"""HMAC-SHA256 is as strong as its key, and no stronger than this (RFC 7518 section 3.2)."""
CHARS_MAX: Final = 1024
SIGNS_MIN: Final = 10
"""Different characters; 43 random ones of base64 have 24 and more but once in a hundred million."""
ACCEPTED: Final = (
    "at least 256 random bits: 43 characters of base64 (`openssl rand -base64 32`), 64 of hexadecimal, "
    "or 32 that are neither"
)
_BITS_A_CHAR: Final = (
    (re.compile(r"[0-9a-f]+|[0-9A-F]+"), 4),
    (re.compile(r"[A-Za-z0-9+/_=-]+"), 6),
)


def judge_key(text: str, place: str) -> bytes:
    """The key of this text: its characters as they stand, so that whoever else checks tokens by it has the same.

    ``place`` is where it stands, for the sentence. Raises SecretFault (weak, malformed), which repeats none of it.
    """
    if not text or len(text) > CHARS_MAX or not text.isprintable() or " " in text:
        raise SecretFault(
            "malformed",
            f"{place} holds no signing key: expected one printable word of at most {CHARS_MAX} characters, {ACCEPTED}",
        )
    bare = text.rstrip("=")
    per_char = next((bits for form, bits in _BITS_A_CHAR if form.fullmatch(text)), 8)
    # 43 characters of base64 are 258 bits, of which the last two are padding: 256 were meant.
    if len(bare) * per_char < BITS_MIN or len(set(bare)) < SIGNS_MIN:
        raise SecretFault("weak", f"the signing key in {place} is too weak; expected {ACCEPTED}")
    return text.encode()


def public_name(secret: bytes) -> str:
    """A name of the key that every process gives it, and that does not lead back to it."""
    return "k-" + hashlib.sha256(b"syncbridge kid\0" + secret).hexdigest()[:12]
