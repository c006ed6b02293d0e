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
    from syncbridge.adapters.cluster.events.inspection import InspectedBroker
    from syncbridge.adapters.cluster.link.inspection import Inspected

CHECK = "backends"
REDIS = "redis"
RABBITMQ = "rabbitmq"
SLOTS = 16_384
PUBSUB_BYTES_MIN = 8 << 20
"""What a node may be behind before Redis cuts it off: some hundred of the largest messages, a second of a busy one."""
CLOCK_OFF_MS_MAX = 1_000


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
                REDIS,
                f"{server.address}: {server.fault}",
                "It serves nobody.",
                server.advice or "start it, or correct redis_url",
            )
            continue
        findings = list(_of_one(server, acks))
        yield from findings or [
            ok(REDIS, f"{server.address}: {server.version}, {server.role}, {server.replicas} replicas")
        ]


def _of_one(server: Inspected, acks: str) -> Iterator[Finding]:
    at, settings = server.address, server.settings
    if server.refusal:
        yield problem(REDIS, server.refusal, "No node uses it, and none starts.", "do as the sentence says")
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
    wanted = int(settings.get("min-replicas-to-write", "0"))
    if server.role == "master" and wanted > server.replicas:
        yield problem(
            REDIS,
            f"{at}: min-replicas-to-write is {wanted}, and it has {server.replicas}",
            "It takes no change. Each commit checks its replicas by itself.",
            "CONFIG SET min-replicas-to-write 0, and in its configuration",
        )
    buffer = _pubsub_bytes_max(settings)
    if buffer is not None and (buffer == 0 or buffer < PUBSUB_BYTES_MIN):
        yield warning(
            REDIS,
            f"{at}: client-output-buffer-limit of pubsub is {buffer or 'unbounded'}",
            "A node that stands still fills its memory."
            if buffer == 0
            else "A node that reads a moment late is cut off, and reads everything again.",
            'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60", and in its configuration',
        )
    if abs(server.clock_off_ms) > CLOCK_OFF_MS_MAX:
        yield warning(
            REDIS,
            f"{at}: its clock is {abs(server.clock_off_ms) / 1000:.1f} s "
            f"{'ahead of' if server.clock_off_ms > 0 else 'behind'} this machine's",
            "No order is told by clocks, but times in logs, and what ends by time, are off by that.",
            "let both follow a time server (chronyc tracking)",
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


def _pubsub_bytes_max(settings: dict[str, str]) -> int | None:
    """The hard limit; 0: none. None where the server does not tell."""
    words = settings.get("client-output-buffer-limit", "").split()
    return int(words[words.index("pubsub") + 1]) if "pubsub" in words else None


async def check_rabbitmq(settings: Settings) -> list[Finding]:
    """Whether the broker lets us in, and whether anybody takes what it is told."""
    if settings.amqp_url is None:
        return []
    from syncbridge.adapters.cluster.events.inspection import inspect_broker
    from syncbridge.adapters.cluster.trust import CannotTrust

    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=WallClock(), purpose="amqp")
        try:
            broker = await inspect_broker(
                settings.amqp_url.get_secret_value(), secrets.amqp, ca_file=str(settings.amqp_ca_file or "")
            )
        except CannotTrust as error:
            return [problem(RABBITMQ, f"amqp_ca_file: {error}", "No node can start.", "correct amqp_ca_file")]
    return [judged_broker(broker)]


def judged_broker(broker: InspectedBroker) -> Finding:
    """The finding about the broker."""
    at = broker.address
    if broker.fault:
        return warning(
            RABBITMQ,
            f"{at}: {broker.fault}",
            "Events wait in the outbox until it is reached; sessions do not notice.",
            "start it, or correct amqp_url and its credentials",
        )
    if not broker.has_exchange:
        return ok(RABBITMQ, f"{at}: it lets us in; the first node makes the exchange")
    if broker.unrouted:
        return warning(
            RABBITMQ,
            f"{at}: {broker.unrouted} events that no queue asked for",
            "They wait in harmonyflow.unrouted for seven days, the newest 100,000.",
            "bind a consumer's queue to the exchange harmonyflow.events, or purge harmonyflow.unrouted",
        )
    return ok(RABBITMQ, f"{at}: the exchange is there, and every event is taken")
