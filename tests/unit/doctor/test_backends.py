"""What the doctor says of back ends: of their combination, and of servers as they were found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from syncbridge.adapters.cluster.events.inspection import InspectedBroker
from syncbridge.adapters.cluster.link.inspection import Inspected
from syncbridge.config import Settings
from syncbridge.doctor.backends import check_backends, check_rabbitmq, check_redis, judged, judged_broker
from syncbridge.doctor.findings import Finding

BUFFERS, OTHERS = "client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60"
SOUND = Inspected(
    "10.0.0.1:6379",
    version="7.0.15",
    role="master",
    replicas=1,
    settings={"maxmemory-policy": "noeviction", "appendonly": "yes"},
    cluster_state="ok",
    slots=16_384,
)


@pytest.mark.parametrize(
    ("more", "severity", "said"),
    [
        ({}, "ok", "one process"),
        ({"redis_url": "redis://r", "database_url": "postgresql+asyncpg://u:p@h/d"}, "ok", "any number of nodes"),
        ({"redis_url": "redis://r"}, "warning", "it must stay the only one"),
    ],
)
def test_a_combination_is_told_by_what_it_means(more: dict[str, str], severity: str, said: str) -> None:
    found = next(check_backends(Settings.model_validate(more)))
    assert found.severity == severity
    assert said in found.found + found.meaning
    assert "u:p" not in str(found)


def test_acknowledgements_without_a_replica_are_told() -> None:
    found = list(check_backends(Settings.model_validate({"redis_url": "redis://r", "redis_acks": "local"})))
    assert "redis_acks is local" in [one.found for one in found]


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({}, "ok", "7.0.15"),
        ({"role": "slave", "replicas": 0}, "ok", "slave"),
        ({"settings": {}}, "ok", "7.0.15"),
        ({"fault": "Connection refused"}, "problem", "Connection refused"),
        ({"refusal": "r:6379 says that it is Redis 6.2.1"}, "problem", "Redis 6.2.1"),
        ({"settings": {"maxmemory-policy": "allkeys-lru"}}, "problem", "maxmemory-policy is allkeys-lru"),
        ({"settings": {"appendonly": "no"}}, "warning", "appendonly is no"),
        ({"settings": {"min-replicas-to-write": "1"}}, "ok", "7.0.15"),
        ({"settings": {"min-replicas-to-write": "2"}}, "problem", "min-replicas-to-write is 2, and it has 1"),
        ({"settings": {"min-replicas-to-write": "2"}, "role": "slave"}, "ok", "slave"),
        ({"settings": {BUFFERS: f"{OTHERS} pubsub 33554432 8388608 60"}}, "ok", "7.0.15"),
        ({"settings": {BUFFERS: f"{OTHERS} pubsub 0 0 0"}}, "warning", "pubsub is unbounded"),
        ({"settings": {BUFFERS: f"{OTHERS} pubsub 65536 0 0"}}, "warning", "pubsub is 65536"),
        ({"clock_off_ms": 1_000}, "ok", "7.0.15"),
        ({"clock_off_ms": 1_500}, "warning", "1.5 s ahead of this machine's"),
        ({"clock_off_ms": -86_400_000}, "warning", "86400.0 s behind this machine's"),
        ({"replicas": 0}, "warning", "a primary without a replica"),
        ({"cluster_state": "fail"}, "problem", "the cluster is fail"),
        ({"slots": 10_923}, "problem", "10923 of 16384"),
        ({"cluster_state": "", "slots": 0}, "ok", "7.0.15"),
    ],
)
def test_a_server_is_judged_by_what_it_says_of_itself(change: dict[str, object], severity: str, said: str) -> None:
    (found,) = judged([msgspec.structs.replace(SOUND, **change)], acks="replicated")
    assert found.severity == severity
    assert said in found.found
    assert (found.remedy == "") == (severity == "ok")


def test_a_lone_primary_is_right_where_that_is_meant() -> None:
    (found,) = judged([msgspec.structs.replace(SOUND, replicas=0)], acks="local")
    assert found.severity == "ok"


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({}, "ok", "every event is taken"),
        ({"has_exchange": False}, "ok", "the first node makes the exchange"),
        ({"unrouted": 7}, "warning", "7 events that no queue asked for"),
        ({"fault": "ConnectionRefusedError"}, "warning", "ConnectionRefusedError"),
    ],
)
def test_a_broker_is_judged_by_who_takes_what_it_is_told(change: dict[str, object], severity: str, said: str) -> None:
    found = judged_broker(msgspec.structs.replace(InspectedBroker("h:5672", has_exchange=True), **change))
    assert found.severity == severity
    assert said in found.found
    assert (found.remedy == "") == (severity == "ok")


@pytest.mark.parametrize(
    ("key", "scheme", "check"), [("redis", "rediss", check_redis), ("amqp", "amqps", check_rabbitmq)]
)
async def test_a_file_that_names_no_authority_is_a_problem(
    key: str, scheme: str, check: Callable[[Settings], Awaitable[list[Finding]]]
) -> None:
    named = {f"{key}_url": f"{scheme}://127.0.0.1:1", f"{key}_ca_file": "/dev/null"}
    (found,) = await check(Settings.model_validate(named))
    assert (found.severity, found.found) == ("problem", f"{key}_ca_file: /dev/null holds no certificate in PEM")
