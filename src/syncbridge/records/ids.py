"""New ids: random, safe in URLs, file names and Redis keys."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing that looks like something else
_CHARS = 20  # 100 random bits


def new_id(prefix: str) -> str:
    """An id that nobody has: ``ses_7m2...`` for prefix ``ses``."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_CHARS))}"
