"""What an operator can set about Vault, with the reason for each default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

METHODS: Final = ("token", "approle", "kubernetes")
_PATH: Final = re.compile(r"[\w.-]+(/[\w.-]+)*")
_NAME: Final = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class VaultRules:
    """Table ``[vault]`` of the configuration; without `vault_addr` nothing of it is looked at."""

    method: str = "token"  # how to log in: token, approle or kubernetes
    mount: str = ""  # where that method is mounted; empty: under its own name
    token_file: str = ""  # the token, read anew at each log-in: as an agent writes it; else SYNCBRIDGE_VAULT_TOKEN
    role_id: str = ""  # of the AppRole
    secret_id_file: str = ""  # of the AppRole, read anew at each log-in
    kubernetes_role: str = ""  # the role that the service account is bound to
    kubernetes_jwt_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # where Kubernetes mounts it
    namespace: str = ""  # of Vault Enterprise, and of OpenBao
    ca_file: str = ""  # PEM certificates to trust; empty: those that ship with `requests`
    timeout_ms: int = 5_000  # one question to Vault; on a healthy network it takes a few
    start_wait_ms: int = 30_000  # a start waits so long for a Vault that is away or sealed, then ends with 1
    poll_ms: int = 5_000  # how often passwords are read anew; signing keys every auth.key_refresh_ms
    kv_mount: str = "secret"  # the kv engine, version 2
    jwt_path: str = "harmonyflow/jwt"  # the signing keys, a version each; empty: they do not come from Vault
    jwt_field: str = "signing_key"  # as the operators' handbook writes it
    redis_path: str = ""  # like harmonyflow/redis, fields `password` and perhaps `username`; empty: as in redis_url
    amqp_path: str = ""  # the same for RabbitMQ
    database_mount: str = "database"  # the database engine
    database_role: str = ""  # credentials of database_url are database/creds/ROLE; empty: as in the URL
    pki_mount: str = "pki"  # the certificate engine
    pki_role: str = ""  # the TLS certificate is pki/issue/ROLE; empty: tls_certificate
    pki_name: str = ""  # its common name, and the first of its names
    pki_alt_names: str = ""  # further names and addresses, with commas
    pki_ttl_s: int = 0  # how long it lasts; 0: what the role says

    def __post_init__(self) -> None:
        """Raises ValueError naming what cannot be."""
        needs = {
            "token": (),
            "approle": ("role_id", "secret_id_file"),
            "kubernetes": ("kubernetes_role", "kubernetes_jwt_file"),
        }
        if self.method not in needs:
            raise ValueError(f"vault.method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        missing = [name for name in needs[self.method] if not getattr(self, name)]
        if missing:
            raise ValueError(f"vault.method {self.method} needs {', '.join(f'vault.{name}' for name in missing)}")
        if self.pki_role and not self.pki_name:
            raise ValueError("vault.pki_role needs vault.pki_name, the name that people type")
        for name in ("mount", "kv_mount", "jwt_path", "redis_path", "amqp_path", "database_mount", "pki_mount"):
            _judge(name, getattr(self, name), _PATH, "a path like harmonyflow/jwt, without / at either end")
        for name in ("jwt_field", "database_role", "pki_role"):
            _judge(name, getattr(self, name), _NAME, "a name")
        for name in ("timeout_ms", "start_wait_ms", "poll_ms"):
            if getattr(self, name) <= 0:
                raise ValueError(f"vault.{name}: expected a number above 0")
        if self.pki_ttl_s < 0 or not self.kv_mount or not self.jwt_field:
            raise ValueError("vault.pki_ttl_s must not be below 0, vault.kv_mount and vault.jwt_field not empty")

    @property
    def login_path(self) -> str:
        """Where the method is mounted."""
        return self.mount or self.method


def _judge(name: str, value: str, form: re.Pattern[str], expected: str) -> None:
    # `..` would leave the place that the policy was written for.
    if value and (not form.fullmatch(value) or ".." in value):
        raise ValueError(f"vault.{name}: expected {expected}, got {value!r}")
