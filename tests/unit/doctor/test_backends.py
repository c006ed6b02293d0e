"""What the doctor says of back ends: of their combination, and of servers as they were found."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.adapters.cluster.link.inspection import Inspected
from syncbridge.config import Settings
from syncbridge.doctor.backends import check_backends, judged

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
        ({"version": "6.2.1"}, "problem", "Redis 6.2.1"),
        ({"settings": {"maxmemory-policy": "allkeys-lru"}}, "problem", "maxmemory-policy is allkeys-lru"),
        ({"settings": {"appendonly": "no"}}, "warning", "appendonly is no"),
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
