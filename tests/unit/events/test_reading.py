"""What waits in many slots is read a little at a time: the loop is the sessions' in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from syncbridge.adapters.cluster.events import outbox as module
from syncbridge.adapters.cluster.events.outbox import FACTS_OF_A_SLOT, READ_AT_ONCE, SLOTS_A_ROUND, RedisOutbox
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer
from syncbridge.core.facts import encode_fact
from tests.unit.events.stage import fact

FACTS_MAX = READ_AT_ONCE * FACTS_OF_A_SLOT


class FullLink:
    """A Redis whose every slot has as many facts as are taken of one; all answers come in one read."""

    def run(self, script: object, keys: Sequence[bytes], args: object, done: Callable[[Answer], None]) -> None:
        subject = keys[0].decode()
        rows = [(b"%d-0" % number, encode_fact(fact(subject, number))) for number in range(1, 1 + FACTS_OF_A_SLOT)]
        done([2, 1, 0, [part for row in rows for part in row], []])


@pytest.mark.parametrize("at_once", [READ_AT_ONCE, SLOTS_A_ROUND], ids=["as it is", "planted: a round at once"])
async def test_no_turn_of_the_loop_reads_more_than_a_few_slots(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[int] = Counter()
    turn = 0
    real = module._fact

    def counted(body: bytes) -> Any:
        read[turn] += 1
        return real(body)

    async def turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "_fact", counted)
    monkeypatch.setattr(module, "READ_AT_ONCE", at_once)
    outbox = RedisOutbox(cast("RedisLink", FullLink()), "node", ready_ms=5_000)
    outbox._slots.update(dict.fromkeys(range(SLOTS_A_ROUND)))
    counting = asyncio.ensure_future(turns())
    parts = await outbox.take(256)
    counting.cancel()
    assert sum(len(part.facts) for part in parts) == sum(read.values()) == SLOTS_A_ROUND * FACTS_OF_A_SLOT
    assert (max(read.values()) <= FACTS_MAX) is (at_once == READ_AT_ONCE)


async def test_a_take_that_is_ended_amid_its_reading_leaves_every_slot_to_be_looked_at() -> None:
    outbox = RedisOutbox(cast("RedisLink", FullLink()), "node", ready_ms=5_000)
    outbox._slots.update(dict.fromkeys(range(SLOTS_A_ROUND)))
    taking = asyncio.ensure_future(outbox.take(256))
    for _ in range(4):
        await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert sorted(outbox._slots) == list(range(SLOTS_A_ROUND))
