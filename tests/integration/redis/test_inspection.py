"""What an onlooker reads of real servers."""

from __future__ import annotations

from deploy.local.process import free_port
from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.link.inspection import inspect_redis


async def test_every_server_of_a_cluster_is_found_from_one(redis_cluster: RedisCluster) -> None:
    first = redis_cluster.nodes[0]
    found = await inspect_redis(f"redis+cluster://127.0.0.1:{first.port}")
    assert {one.address for one in found} == {f"127.0.0.1:{node.port}" for node in redis_cluster.nodes}
    assert {one.fault for one in found} == {""}
    assert sorted(one.role for one in found) == ["master"] * 3 + ["slave"] * 3
    assert {(one.cluster_state, one.slots) for one in found} == {("ok", 16_384)}
    assert all(one.replicas == 1 for one in found if one.role == "master")


async def test_a_server_of_another_kind_than_the_address_says_is_told_as_a_node_tells_it(
    redis_cluster: RedisCluster, redis_server: RedisServer
) -> None:
    of_cluster, single = redis_cluster.nodes[0].port, redis_server.port
    (found,) = await inspect_redis(f"redis://127.0.0.1:{of_cluster}")
    assert (
        found.refusal
        == f"127.0.0.1:{of_cluster} is a server of a Redis Cluster: say redis+cluster:// (rediss+cluster://)"
    )
    (found,) = await inspect_redis(f"redis+cluster://127.0.0.1:{single}")
    assert found.refusal == f"127.0.0.1:{single} is no server of a Redis Cluster: say redis:// (rediss://)"
    (found,) = await inspect_redis(f"redis://127.0.0.1:{single}")
    assert found.refusal == ""


async def test_a_single_server_tells_how_it_is_set_up(redis_server: RedisServer) -> None:
    (found,) = await inspect_redis(f"redis://127.0.0.1:{redis_server.port}")
    assert found.version.startswith("7.")
    assert found.settings["appendonly"] == "no"
    assert found.settings["maxmemory-policy"] == "noeviction"
    assert found.settings["min-replicas-to-write"] == "0"
    assert "pubsub" in found.settings["client-output-buffer-limit"]
    assert found.clock_off_ms == 0, "the very same clock"
    assert found.cluster_state == ""


async def test_a_server_that_is_not_there_is_told_and_keeps_no_other_from_being_looked_at(
    redis_server: RedisServer,
) -> None:
    nobody = free_port()
    found = await inspect_redis(f"redis+cluster://127.0.0.1:{nobody},127.0.0.1:{redis_server.port}")
    by_address = {one.address: one for one in found}
    assert by_address[f"127.0.0.1:{nobody}"].fault
    assert by_address[f"127.0.0.1:{redis_server.port}"].version
