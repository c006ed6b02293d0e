"""A primary of Redis is cut off, everybody who knows what it acknowledged dies with it: what is left?

Alone it would prove little: the nodes hold what they acknowledged, and put back what Redis lost. So they die, too, at
the moment at which the primary does, and what is there afterwards is what the replica got.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.nemesis.judge import lost, stored_log
from tests.nemesis.rounds import next_name
from tests.nemesis.stage import Stage, until
from tests.nemesis.traffic import open_traffic


@dataclass
class Loss:
    """What a disaster took: of so many acknowledged writes, ``while_cut`` of them behind the cut, these."""

    acked: int
    while_cut: int
    lost: list[str]

    def __str__(self) -> str:
        return f"{self.acked} acknowledged, {self.while_cut} of them behind the cut, {len(self.lost)} lost"


async def cut_then_kill(stage: Stage, *, seed: int, cut_s: float = 1.2) -> Loss:
    """A primary lost its link to its replica, then its life, and both nodes theirs; what stands in Redis then.

    The nodes stay dead: the next `Stage.calm` starts others.
    """
    await stage.calm()
    async with AsyncExitStack() as stack:
        traffic = await open_traffic(stage, stack, name=next_name(), seed=seed)
        watched = traffic.sessions[0]
        primary = stage.primary_of(watched)
        await traffic.begin()
        await asyncio.sleep(1.0)
        cut_at = time.monotonic()
        stage.network.cut(primary.host, stage.others_than(primary))
        await asyncio.sleep(cut_s)
        primary.process.kill()
        for node in stage.nodes:
            node.process.kill()
        killed_at = time.monotonic()
        # The cut stays until then: what the dead process has left in its socket, the kernel would still deliver.
        await until(lambda: _has_other_primary(stage, watched, primary.port), deadline_s=30, what="the failover")
        stage.network.heal()
        history = traffic.histories[watched]
        acked = [one for one in history if one.kind == "write" and one.outcome == "ok" and one.returned_at < killed_at]
        stored = await stored_log(stage.redis.url, watched)
        loss = Loss(len(acked), sum(one.returned_at > cut_at for one in acked), list(lost(stored, acked)))
        await traffic.abandon()
        return loss


def _has_other_primary(stage: Stage, session: str, port: int) -> bool:
    return stage.primary_of(session).port != port
