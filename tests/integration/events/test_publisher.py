"""Publishing at the rate of a drain: many events a write, each with a word of its own, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from deploy.local.rabbitmq import Rabbit
from syncbridge.adapters.cluster.events import publisher
from syncbridge.adapters.cluster.events.broker import RabbitBroker
from syncbridge.core.facts import Fact
from syncbridge.ports import NotTold
from tests.integration.events.consumer import Listener
from tests.integration.events.storm import broker_at
from tests.unit.events.stage import fact

pytestmark = pytest.mark.serial


@pytest.fixture
async def hearer(rabbit: Rabbit) -> AsyncIterator[Listener]:
    """What comes, whatever it says."""
    async with Listener.on(rabbit.url, is_judging=False) as listening:
        yield listening


async def words(broker: RabbitBroker, facts: Sequence[Fact]) -> list[str]:
    """What came of telling them side by side: a reason each, or nothing."""
    told = await asyncio.gather(*map(broker.tell, facts), return_exceptions=True)
    assert all(isinstance(one, NotTold | None) for one in told), told
    return [one.reason if isinstance(one, NotTold) else "" for one in told]


async def test_what_is_told_side_by_side_goes_in_few_writes_and_in_the_order_told(
    rabbit: Rabbit, hearer: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real = publisher.Publisher._send

    async def counted(self: publisher.Publisher, count_max: int) -> list[publisher._Told]:
        sent = await real(self, count_max)
        writes.append(len(sent))
        return sent

    monkeypatch.setattr(publisher.Publisher, "_send", counted)
    broker = broker_at(rabbit.url)
    await broker.connect()
    facts = [fact(f"s{number}", 1) for number in range(1 + 10 * publisher.WRITE_MAX)]
    assert set(await words(broker, facts)) == {""}
    await broker.close()
    assert writes == [1, *[publisher.WRITE_MAX] * 10]
    await hearer.until(lambda: len(hearer.events) == len(facts))
    assert [one["id"] for one in hearer.events] == [one.id for one in facts]


async def test_an_event_that_cannot_be_written_ends_no_other(rabbit: Rabbit, hearer: Listener) -> None:
    broker = broker_at(rabbit.url)
    await broker.connect()
    long = msgspec.structs.replace(fact("s1", 1), id="i" * 256)
    never = msgspec.structs.replace(fact("s2", 1), at=1 << 62)
    assert await words(broker, [fact("s0", 1), long, never, fact("s3", 1)]) == ["", "unfit", "unfit", ""]
    assert broker.is_connected()
    await broker.close()
    await hearer.until(lambda: len(hearer.events) == 2)


async def test_an_event_longer_than_a_frame_comes_whole(rabbit: Rabbit, hearer: Listener) -> None:
    broker = broker_at(rabbit.url)
    await broker.connect()
    policies = [f"policy-{number}" for number in range(40_000)]
    long = msgspec.structs.replace(fact("s1", 1), type="session.conflict", data={"policies": policies})
    await broker.tell(long)
    await broker.close()
    await hearer.until(lambda: len(hearer.events) == 1)
    assert hearer.events[0]["data"]["policies"] == policies
    assert len(json.dumps(policies)) > 400_000


async def test_a_broker_that_closes_the_connection_leaves_nobody_waiting(rabbit: Rabbit) -> None:
    broker = RabbitBroker(rabbit.url, "urn:test", publish_timeout_s=600)
    await broker.connect()
    closing = asyncio.ensure_future(asyncio.to_thread(rabbit.ctl, "close_all_connections", "by an operator"))
    said: set[str] = set()
    async with asyncio.timeout(60):
        while "away" not in said:
            said.update(await words(broker, [fact(f"s{number}", 1) for number in range(50)]))
    assert said == {"", "away"}
    assert not broker.is_connected()
    await closing
    await broker.close()


async def test_a_frozen_broker_is_given_up_in_time_and_nothing_is_sent_behind_what_is_late(rabbit: Rabbit) -> None:
    broker = broker_at(rabbit.url)
    await broker.connect()
    rabbit.process.freeze()
    assert set(await words(broker, [fact(f"s{number}", 1) for number in range(50)])) == {"timeout"}
    assert not broker.is_connected()
    assert await words(broker, [fact("s", 1)]) == ["away"]
    await broker.close()
    rabbit.process.thaw()
    again = broker_at(rabbit.url)
    await again.connect()
    await again.tell(fact("s", 1))
    await again.close()
