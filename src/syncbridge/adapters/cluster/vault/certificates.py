"""The TLS certificate from Vault's PKI engine: issued, and issued anew after two thirds of its life."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

from syncbridge.adapters.cluster.vault.client import RENEW_AT, VaultClient
from syncbridge.ports import Clock
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import Standing
from syncbridge.secrets.rules import VaultRules

LOOK_S: Final = 10.0
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - memory that no disk keeps; the folder in it is made for us alone
_log = structlog.get_logger("syncbridge.vault")


class VaultCertificate:
    """Key and chain in one file of mode 0600, in memory where the machine has such a folder; gone at the end.

    Whole   the file is renamed into its place: whoever reads it reads a key with its own certificate.
    """

    def __init__(self, client: VaultClient, rules: VaultRules, clock: Clock) -> None:
        self.standing = Standing("certificate")
        self._client = client
        self._rules = rules
        self._clock = clock
        self._folder = Path(tempfile.mkdtemp(prefix="syncbridge-tls-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self.file = self._folder / "server.pem"
        self._renew_at_ms = 0
        self._ends_at_ms = 0

    async def keep(self) -> float:
        """The certificate is good for a while; in how many seconds to look again. Raises SecretFault."""
        if self._clock.now_ms() >= self._renew_at_ms:
            await self._issue()
        # Not until it is due: the clock may be set.
        return max(0.05, min(LOOK_S, (self._renew_at_ms - self._clock.now_ms()) / 1000))

    def close(self) -> None:
        """Nothing of it is left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _issue(self) -> None:
        rules = self._rules
        names, addresses = _sorted_names(rules.pki_alt_names)
        body = {"common_name": rules.pki_name, "alt_names": names, "ip_sans": addresses}
        if rules.pki_ttl_s:
            body["ttl"] = f"{rules.pki_ttl_s}s"
        answer = await self._client.write(f"{rules.pki_mount}/issue/{rules.pki_role}", body)
        text, begins_ms, ends_ms = _read(answer, f"{rules.pki_mount}/issue/{rules.pki_role}")
        # Made with its mode, never wider for a moment; the folder is for us alone besides.
        beside = self._folder / "next.pem"
        beside.touch(mode=0o600)
        beside.write_text(text, encoding="ascii")
        beside.replace(self.file)
        now_ms = self._clock.now_ms()
        # Its beginning is dated back a little, for clocks that lag; its life begins now.
        self._renew_at_ms = now_ms + int((ends_ms - max(begins_ms, now_ms)) * RENEW_AT)
        self._ends_at_ms = ends_ms
        self.standing.had(is_new=True, lasts_s=(ends_ms - now_ms) / 1000)
        _log.info("TLS certificate issued by Vault", name=rules.pki_name, not_after_ms=ends_ms)


def _read(answer: dict[str, Any], place: str) -> tuple[str, int, int]:
    """(key and chain as PEM, when it begins, when it ends)."""
    data = answer.get("data") or {}
    key, leaf = data.get("private_key"), data.get("certificate")
    chain = data.get("ca_chain") or [data.get("issuing_ca")]
    try:
        parts = [str(part).strip() for part in (key, leaf, *chain) if part]
        found = x509.load_pem_x509_certificate(str(leaf).encode("ascii"))
        if not key or found.not_valid_after_utc <= found.not_valid_before_utc:
            raise ValueError
    except ValueError as error:
        raise SecretFault("malformed", f"{place} answered without a certificate and its key") from error
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return "\n".join(parts) + "\n", int(begins.timestamp() * 1000), int(ends.timestamp() * 1000)


def _sorted_names(text: str) -> tuple[str, str]:
    """(names, addresses) of a list with commas, each as Vault wants it."""
    parts = [part for one in text.split(",") if (part := one.strip())]
    addresses = [part for part in parts if part.replace(".", "").isdigit() or ":" in part]
    return ",".join(part for part in parts if part not in addresses), ",".join(addresses)
