"""Signing keys in Vault's kv engine: every version of one secret is a key.

``vault kv put`` makes the next key, ``vault kv delete -versions=N`` retires one at once; `secrets.schedule` says when
each signs. Nothing here remembers but the text of versions, which never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from syncbridge.adapters.cluster.vault.client import VaultClient
from syncbridge.errors import Unavailable
from syncbridge.ports import Clock, SigningKey
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import Standing
from syncbridge.secrets.rules import VaultRules
from syncbridge.secrets.schedule import Overlap, Version, is_of_use, schedule
from syncbridge.secrets.strength import judge_key

VERSIONS_MAX: Final = 16
"""The newest are looked at; a key is of use for a lead and the life of a token, and rotations lie days apart."""
_log = structlog.get_logger("syncbridge.vault")


class VaultKeys:
    """The versions of one kv-v2 secret, as a `ports.KeySource`.

    Same everywhere   the name of a key is made of its place, its version and when that was written; its moments come
                      from Vault's clock. So every process that reads them has the same keys.
    Bad versions      without the field, or weak, are left out and told once; those before them stay in force.
    """

    def __init__(self, client: VaultClient, rules: VaultRules, overlap: Overlap, clock: Clock) -> None:
        self.standing = Standing("signing_keys")
        self.place = f"{rules.kv_mount}/{rules.jwt_path}"
        self._client = client
        self._rules = rules
        self._overlap = overlap
        self._clock = clock
        self._secrets: dict[str, bytes] = {}
        self._bad: dict[str, SecretFault] = {}
        self._kids: frozenset[str] = frozenset()

    @property
    def bad(self) -> list[SecretFault]:
        """What is wrong with each version that is left out."""
        return list(self._bad.values())

    async def read(self) -> Sequence[SigningKey]:
        """Every key that Vault knows of. Raises Unavailable."""
        try:
            return await self.ask()
        except SecretFault as fault:
            self.standing.failed(fault)
            # Not with the reason: it may be answered to whoever showed a token.
            raise Unavailable("The signing keys cannot be asked for now; try again.") from fault

    async def ask(self) -> Sequence[SigningKey]:
        """As `read`. Raises SecretFault; `weak` or `malformed` where no version is a key at all."""
        answer = await self._client.read(f"{self._rules.kv_mount}/metadata/{self._rules.jwt_path}")
        known = self._versions(answer)
        now_ms = self._clock.now_ms()
        for key in schedule(known, self._overlap):
            if is_of_use(key, now_ms) and key.kid not in self._secrets and key.kid not in self._bad:
                await self._fetch(key.ordinal, key.kid)
        good = [
            Version(one.number, one.kid, one.created_at, one.gone_at, self._secrets.get(one.kid, b""))
            for one in known
            if one.kid not in self._bad
        ]
        keys = schedule(good, self._overlap)
        kept = {key.kid for key in keys if is_of_use(key, now_ms)}
        if self._bad and not kept:
            raise next(iter(self._bad.values()))
        if not kept:
            raise SecretFault("missing", f"every version of {self.place} is deleted; write a new one")
        self._secrets = {kid: secret for kid, secret in self._secrets.items() if kid in kept}
        self._bad = {kid: fault for kid, fault in self._bad.items() if any(one.kid == kid for one in known)}
        named = frozenset(kept)
        self.standing.had(is_new=named != self._kids)
        self._kids = named
        return keys

    def _versions(self, answer: Mapping[str, Any]) -> list[Version]:
        found = (answer.get("data") or {}).get("versions")
        if not isinstance(found, dict):
            raise SecretFault("malformed", f"{self.place} is no secret of a kv engine of version 2")
        try:
            versions = [self._version(int(number), one) for number, one in found.items()]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SecretFault("malformed", f"the versions of {self.place} cannot be read") from error
        return sorted(versions, key=lambda one: one.number)[-VERSIONS_MAX:]

    def _version(self, number: int, one: Mapping[str, Any]) -> Version:
        written = one["created_time"]
        named = hashlib.sha256(f"{self.place}\0{number}\0{written}".encode()).hexdigest()[:10]
        created_at = _moment(written)
        deleted_at = _moment(one["deletion_time"]) if one.get("deletion_time") else None
        if one.get("destroyed") and (deleted_at is None or deleted_at > self._clock.now_ms()):
            # When, Vault does not say. One that may never have signed must not take its elders with it.
            deleted_at = created_at
        return Version(number, f"v{number}-{named}", created_at, deleted_at)

    async def _fetch(self, number: int, kid: str) -> None:
        rules = self._rules
        try:
            answer = await self._client.read(f"{rules.kv_mount}/data/{rules.jwt_path}", number)
            held = ((answer.get("data") or {}).get("data") or {}).get(rules.jwt_field)
            place = f"{self.place} version {number}, field {rules.jwt_field}"
            if not isinstance(held, str):
                raise SecretFault("malformed", f"{place} is not there, or no text")
            self._secrets[kid] = judge_key(held, place)
        except SecretFault as fault:
            if fault.kind not in ("malformed", "weak"):
                raise
            self._bad[kid] = fault
            self.standing.failures[fault.kind] += 1
            _log.error("a new signing key cannot be used; those before it go on", kid=kid, reason=str(fault))


def _moment(text: str) -> int:
    """RFC 3339 with nanoseconds, as ms of the Unix epoch."""
    return int(datetime.fromisoformat(text[:19] + "+00:00").timestamp() * 1000) + _fraction_ms(text)


def _fraction_ms(text: str) -> int:
    fraction = text[20:].rstrip("Z") if text[19:20] == "." else ""
    return int(fraction[:3].ljust(3, "0")) if fraction[:3].isdigit() else 0
