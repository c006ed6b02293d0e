"""Every key that an operator can set: its type, its default, what it is for, and what it must not be."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from syncbridge.auth.rules import AuthRules, IssuerRules
from syncbridge.limits import SHIPPED_PLANS, Limits, Plan, Retention
from syncbridge.net.limits import NetLimits
from syncbridge.secrets.rules import VaultRules

PREFIX = "SYNCBRIDGE_"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_SERVER = re.compile(rf"([a-z+]+)://(?:[^/]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?")
"""A back end's address; of a Redis Cluster several nodes may be named."""
_DATABASES = {
    "sqlite+aiosqlite": frozenset({"mode", "uri", "cache"}),
    "postgresql+asyncpg": frozenset(
        {
            "direct_tls",
            "host",
            "max_cacheable_statement_size",
            "max_cached_statement_lifetime",
            "port",
            "prepared_statement_cache_size",
            "ssl",
            "sslmode",
            "sslrootcert",
            "statement_cache_size",
            "target_session_attrs",
        }
    ),
}
"""What may follow ? in a database's address: what the driver takes as text there, and is no secret."""
_DATABASE_HOST = re.compile(r"[A-Za-z0-9._:-]*")
"""Else, and where @ follows ?, it may be the end of a password with @ in it, and would be shown."""
_COUNTS = ("_size", "_lifetime")
_NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAN_NAME = re.compile(r"[a-z0-9_-]{1,32}")


