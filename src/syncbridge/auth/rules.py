"""What an operator can set about identity, with the reason for each default."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an outside issuer may sign with. Never HS*: its secret would be as public as the key set."""


@dataclass(frozen=True, slots=True)
class AuthRules:
    """Table ``[auth]`` of the configuration."""

    issuer: str = "syncbridge"  # `iss` of our tokens
    audience: str = "syncbridge"  # `aud` of the tokens that are taken
    access_token_ms: int = 900_000  # 15 minutes: how long a stolen one works at most
    refresh_token_ms: int = 30 * 86_400_000  # a phone that is used once a month stays logged in
    # signing keys
    key_rotate_ms: int = 90 * 86_400_000  # a new key this often; 0: only by `syncbridge keys rotate`
    key_lead_ms: int = 60_000  # a new key is known everywhere for this long before it signs
    key_refresh_ms: int = 10_000  # how often the keys are read anew: a key retired elsewhere is refused by then
    # issuers outside
    jwks_age_ms: int = 3_600_000  # their key sets are fetched anew after this
    jwks_stale_ms: int = 86_400_000  # and used for this long while they cannot be fetched
    jwks_timeout_ms: int = 5_000  # a whole fetch, from the name's look-up to the last byte
    outside_token_ms_max: int = 86_400_000  # their tokens last at most this long: so long a revocation is kept
    fresh_login_ms: int = 600_000  # what cannot be undone needs the password, or a log-in this young
    password_chars_min: int = 8  # NIST SP 800-63B section 3.1.1
    password_chars_max: int = 1024  # a sentence, not a file: all of it is hashed
    # argon2id as OWASP advises for a service: 19 MiB, two passes, one lane
    argon2_time_cost: int = 2  # passes over the memory
    argon2_memory_kib: int = 19_456  # of each of the two that run at once
    argon2_parallelism: int = 1  # lanes: more would take the cores of the live sessions
    argon2_waiting_max: int = 64  # log-ins that wait for one of the two: a few seconds
    # token buckets: so many at once, and again one each so many ms
    login_burst: int = 20  # /v1/auth/* and /v1/accounts, per client address
    login_refill_ms: int = 3_000  # then 20 a minute
    guess_burst: int = 10  # wrong passwords of one account, wrong one-time codes of one address
    guess_refill_ms: int = 30_000  # then two a minute: guessing takes centuries

    def __post_init__(self) -> None:
        """Raises ValueError naming the relation that does not hold."""
        numbers = {name: value for name in self.__slots__ if isinstance(value := getattr(self, name), int)}
        optional = {"key_rotate_ms"}
        relations = {f"{name} > 0": value > 0 for name, value in numbers.items() if name not in optional} | {
            "jwks_stale_ms >= jwks_age_ms": self.jwks_stale_ms >= self.jwks_age_ms,
            "key_rotate_ms >= 0": self.key_rotate_ms >= 0,
            "key_rotate_ms > key_lead_ms": not self.key_rotate_ms or self.key_rotate_ms > self.key_lead_ms,
            "key_lead_ms >= 2 * key_refresh_ms": self.key_lead_ms >= 2 * self.key_refresh_ms,
            "key_refresh_ms <= 60000": self.key_refresh_ms <= 60_000,
            "refresh_token_ms > access_token_ms": self.refresh_token_ms > self.access_token_ms,
            "password_chars_max >= password_chars_min": self.password_chars_max >= self.password_chars_min,
            "argon2_memory_kib >= 8 * argon2_parallelism": self.argon2_memory_kib >= 8 * self.argon2_parallelism,
        }
        broken = [name for name, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"auth rules contradict each other: {'; '.join(broken)}")


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """One table of ``[[issuers]]``: whose tokens are taken besides our own."""

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")

    def __post_init__(self) -> None:
        """Raises ValueError naming what cannot be."""
        if not 0 < len(self.issuer) <= 255 or not self.audience:
            raise ValueError("issuer (at most 255 characters) and audience must not be empty")
        others = sorted(set(self.algorithms) - set(ALGORITHMS))
        if others or not self.algorithms:
            raise ValueError(f"algorithms: expected some of {', '.join(ALGORITHMS)}, got {', '.join(others) or 'none'}")
        address = urlsplit(self.jwks_url)
        host = address.hostname or ""
        is_plain_loopback = address.scheme == "http" and _is_loopback(host)
        if not host or address.username or address.fragment or not (address.scheme == "https" or is_plain_loopback):
            raise ValueError(
                "jwks_url: expected https://HOST/PATH, or http:// for this machine alone, without user and fragment"
            )
        _ = address.port  # raises ValueError where it is none


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
