"""Redis loses everything at once: what nodes hold is put back; what none holds comes from the records, said aloud."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.nemesis.history import violations
from tests.nemesis.judge import converged_s, stored_whole
from tests.nemesis.rounds import next_name
from tests.nemesis.stage import Stage, until
from tests.nemesis.traffic import Traffic, open_traffic

pytestmark = pytest.mark.serial

FOUND_S = 30.0


async def _worked(stage: Stage, stack: AsyncExitStack, seed: int, writes: int, rest_share: float) -> Traffic:
    """Every device wrote something in every session, and all of it has its answer."""
    traffic = await open_traffic(stage, stack, name=next_name(), seed=seed)
    traffic.rest_share = rest_share
    await traffic.begin()
    await until(lambda: traffic.operations >= writes, deadline_s=30, what="enough work")
    await traffic.end()
    await converged_s(traffic, stage.redis.url)
    return traffic


def _lose_everything(stage: Stage) -> None:
    """Every key of every server is gone, replicas first: none brings anything back."""
    for server in stage.redis.nodes:
        with server.client() as client:
            if client.info("replication")["role"] == "master":
                client.flushall()


async def test_nodes_put_back_all_that_redis_lost_under_the_same_epoch(stage: Stage) -> None:
    await stage.calm()
    async with AsyncExitStack() as stack:
        traffic = await _worked(stage, stack, 41, 300, 0.08)
        before = {session: await stored_whole(stage.redis.url, session) for session in traffic.sessions}
        _lose_everything(stage)
        # Nobody touches the sessions: the nodes notice by themselves.
        took_s = await converged_s(traffic, stage.redis.url, deadline_s=FOUND_S)
        after = {session: await stored_whole(stage.redis.url, session) for session in traffic.sessions}
        disorder = [text for history in traffic.histories.values() for text in violations(history)]
    print(f"{traffic.operations} operations in three sessions were put back within {took_s:.1f} s")
    assert after == before
    assert [*disorder, *traffic.wire.violations] == []


async def test_what_no_node_holds_comes_from_the_records_and_devices_under_a_new_epoch_each_edit_once(
    stage: Stage,
) -> None:
    """Every node ended, and Redis lost all. The records may be a little old; devices make again what they lack."""
    await stage.calm()
    async with AsyncExitStack() as stack:
        traffic = await _worked(stage, stack, 42, 300, rest_share=0.08)
        before = {session: next(iter(traffic.holders(session).values())) for session in traffic.sessions}
        for node in stage.nodes:
            node.stop()
        _lose_everything(stage)
        await stage.calm()
        for replica in traffic.replicas.values():
            was, writes = before[replica.id], [one for one in traffic.histories[replica.id] if one.kind == "write"]
            acked = sum(one.outcome == "ok" for one in writes)
            await until(lambda it=replica, was=was: it.position.epoch != was.epoch, deadline_s=FOUND_S)  # type: ignore[misc]
            await until(lambda it=replica, acked=acked: it.get("/totals/n") == acked, deadline_s=FOUND_S)  # type: ignore[misc]
        took_s = await converged_s(traffic, stage.redis.url, deadline_s=FOUND_S)
        for replica in traffic.replicas.values():
            writes = [one for one in traffic.histories[replica.id] if one.kind == "write" and one.outcome == "ok"]
            assert replica.get("/totals/n") == len(writes)
        told = traffic.wire.joins.get("epoch", 0)
    print(f"one state again {took_s:.1f} s after new nodes were ready; {told} times a device was told of the new epoch")
    assert told >= len(traffic.replicas)
    assert traffic.wire.violations == []