class Settings(BaseSettings):
    """Everything that an operator can set. Times in ms, sizes in bytes, as the names say."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8080, ge=0, le=65535, description="Port of REST and WebSocket; 0 takes a free one.")
    tls_certificate: Path | None = Field(None, description="PEM certificate chain; with it the port speaks TLS.")
    tls_key: Path | None = Field(None, description="PEM private key, where it is not in tls_certificate.")
    tls_port: int | None = Field(None, ge=0, le=65535, description="A second port for TLS; `port` stays plain then.")
    data_dir: Path = Field(Path("data"), description="Where the embedded storage keeps its files (made, 0700).")
    database_url: SecretStr | None = Field(
        None,
        description="Records elsewhere than in data_dir: postgresql+asyncpg://USER:PASSWORD@HOST/NAME, "
        "over TLS with ?sslmode=verify-full&sslrootcert=FILE.",
    )
    database_pool_size: int = Field(4, ge=1, le=100, description="Connections to the records, of each process.")
    database_migrate: bool = Field(
        False, description="A start brings the schema of database_url up; else `syncbridge migrate` does, before it."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Session logs in Redis, shared by many nodes: redis://USER:PASSWORD@HOST:PORT, rediss:// (TLS), "
        "redis+cluster:// or rediss+cluster:// (any node of a Redis Cluster).",
    )
    redis_acks: Literal["replicated", "local"] = Field(
        "replicated",
        description="What is acknowledged is at a replica too, where there is one; local: at the primary alone.",
    )
    redis_ca_file: Path | None = Field(
        None, description="PEM certificates of the authority that Redis is trusted by over TLS; else the system's."
    )
    amqp_url: SecretStr | None = Field(
        None, description="Broker of events to other services: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://."
    )
    amqp_ca_file: Path | None = Field(None, description="The same for RabbitMQ; of PostgreSQL it is in database_url.")
    node_name: str = Field(
        "", description="Name of this node among the others, never of two at once. Empty: host, process and a number."
    )
    workers: int = Field(
        1, ge=1, le=256, description="Processes on the one port; more than one needs redis_url and PostgreSQL."
    )
    database_password_file: Path | None = Field(
        None, description="The password of database_url, read anew when it changes; instead of one in the URL."
    )
    redis_password_file: Path | None = Field(None, description="The same for Redis.")
    amqp_password_file: Path | None = Field(None, description="The same for RabbitMQ.")
    jwt_secret_file: Path | None = Field(
        None, description="Signing keys, one a line, the one that signs first; instead of our own in the records."
    )
    jwt_secret: SecretStr | None = Field(
        None, description="The same as text; JWT_SECRET is another name of its variable. A new one needs a restart."
    )
    vault_addr: str = Field(
        "", description="HashiCorp Vault or OpenBao, like https://vault.internal:8200; see the table [vault]."
    )
    vault_token: SecretStr | None = Field(None, description="For vault.method token; better in vault.token_file.")
    public_url: str = Field("", description="How people reach the service; in links and codes. Empty: host and port.")
    pairing_url: str = Field("", description="Page that takes a one-time code in its fragment. Empty: public_url/pair.")
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may connect, as a browser sends them."
    )
    trusted_proxies: tuple[str, ...] = Field((), description="Addresses whose X-Forwarded-For is believed.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="A port for /metrics alone; the public one has none then."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of metrics_port; not one that the internet reaches.")
    otel_endpoint: str = Field(
        "", description="OpenTelemetry collector (OTLP over HTTP), like http://127.0.0.1:4318. Empty: no traces."
    )
    otel_sample_ratio: float = Field(0.1, ge=0, le=1, description="Share of traces that is recorded.")
    connections_max: int = Field(10_000, ge=1, description="WebSocket connections of this process.")
    test_echo: bool = Field(
        False, description="An echo for conformance suites at /v1/test/echo; never where strangers can connect."
    )
    snapshots_max: int = Field(100, ge=1, le=10_000, description="Labelled snapshots of one session.")
    session_types: dict[str, dict[str, Any]] = Field(
        {}, description="Further session types, or others under a shipped name: policies, ranges and initial by name."
    )
    plans: dict[str, Plan] = Field(
        SHIPPED_PLANS, description="Plans of accounts by name: what is given changes a shipped one, or makes another."
    )
    default_plan: str = Field("standard", description="The plan of a new account, and of one whose plan is not known.")
    issuers: tuple[IssuerRules, ...] = Field(
        (), description="Whose tokens are taken besides our own: issuer, audience, jwks_url, algorithms."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["auto", "human", "json"] = Field("auto", description="auto: human in a terminal, else JSON.")
    limits: Limits = Field(Limits(), description="See syncbridge.limits.")
    retention: Retention = Field(Retention(), description="See syncbridge.limits.")
    net: NetLimits = Field(NetLimits(), description="See syncbridge.net.limits.")
    auth: AuthRules = Field(AuthRules(), description="See syncbridge.auth.rules.")
    vault: VaultRules = Field(VaultRules(), description="See syncbridge.secrets.rules.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed over: `load` reads file and environment, in an order that can be explained."""
        return (init_settings,)

    @field_validator("allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A list, or one text with commas, as an environment variable has it."""
        return tuple(part for one in value.split(",") if (part := one.strip())) if isinstance(value, str) else value

    @field_validator("issuers", mode="before")
    @classmethod
    def _read_issuers(cls, value: object) -> object:
        """A list of tables, or the same as JSON, as an environment variable has it."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"expected a JSON array of objects: {error}") from error

    @field_validator("allowed_origins")
    @classmethod
    def _judge_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest or origin != origin.lower():
                raise ValueError(f"expected lower-case origins like https://app.example.com, got {origin!r}")
        return origins

    @field_validator("otel_endpoint", "vault_addr")
    @classmethod
    def _judge_address(cls, url: str, info: ValidationInfo) -> str:
        if url and not url.startswith(("http://", "https://")):
            like = "https://vault.internal:8200" if info.field_name == "vault_addr" else "http://127.0.0.1:4318"
            raise ValueError(f"expected an address like {like}, got {url!r}")
        return url.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _judge_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            found = make_url(url.get_secret_value())
        except (ArgumentError, ValueError):  # ValueError: a port that is no number
            found = None
        if (
            found is None
            or found.drivername not in _DATABASES
            or not 0 < (found.port or 5432) < 65536
            or not _DATABASE_HOST.fullmatch(found.host or "")
            or "@" in str(dict(found.query))
        ):
            # Not from the error: its text would hold the password.
            raise ValueError(
                "expected sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST[:PORT]/NAME; "
                "in a password / is %2F and @ is %40"
            )
        known = _DATABASES[found.drivername]
        unknown = sorted(set(found.query) - known)
        if unknown:
            raise ValueError(
                f"no such parameter: {', '.join(map(repr, unknown))}; there are {', '.join(sorted(known))}. "
                "The password stands before the host"
            )
        unread = [name for name, said in found.query.items() if name.endswith(_COUNTS) and not str(said).isdecimal()]
        if unread:
            raise ValueError(f"expected a number for {', '.join(unread)}")
        return url

    @field_validator("redis_url")
    @classmethod
    def _judge_redis(cls, url: SecretStr | None) -> SecretStr | None:
        return _judge_server(
            url,
            ("redis", "rediss", "redis+cluster", "rediss+cluster"),
            "redis://, rediss://, redis+cluster:// or rediss+cluster://, then [USER:PASSWORD@]HOST[:PORT]",
        )

    @field_validator("amqp_url")
    @classmethod
    def _judge_broker(cls, url: SecretStr | None) -> SecretStr | None:
        return _judge_server(url, ("amqp", "amqps"), "amqp:// or amqps://, then [USER:PASSWORD@]HOST[:PORT][/VHOST]")

    @field_validator("node_name")
    @classmethod
    def _judge_node_name(cls, name: str) -> str:
        if name and not _NODE_NAME.fullmatch(name):
            raise ValueError(f"expected letters, digits, '.', '_' and '-', at most 64, got {name!r}")
        return name

    @field_validator("plans", mode="before")
    @classmethod
    def _complete_plans(cls, tables: object) -> object:
        """Each plan whole: what its table does not say is as shipped, or as in `standard`; the shipped ones stay."""
        if not isinstance(tables, dict):
            return tables
        names = [name for name in tables if not _PLAN_NAME.fullmatch(str(name))]
        if names:
            raise ValueError(f"expected names of a-z, 0-9, _ and -, at most 32, got {', '.join(map(repr, names))}")
        whole = {
            name: {**asdict(SHIPPED_PLANS.get(name, Plan())), **table} if isinstance(table, dict) else table
            for name, table in tables.items()
        }
        return {**SHIPPED_PLANS, **whole}

    @field_validator("limits")
    @classmethod
    def _judge_limits(cls, limits: Limits) -> Limits:
        broken = [name for name in limits.__slots__ if getattr(limits, name) <= 0]
        if broken:
            raise ValueError(f"expected numbers above 0: {', '.join(broken)}")
        return limits

    @model_validator(mode="after")
    def _relations(self) -> Settings:
        if (self.tls_key is not None and self.tls_certificate is None) or (
            self.tls_port is not None and not self.has_tls
        ):
            raise ValueError("tls_key and tls_port need tls_certificate")
        self._judge_sources()
        if self.default_plan not in self.plans:
            raise ValueError(
                f"default_plan: expected one of {', '.join(sorted(self.plans))}, got {self.default_plan!r}"
            )
        if self.workers > 1:
            lacking = [
                name
                for name, is_there in (
                    ("redis_url", self.redis_url is not None),
                    ("a postgresql+asyncpg database_url", self.has_shared_records),
                )
                if not is_there
            ]
            if lacking:
                raise ValueError(
                    f"workers: {self.workers} processes share one world only over {' and '.join(lacking)}; "
                    "set that, or workers to 1"
                )
            if self.metrics_port is None:
                raise ValueError(
                    "workers: each has figures of its own, which one port cannot tell apart; set metrics_port, "
                    "of the first worker: the others take the ports after it"
                )
            if self.port == 0:
                raise ValueError("workers: each of many would take a free port of its own; set port")
        names = [self.auth.issuer, *(one.issuer for one in self.issuers)]
        if len(set(names)) < len(names):
            raise ValueError("issuers: each needs a name of its own, other than auth.issuer")
        return self

    def _judge_sources(self) -> None:
        """Each secret has one source: of two, somebody would rotate the wrong one."""
        vault = self.vault if self.vault_addr else VaultRules(jwt_path="")
        given: dict[str, dict[str, bool]] = {
            "the signing keys": {
                "vault.jwt_path": bool(vault.jwt_path),
                "jwt_secret_file": self.jwt_secret_file is not None,
                "jwt_secret": self.jwt_secret is not None,
            },
            "the database's password": {
                "vault.database_role": bool(vault.database_role),
                "database_password_file": self.database_password_file is not None,
                "database_url": _has_password(self.database_url),
            },
            "the password of Redis": {
                "vault.redis_path": bool(vault.redis_path),
                "redis_password_file": self.redis_password_file is not None,
                "redis_url": _has_password(self.redis_url),
            },
            "the password of RabbitMQ": {
                "vault.amqp_path": bool(vault.amqp_path),
                "amqp_password_file": self.amqp_password_file is not None,
                "amqp_url": _has_password(self.amqp_url),
            },
            "the TLS certificate": {
                "vault.pki_role": bool(vault.pki_role),
                "tls_certificate": self.tls_certificate is not None,
            },
        }
        for what, sources in given.items():
            named = [name for name, is_given in sources.items() if is_given]
            if len(named) > 1:
                raise ValueError(
                    f"{what} can come from one place, got {' and '.join(named)} "
                    "(a URL counts with a password in it, vault.* with vault_addr)"
                )
        if (vault.database_role or self.database_password_file) and self.database_url is None:
            raise ValueError("vault.database_role and database_password_file need database_url")
        if (vault.redis_path or self.redis_password_file) and self.redis_url is None:
            raise ValueError("vault.redis_path and redis_password_file need redis_url")
        if (vault.amqp_path or self.amqp_password_file) and self.amqp_url is None:
            raise ValueError("vault.amqp_path and amqp_password_file need amqp_url")
        for key, scheme, url in (
            ("redis_ca_file", "rediss", self.redis_url),
            ("amqp_ca_file", "amqps", self.amqp_url),
        ):
            if getattr(self, key) is not None and (url is None or not url.get_secret_value().startswith(scheme)):
                raise ValueError(f"{key} is for TLS, and needs an address that begins with {scheme}")
        if not self.vault_addr and self.vault_token is not None:
            raise ValueError("vault_token needs vault_addr")

    @property
    def has_outside_keys(self) -> bool:
        """Whether the signing keys are not those of the records."""
        in_vault = bool(self.vault_addr and self.vault.jwt_path)
        return in_vault or self.jwt_secret_file is not None or self.jwt_secret is not None

    @property
    def has_tls(self) -> bool:
        """Whether a port speaks TLS."""
        return self.tls_certificate is not None or bool(self.vault_addr and self.vault.pki_role)

    @property
    def records_url(self) -> str:
        """The database of the records: `database_url`, else a file in the data directory."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir / 'records.db'}"

    @property
    def records_place(self) -> str:
        """Where the records are, without a password."""
        url = make_url(self.records_url)
        return (url.database or "") if not self.has_shared_records else url.render_as_string(hide_password=True)

    @property
    def migrates_at_start(self) -> bool:
        """A start brings the records' schema up. A file of ours always; what others share, where it is said so."""
        return self.database_migrate or not self.has_shared_records

    @property
    def has_shared_records(self) -> bool:
        """The records' database is a server, which any number of processes use at once."""
        return self.records_url.startswith("postgresql")

    @property
    def base_url(self) -> str:
        """How people reach the service, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        has_tls = self.has_tls and self.tls_port is None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if has_tls else 'http'}://{host}:{self.port}"


def _has_password(url: SecretStr | None) -> bool:
    """Whether the address says one, as ``USER:PASSWORD@``; the addresses of a Redis Cluster are many behind it."""
    return url is not None and bool(urlsplit(url.get_secret_value()).password)


def _judge_server(url: SecretStr | None, schemes: tuple[str, ...], expected: str) -> SecretStr | None:
    """The address of a back end, once its form is right. The refusal repeats nothing of it: it may be a secret."""
    if url is None:
        return None
    found = _SERVER.fullmatch(url.get_secret_value())
    if found is None or found[1] not in schemes:
        raise ValueError(f"expected {expected}; in a password / is %2F and @ is %40")
    return url
