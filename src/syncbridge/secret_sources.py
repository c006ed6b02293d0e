"""Where each secret comes from: Vault, a file, the environment, or our own records. Decided here, and nowhere else.

::

    secrets = await open_secrets(settings, stack, clock=clock)
    secrets.keys, secrets.database  # a KeySource and a CredentialSource, or None: the records' own, the URL's own
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

import structlog
from sqlalchemy.engine import make_url

from syncbridge.auth.compact import CLOCKS_APART_MS
from syncbridge.config import Settings
from syncbridge.errors import Unavailable
from syncbridge.ports import Clock, CredentialSource, KeySource, Telemetry
from syncbridge.runtime.ending import end_all
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.files import FileCredentials, FileKeys
from syncbridge.secrets.fixed import FixedKeys
from syncbridge.secrets.keeping import Figures, Kept, Standing, keep_fresh
from syncbridge.secrets.schedule import Overlap

if TYPE_CHECKING:
    from syncbridge.adapters.cluster.vault.client import VaultClient

START_AGAIN_S: Final = 0.5
Purpose = Literal["service", "command", "records", "redis", "amqp"]
"""Who asks: a service wants every secret, and waits for them; a command the keys and the way to the records, now; who
only looks at one back end, the way to it alone, so that a Vault that is away is in the way of nothing else."""
_LOOKING: Final = ("records", "redis", "amqp")
_log = structlog.get_logger("syncbridge.secrets")


@dataclass(slots=True)
class Secrets:
    """Every secret that comes from outside; None: it does not, and the records or a URL hold it."""

    keys: KeySource | None = None
    database: CredentialSource | None = None
    redis: CredentialSource | None = None
    amqp: CredentialSource | None = None
    certificate: Path | None = None
    """Key and chain in one PEM file, replaced as a whole."""
    rotate_keys: str = ""
    """What an operator does to replace the signing key; "" where `syncbridge keys rotate` does it."""
    retire_keys: str = ""
    """What an operator does besides, when a key is in wrong hands."""
    vault: VaultClient | None = None
    standings: list[Standing] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def figures(self, telemetry: Telemetry) -> Callable[[], None]:
        """What takes the state of every secret to the telemetry, each time that it is called."""
        figures = Figures(self.standings)
        return lambda: figures.tell(telemetry)

    def is_healthy(self) -> bool:
        """Whether every secret was had when it was last asked for."""
        return all(one.fault is None for one in self.standings)


async def open_secrets(
    settings: Settings, stack: AsyncExitStack, *, clock: Clock, purpose: Purpose = "service"
) -> Secrets:
    """Every secret of the settings that the purpose needs was had once, and is kept fresh until the stack is left.

    Waits    a service does, for a Vault that is away or sealed, ``vault.start_wait_ms`` at most.
    Raises   Unavailable with the sentence for the operator.
    """
    secrets = Secrets()
    overlap = Overlap(settings.auth.key_lead_ms, settings.auth.access_token_ms + CLOCKS_APART_MS)
    try:
        if purpose not in _LOOKING:
            _open_keys(settings, secrets, overlap, clock)
        _open_passwords(settings, secrets, purpose)
        vault = settings.vault
        needed = {"records": vault.database_role, "redis": vault.redis_path, "amqp": vault.amqp_path}
        if settings.vault_addr and needed.get(purpose, "all"):
            await _open_vault(settings, secrets, stack, overlap, clock, purpose)
    except SecretFault as fault:
        raise Unavailable(f"Cannot go on without its secrets: {fault}") from fault
    if secrets.kept:
        keeping = asyncio.get_running_loop().create_task(keep_fresh(secrets.kept))
        stack.push_async_callback(_end, keeping)
    return secrets


def _open_keys(settings: Settings, secrets: Secrets, overlap: Overlap, clock: Clock) -> None:
    if settings.jwt_secret_file is not None:
        keys = FileKeys(settings.jwt_secret_file, overlap, clock)
        keys.look()
        secrets.keys = keys
        secrets.standings.append(keys.standing)
        secrets.rotate_keys = (
            f"write a new key (`openssl rand -base64 32`) as the first line of {settings.jwt_secret_file}; running "
            "services read it, and nobody's token is refused"
        )
        secrets.retire_keys = "leave the old key out, and restart the services"
    elif settings.jwt_secret is not None:
        fixed = FixedKeys(settings.jwt_secret.get_secret_value(), "JWT_SECRET", clock)
        secrets.keys = fixed
        secrets.standings.append(fixed.standing)
        secrets.rotate_keys = (
            "set JWT_SECRET to a new key (`openssl rand -base64 32`) and, on a second line, the old one, and restart "
            "the services"
        )
        secrets.retire_keys = "leave the old key out"


def _open_passwords(settings: Settings, secrets: Secrets, purpose: Purpose) -> None:
    files = {
        "database": settings.database_password_file,
        "redis": settings.redis_password_file,
        "amqp": settings.amqp_password_file,
    }
    if purpose in ("redis", "amqp"):
        files = {purpose: files[purpose]}
    elif purpose != "service":
        files = {"database": files["database"]}
    for name, file in files.items():
        if file is not None:
            source = FileCredentials(name, _user(settings, name), file)
            setattr(secrets, name, source)
            secrets.standings.append(source.standing)
            secrets.kept.append(source)


async def _open_vault(
    settings: Settings, secrets: Secrets, stack: AsyncExitStack, overlap: Overlap, clock: Clock, purpose: Purpose
) -> None:
    try:
        from syncbridge.adapters.cluster.vault.certificates import VaultCertificate
        from syncbridge.adapters.cluster.vault.client import VaultClient
        from syncbridge.adapters.cluster.vault.credentials import DatabaseCredentials, KvCredentials
        from syncbridge.adapters.cluster.vault.keys import VaultKeys
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"vault_addr needs the package {error.name}; install it:  pip install 'syncbridge[cluster]'"
        ) from error
    rules = settings.vault
    token = settings.vault_token.get_secret_value() if settings.vault_token else ""
    client = secrets.vault = VaultClient(settings.vault_addr, rules, token)
    stack.callback(client.close)
    kept: list[Kept] = [client]
    firsts: list[Callable[[], Awaitable[object]]] = [client.keep]
    serves = purpose == "service"
    if rules.jwt_path and purpose not in _LOOKING:
        keys = VaultKeys(client, rules, overlap, clock)
        secrets.keys = keys
        secrets.standings.append(keys.standing)
        firsts.append(keys.ask)
        secrets.rotate_keys = (
            f"vault kv put -mount={rules.kv_mount} {rules.jwt_path} {rules.jwt_field}=$(openssl rand -base64 32)"
        )
        secrets.retire_keys = f"vault kv delete -mount={rules.kv_mount} -versions=OLD {rules.jwt_path}"
    if rules.database_role and purpose not in ("redis", "amqp"):
        database = DatabaseCredentials(client, rules.database_mount, rules.database_role)
        secrets.database = database
        kept.append(database)
    for name, path in (("redis", rules.redis_path), ("amqp", rules.amqp_path)):
        if path and (serves or purpose == name):
            source = KvCredentials(client, name, rules.kv_mount, path, _user(settings, name), rules.poll_ms / 1000)
            setattr(secrets, name, source)
            kept.append(source)
    if rules.pki_role and serves:
        certificate = VaultCertificate(client, rules, clock)
        stack.callback(certificate.close)
        secrets.certificate = certificate.file
        kept.append(certificate)
    firsts += [one.keep for one in kept if one is not client]
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + (rules.start_wait_ms / 1000 if serves else 0)
    for first in firsts:
        await _had(first, deadline_s)
    secrets.standings += [one.standing for one in kept]
    secrets.kept += kept


def _user(settings: Settings, name: str) -> str:
    """Who the back end's address says that we are."""
    if name == "database":
        return make_url(settings.records_url).username or ""
    url = settings.redis_url if name == "redis" else settings.amqp_url
    return "" if url is None else unquote(urlsplit(url.get_secret_value()).username or "")


async def _had(first: Callable[[], Awaitable[object]], deadline_s: float) -> None:
    """It was had once. What may pass by itself is waited for, what an operator must mend is not."""
    loop = asyncio.get_running_loop()
    is_told = False
    while True:
        try:
            await first()
        except SecretFault as fault:
            if not fault.is_passing or loop.time() + START_AGAIN_S > deadline_s:
                raise
            if not is_told:
                left_s = round(deadline_s - loop.time())
                _log.warning("a start waits for its secrets", kind=fault.kind, reason=str(fault), left_s=left_s)
            is_told = True
            await asyncio.sleep(START_AGAIN_S)
        else:
            return


async def _end(task: asyncio.Task[None]) -> None:
    await end_all([task])
