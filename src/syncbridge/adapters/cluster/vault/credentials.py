"""Credentials of back ends from Vault: a password that somebody rotates, or a user made for this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from syncbridge.adapters.cluster.vault.client import RENEW_AT, VaultClient
from syncbridge.ports import Credentials
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import Standing, Watched

LOOK_S: Final = 10.0
_log = structlog.get_logger("syncbridge.vault")


class KvCredentials(Watched):
    """The fields ``password``, and ``username`` where it has one, of a kv-v2 secret: read every few seconds."""

    def __init__(self, client: VaultClient, name: str, mount: str, path: str, username: str, every_s: float) -> None:
        """``username`` is for a secret that names none."""
        super().__init__(Credentials(username))
        self.standing = Standing(name)
        self._client = client
        self._place = f"{mount}/data/{path}"
        self._username = username
        self._every_s = every_s

    async def keep(self) -> float:
        """What is in force is what Vault holds. Raises SecretFault."""
        answer = await self._client.read(self._place)
        held = (answer.get("data") or {}).get("data") or {}
        password, username = held.get("password"), held.get("username", self._username)
        if not isinstance(password, str) or not password or not isinstance(username, str):
            raise SecretFault("malformed", f"{self._place} has no text in its field password")
        is_first = self.standing.had_at_s is None
        is_new = self.change(Credentials(username, password))
        self.standing.had(is_new=is_new)
        if is_new and not is_first:
            _log.info("credentials changed", secret=self.standing.name)
        return self._every_s


class DatabaseCredentials(Watched):
    """A user that Vault's database engine made, under a lease: renewed, and replaced before it cannot be.

    Overlap    others are got when a third of the old ones' life is left, or when the token that they hang on was
               replaced; the old ones are left to end by themselves, so what still uses them is cut off by nobody.
    """

    def __init__(
        self, client: VaultClient, mount: str, role: str, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(Credentials())
        self.standing = Standing("database", now_s)
        self._client = client
        self._place = f"{mount}/creds/{role}"
        self._now_s = now_s
        self._lease = ""
        self._may_renew = False
        self._since_s = 0.0
        self._lasts_s = 0.0
        self._whole_s = 0.0
        self._generation = 0

    async def keep(self) -> float:
        """The lease is good for a while; in how many seconds it is to be looked at again. Raises SecretFault."""
        is_ours = bool(self._lease) and self._generation == self._client.generation
        if not is_ours or (self._due_s() <= 0 and not await self._renew()):
            await self._replace()
        return max(0.05, min(LOOK_S, self._due_s()))

    def _due_s(self) -> float:
        """In how many seconds the lease is to be renewed."""
        return self._since_s + self._lasts_s * RENEW_AT - self._now_s()

    async def _renew(self) -> bool:
        """Whether the lease is as good as new."""
        if not self._may_renew:
            return False
        try:
            answer = await self._client.write("sys/leases/renew", {"lease_id": self._lease})
        except SecretFault as fault:
            if fault.is_away:
                raise
            return False  # the lease is over, or was revoked
        lasts_s = _lasts(answer)
        # Near the longest life that the role allows, each renewal gives less.
        if lasts_s < self._whole_s * RENEW_AT:
            return False
        self._begin(lasts_s)
        self.standing.had(lasts_s=lasts_s)
        return True

    async def _replace(self) -> None:
        generation = self._client.generation
        answer = await self._client.read(self._place)
        data, lease = answer.get("data") or {}, answer.get("lease_id")
        username, password = data.get("username"), data.get("password")
        if not isinstance(username, str) or not isinstance(password, str) or not isinstance(lease, str) or not password:
            raise SecretFault("malformed", f"{self._place} answered without a user, a password and a lease")
        # A log-in that this very question caused is what the lease hangs on.
        self._generation = max(generation, self._client.generation)
        is_first = not self._lease
        self._lease, self._may_renew = lease, bool(answer.get("renewable", False))
        self._whole_s = _lasts(answer)
        self._begin(self._whole_s)
        self.change(Credentials(username, password))
        self.standing.had(is_new=True, lasts_s=self._whole_s)
        if not is_first:
            _log.info("credentials changed", secret=self.standing.name, lasts_s=round(self._whole_s))

    def _begin(self, lasts_s: float) -> None:
        self._since_s, self._lasts_s = self._now_s(), lasts_s


def _lasts(answer: dict[str, Any]) -> float:
    lasts_s = answer.get("lease_duration")
    if not isinstance(lasts_s, int) or lasts_s <= 0:
        raise SecretFault("malformed", "Vault answered with a lease that has no life")
    return float(lasts_s)
