"""Secrets that others keep: whether each can be had from here, whether it is strong, and how long it lasts."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncbridge.auth.compact import CLOCKS_APART_MS
from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.doctor.keys import judge_keys
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.files import read_text, split_keys
from syncbridge.secrets.rules import VaultRules
from syncbridge.secrets.schedule import Overlap
from syncbridge.story.words import span

if TYPE_CHECKING:
    from syncbridge.adapters.cluster.vault.client import VaultClient

FILES = "secrets"
VAULT = "vault"
TOKEN_LASTS_MIN_S = 60
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Now:
    """The clock of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


async def check_secrets(settings: Settings) -> list[Finding]:
    """Every finding about secrets from outside; none where there are none. Vault is asked, and makes nothing for it."""
    findings = [*_files(settings), *_variable(settings)]
    if settings.vault_addr:
        findings += await _vault(settings)
    return findings


def _files(settings: Settings) -> Iterator[Finding]:
    for key in ("jwt_secret_file", "database_password_file", "redis_password_file", "amqp_password_file"):
        file: Path | None = getattr(settings, key)
        if file is None:
            continue
        try:
            text = read_text(file)
            count = len(split_keys(text, str(file))) if key == "jwt_secret_file" else 1
        except SecretFault as fault:
            yield problem(
                FILES, f"{key}: {fault}", "The service does not start; a running one uses what it has.", "mend the file"
            )
            continue
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o007:
            yield warning(
                FILES, f"{file} has mode {mode:04o}", "Every user of the machine reads it.", f"chmod 0600 {file}"
            )
        yield ok(FILES, f"{key}: {file} can be read" + (f", {count} keys" if count > 1 else ""))


def _variable(settings: Settings) -> Iterator[Finding]:
    if settings.jwt_secret is None:
        return
    try:
        split_keys(settings.jwt_secret.get_secret_value(), "JWT_SECRET")
    except SecretFault as fault:
        yield problem(FILES, str(fault), "The service does not start.", "set JWT_SECRET to `openssl rand -base64 32`")
    else:
        yield ok(FILES, "the signing key is in JWT_SECRET; a new one needs a restart, one in jwt_secret_file none")


async def _vault(settings: Settings) -> list[Finding]:
    try:
        from syncbridge.adapters.cluster.vault.client import VaultClient
    except ModuleNotFoundError as error:
        return [
            problem(
                VAULT,
                f"the package {error.name} is not installed",
                "The service does not start.",
                "pip install 'syncbridge[cluster]'",
            )
        ]
    address = urlsplit(settings.vault_addr)
    findings = []
    if address.scheme == "http" and address.hostname not in _LOOPBACK:
        findings.append(
            warning(
                VAULT,
                f"{settings.vault_addr} is asked without TLS",
                "Whoever is on the way reads every secret, unless a mesh encrypts it.",
                "name Vault's https address in vault_addr, and its authority in vault.ca_file",
            )
        )
    token = settings.vault_token.get_secret_value() if settings.vault_token else ""
    client = VaultClient(settings.vault_addr, settings.vault, token)
    try:
        return findings + await _ask(client, settings)
    finally:
        client.close()


async def _ask(client: VaultClient, settings: Settings) -> list[Finding]:
    from syncbridge.adapters.cluster.vault.keys import VaultKeys

    rules = settings.vault
    try:
        await client.keep()
    except SecretFault as fault:
        return [
            problem(
                VAULT,
                str(fault),
                "A running service goes on with what it holds, until that ends; one that starts does not open.",
                "mend what the sentence names; docs/security.md tells of each",
            )
        ]
    findings = [_judge_token(client)]
    findings += await _judge_policy(client, rules)
    if not rules.jwt_path:
        return findings
    overlap = Overlap(settings.auth.key_lead_ms, settings.auth.access_token_ms + CLOCKS_APART_MS)
    clock = _Now()
    source = VaultKeys(client, rules, overlap, clock)
    try:
        keys = await source.ask()
    except SecretFault as fault:
        put = f"vault kv put -mount={rules.kv_mount} {rules.jwt_path} {rules.jwt_field}=$(openssl rand -base64 32)"
        findings.append(problem(VAULT, str(fault), "A service that starts does not open.", put))
        return findings
    findings += [
        warning(VAULT, str(fault), "It is left out; those before it go on.", "write another version")
        for fault in source.bad
    ]
    # Nobody here replaces them, however old they are.
    return findings + list(judge_keys(keys, replace(settings.auth, key_rotate_ms=0), clock.now_ms()))


def _judge_token(client: VaultClient) -> Finding:
    lasts_s = client.standing.lasts_s
    if lasts_s is None:
        return warning(
            VAULT,
            f"{client.address} answers; the token never ends",
            "Who copies it has it for good, and perhaps it may everything.",
            "log in by AppRole or Kubernetes: deploy/vault/setup.sh makes a role and its policy",
        )
    if lasts_s < TOKEN_LASTS_MIN_S:
        return warning(
            VAULT,
            f"{client.address} answers; a token lasts {lasts_s:.0f} s",
            "A Vault that is away for that long takes every lease along.",
            "raise the token_ttl of the role to an hour",
        )
    return ok(VAULT, f"{client.address} answers; logged in, the token lasts {span(int(lasts_s * 1000))}")


async def _judge_policy(client: VaultClient, rules: VaultRules) -> list[Finding]:
    wanted = needed(rules)
    if not wanted:
        return []
    try:
        answer = await client.write("sys/capabilities-self", {"paths": list(wanted)})
    except SecretFault:
        return []  # not every policy lets a token ask what it may; what it may not, the service will say
    found = answer.get("data") or answer
    return [
        problem(
            VAULT,
            f"the policy does not allow to {word} {path}",
            "The service does not start, or goes on until what it holds ends.",
            "vault policy write syncbridge deploy/vault/policy.hcl, with this path",
        )
        for path, word in wanted.items()
        if not {word, "root", "sudo"} & set(found.get(path, ()))
    ] or [ok(VAULT, f"the policy allows the {len(wanted)} paths that are asked for")]


def needed(rules: VaultRules) -> dict[str, str]:
    """Every path that a service asks for by these rules, and what it must be allowed to do there."""
    paths = {}
    if rules.jwt_path:
        paths[f"{rules.kv_mount}/metadata/{rules.jwt_path}"] = "read"
        paths[f"{rules.kv_mount}/data/{rules.jwt_path}"] = "read"
    paths |= {f"{rules.kv_mount}/data/{path}": "read" for path in (rules.redis_path, rules.amqp_path) if path}
    if rules.database_role:
        paths[f"{rules.database_mount}/creds/{rules.database_role}"] = "read"
        paths["sys/leases/renew"] = "update"
    if rules.pki_role:
        paths[f"{rules.pki_mount}/issue/{rules.pki_role}"] = "update"
    return paths
