"""What the combination of back ends means, and whether Redis is set up so that it keeps what it acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.doctor.records import WallClock
from syncbridge.secret_sources import open_secrets

if TYPE_CHECKING:
    from syncbridge.adapters.cluster.link.inspection import Inspected

CHECK = "backends"
REDIS = "redis"
SLOTS = 16_384


def check_backends(settings: Settings) -> Iterator[Finding]:
    """What is kept where, and what it survives."""
    records = "PostgreSQL" if settings.has_shared_records else f"SQLite in {settings.data_dir}"
    if settings.redis_url is None:
        yield ok(CHECK, f"session logs in {settings.data_dir}, records in {records}: one process, as safe as its disk")
    elif settings.has_shared_records:
        yield ok(CHECK, f"session logs in Redis, records in {records}: any number of nodes ({settings.workers} here)")
    else:
        yield warning(
            CHECK,
            f"session logs in Redis, records in {records}",
            "Accounts and listings are this node's own: it must stay the only one, and its disk must last.",
            "set database_url to a PostgreSQL that all nodes share",
        )
    if settings.redis_url is not None and settings.redis_acks == "local":
        yield warning(
            CHECK,
            "redis_acks is local",
            "A change is acknowledged when the primary has it; the loss of that primary can lose it.",
            "set redis_acks to replicated",
        )


async def check_redis(settings: Settings) -> list[Finding]:
    """What the servers say of themselves, asked with the service's own credentials."""
    if settings.redis_url is None:
        return []
    from syncbridge.adapters.cluster.link.inspection import inspect_redis
    from syncbridge.adapters.cluster.trust import CannotTrust

    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=WallClock(), purpose="redis")
        try:
            servers = await inspect_redis(
                settings.redis_url.get_secret_value(), secrets.redis, ca_file=str(settings.redis_ca_file or "")
            )
        except CannotTrust as error:
            return [problem(REDIS, f"redis_ca_file: {error}", "No node can start.", "correct redis_ca_file")]
    return list(judged(servers, acks=settings.redis_acks))


def judged(servers: Iterable[Inspected], *, acks: str) -> Iterator[Finding]:
    """The findings about these servers."""
    for server in servers:
        if server.fault:
            yield problem(
                REDIS, f"{server.address}: {server.fault}", "It serves nobody.", "start it, or correct redis_url"
            )
            continue
        findings = list(_of_one(server, acks))
        yield from findings or [
            ok(REDIS, f"{server.address}: {server.version}, {server.role}, {server.replicas} replicas")
        ]


def _of_one(server: Inspected, acks: str) -> Iterator[Finding]:
    at, settings = server.address, server.settings
    if int(server.version.partition(".")[0]) < 7:
        yield problem(
            REDIS, f"{at}: Redis {server.version}", "Sharded news need Redis 7; nodes would hear nothing.", "upgrade it"
        )
    if settings.get("maxmemory-policy", "noeviction") != "noeviction":
        yield problem(
            REDIS,
            f"{at}: maxmemory-policy is {settings['maxmemory-policy']}",
            "When its memory is full it throws session logs away.",
            "CONFIG SET maxmemory-policy noeviction, and in its configuration",
        )
    if settings.get("appendonly", "yes") != "yes":
        yield warning(
            REDIS,
            f"{at}: appendonly is {settings['appendonly']}",
            "A restart empties it; what nodes and the records do not hold is lost.",
            "CONFIG SET appendonly yes, and in its configuration",
        )
    if server.role == "master" and not server.replicas and acks == "replicated":
        yield warning(
            REDIS,
            f"{at}: a primary without a replica",
            "Changes are acknowledged when it alone has them; its loss can lose the last ones.",
            "give it a replica, or set redis_acks to local to say that this is meant",
        )
    if server.cluster_state and (server.cluster_state != "ok" or server.slots < SLOTS):
        yield problem(
            REDIS,
            f"{at}: the cluster is {server.cluster_state}, {server.slots} of {SLOTS} slots are served",
            "Sessions in the other slots are unavailable.",
            f"redis-cli --cluster fix {at}",
        )
