"""The public keys of an outside issuer (JWKS, RFC 7517): fetched when needed, kept, and never too often.

Theory. A check must not wait, so it looks at what is held. The set is fetched anew when it is old, in the background,
and when a token names a key that it does not hold: then that token waits, and every other that comes meanwhile waits
for the same fetch. Between two fetches lie `FETCH_AGAIN_MS` at least, whatever tokens say. A fetch that fails leaves
what is held in use for ``jwks_stale_ms``: an issuer that is away for an hour locks nobody out.

The address is the operator's; what a token's header names is never asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct

from syncbridge.auth.fetching import FetchFailed
from syncbridge.auth.rules import AuthRules, IssuerRules
from syncbridge.ports import Clock

FETCH_AGAIN_MS: Final = 30_000
KEYS_MAX: Final = 64
RSA_BITS_MIN: Final = 2048
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_log = structlog.get_logger("syncbridge.auth")

Fetch = Callable[[], Awaitable[bytes]]


class PublicKey(Struct, frozen=True):
    """A key and the algorithms that it may verify: those of its kind, of the set's own word, and of the rules."""

    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The key set of one issuer."""

    def __init__(self, rules: IssuerRules, auth: AuthRules, clock: Clock, fetch: Fetch) -> None:
        self.outcomes: Counter[str] = Counter()
        self._rules = rules
        self._age_ms = auth.jwks_age_ms
        self._stale_ms = auth.jwks_stale_ms
        self._clock = clock
        self._fetch = fetch
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: int | None = None
        self._asked_at = -FETCH_AGAIN_MS
        self._is_failing = False
        self._under_way: asyncio.Task[None] | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a set is held that is young enough to go by."""
        return self._fetched_at is not None and self._clock.now_ms() - self._fetched_at < self._stale_ms

    @property
    def is_failing(self) -> bool:
        """Whether the last fetch failed."""
        return self._is_failing

    def find(self, kid: str) -> PublicKey | None:
        """The key of this name as far as it is held."""
        return self._keys.get(kid) if self.is_usable else None

    async def ask(self, kid: str) -> bool:
        """Whether the key is held, after a fetch where it was not and the last one is long enough ago."""
        if self.find(kid) is None:
            await self._refresh()
        return self.find(kid) is not None

    async def keep_fresh(self) -> None:
        """The set is fetched when there is none or it is old."""
        if self._fetched_at is None or self._clock.now_ms() - self._fetched_at >= self._age_ms:
            await self._refresh()

    async def _refresh(self) -> None:
        task = self._under_way
        if task is None:
            now_ms = self._clock.now_ms()
            if now_ms - self._asked_at < FETCH_AGAIN_MS:
                return
            self._asked_at = now_ms
            task = self._under_way = asyncio.get_running_loop().create_task(self._load())
            task.add_done_callback(self._done)
        # Whoever waits may go away; the fetch is for all.
        await asyncio.shield(task)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._under_way = None

    async def _load(self) -> None:
        try:
            keys = read_key_set(await self._fetch(), self._rules.algorithms)
        except FetchFailed as failed:
            self.outcomes[failed.outcome] += 1
            if not self._is_failing:
                _log.warning(
                    "an issuer's keys cannot be fetched; those held are used on",
                    issuer=self._rules.issuer,
                    outcome=failed.outcome,
                    reason=str(failed),
                )
            self._is_failing = True
            return
        if self._is_failing:
            _log.info("an issuer's keys are fetched again", issuer=self._rules.issuer)
        self._is_failing = False
        self.outcomes["fetched"] += 1
        self._keys, self._fetched_at = keys, self._clock.now_ms()


def read_key_set(body: bytes, allowed: tuple[str, ...]) -> dict[str, PublicKey]:
    """The keys by name that may verify by an allowed algorithm; others are passed over. Raises FetchFailed."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FetchFailed("malformed", "the answer is no JSON") from error
    rows = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(rows, list) or len(rows) > KEYS_MAX:
        raise FetchFailed("malformed", f"expected an object with at most {KEYS_MAX} `keys`")
    found: dict[str, PublicKey] = {}
    for row in rows:
        kid = row.get("kid") if isinstance(row, dict) else None
        if not isinstance(kid, str) or kid in found:
            continue  # a key without a name of its own cannot be meant by a token
        key = _public_key(row, allowed)
        if key is not None:
            found[kid] = key
    if not found:
        raise FetchFailed("malformed", f"no key in it has a `kid` and is for {', '.join(allowed)}")
    return found


def _public_key(row: dict[str, Any], allowed: tuple[str, ...]) -> PublicKey | None:
    """The key, when it is public, strong enough, for verifying, and of a kind that an allowed algorithm takes."""
    operations = row.get("key_ops", ["verify"])
    if row.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations or "d" in row:
        return None
    kind, curve = row.get("kty"), row.get("crv")
    fitting = frozenset(
        algorithm
        for algorithm in allowed
        if (kind == "RSA" and algorithm[:2] in ("RS", "PS"))
        or (kind == "EC" and algorithm in _CURVES and _CURVES[algorithm] == curve)
        or (kind == "OKP" and algorithm == "EdDSA" and curve in ("Ed25519", "Ed448"))
    )
    if "alg" in row:
        fitting &= {str(row["alg"])}
    if not fitting:
        return None
    try:
        key = jwt.get_algorithm_by_name(min(fitting)).from_jwk(row)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        return None
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return None
    return PublicKey(key, fitting)
