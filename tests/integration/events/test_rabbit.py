"""Events at a real broker: every type as documented, and delayed but not lost whatever the broker does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import FieldTable
from yarl import URL

from deploy.local.process import free_port
from deploy.local.rabbitmq import Rabbit
from syncbridge.adapters.cluster.events.broker import EXCHANGE, UNROUTED, RabbitBroker
from syncbridge.adapters.cluster.events.inspection import inspect_broker
from syncbridge.adapters.cluster.events.relay import Relay, RelayRules
from syncbridge.adapters.embedded import SqliteStore
from syncbridge.core.facts import FACT_KINDS
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.ports import Credentials, FixedCredentials, NotTold, Outbox
from syncbridge.records import Account, Records, RecordsOutbox, SessionRecord, open_records
from syncbridge.runtime.clock import ServerClock
from syncbridge.runtime.ending import end_all
from tests.integration.events import stage
from tests.integration.events.consumer import Listener, judge
from tests.integration.events.storm import Hasty, broker_at
from tests.unit.events.stage import Figures, fact

pytestmark = pytest.mark.serial

SESSION = SessionId("ses_1")
ANN = AccountId("ada")
RULES = RelayRules(poll_ms=20, retry_ms=50, retry_ms_max=200, update_interval_ms=0)


def broker_of(rabbit: Rabbit, *, publish_timeout_s: float = 5.0) -> RabbitBroker:
    return RabbitBroker(rabbit.url, "urn:test", publish_timeout_s=publish_timeout_s, connect_timeout_s=2)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = stage.open_store(tmp_path / "data", ServerClock())
    yield opened
    opened.close()


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    opened = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    await opened.accounts.add(Account(ANN, "ann@example.com", 1), "hash")
    opened.outbox.keep(ServerClock())
    yield opened
    await opened.close()


@asynccontextmanager
async def relaying(relay: Relay) -> AsyncIterator[Relay]:
    """The relay follows, until the block is left."""
    task = asyncio.ensure_future(relay.follow())
    try:
        yield relay
    finally:
        await end_all([task])
        await relay.close()


def relay_over(rabbit: Rabbit, store: SqliteStore, records: Records, figures: Figures | None = None) -> Relay:
    clock = ServerClock()
    outboxes: list[Outbox] = [
        stage.outbox_of(store, clock),
        RecordsOutbox(records.database, records.outbox, clock, "one"),
    ]
    return Relay(outboxes, broker_of(rabbit, publish_timeout_s=1), clock, figures or Figures(), rules=RULES)


async def test_every_type_of_event_comes_as_its_schema_says(
    rabbit: Rabbit, listener: Listener, store: SqliteStore, records: Records
) -> None:
    await stage.outbox_of(store, ServerClock()).open()
    async with relaying(relay_over(rabbit, store, records)):
        await stage.create(store, SESSION)
        entries = [
            stage.edit(2),
            stage.pause(3),
            stage.pause(4),
            stage.offer(5),
            stage.handoff(6),
            stage.withdrawal(7),
            stage.clash(8),
            stage.restore(9),
            stage.ending(10, "completed"),
            stage.ending(11, "archived"),
        ]
        for entry in entries:
            await stage.commit(store, SESSION, entry)
        await records.devices.register(
            ANN, DeviceInfo("phone", "Canary", "ios"), login_at=5, devices_max=lambda _plan: 5, now_ms=5
        )
        await records.devices.remove(ANN, DeviceId("phone"), 6)
        await records.sessions.add(SessionRecord(SESSION, ANN, "breathing", "Canary", {}, 1, "active", 1, None, 1))
        await records.sessions.remove(SESSION)
        # What an account's outbox still holds goes with the account: of two subjects, either may be told first.
        await listener.until(lambda: {"device.removed", "session.deleted"} <= set(listener.kinds()))
        await records.erasures.begin(ANN, 7)
        await records.erasures.erase_account(ANN)
        await records.erasures.finish(ANN, 8)
        wanted = {kind.name for kind in FACT_KINDS}
        await listener.until(lambda: wanted <= set(listener.kinds()))
    assert listener.disorder() == []
    assert "Canary" not in str(listener.events)
    offered = next(one for one in listener.events if one["type"] == "com.harmonyflow.handoff.offered")
    assert offered["data"]["is_away"] is True


async def test_what_no_queue_asked_for_waits_for_a_consumer_that_comes_late(rabbit: Rabbit) -> None:
    broker = broker_of(rabbit)
    await broker.connect()
    await broker.tell(fact("s", 1))
    await broker.close()
    assert await count_in(rabbit, UNROUTED) == 1


class Rotated(FixedCredentials):
    """Credentials that are others each time that they are asked for."""

    def __init__(self, *passwords: str) -> None:
        super().__init__()
        self._passwords = list(passwords)

    def current(self) -> Credentials:
        return Credentials("guest", self._passwords.pop(0))


async def test_every_connection_logs_in_with_the_credentials_of_the_moment(rabbit: Rabbit) -> None:
    url = rabbit.url.replace("guest:guest@", "guest:canary@")
    broker = RabbitBroker(url, "urn:test", credentials=Rotated("canary-old", "guest"), connect_timeout_s=10)
    with pytest.raises(NotTold) as refusal:
        await broker.connect()
    assert refusal.value.reason == "refused"
    assert "canary" not in str(refusal.value)
    await broker.connect()
    await broker.tell(fact("s", 1))
    await broker.close()


async def count_in(rabbit: Rabbit, queue: str) -> int:
    connection = await aio_pika.connect(rabbit.url, timeout=10)
    async with connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


@pytest.mark.parametrize("wrong", ["password", "vhost"])
async def test_a_log_in_that_is_refused_is_told_as_such_and_without_the_password(rabbit: Rabbit, wrong: str) -> None:
    url = URL(rabbit.url).with_password("canary") if wrong == "password" else URL(rabbit.url).with_path("/canary")
    with pytest.raises(NotTold) as caught:
        await RabbitBroker(str(url), "urn:test").connect()
    assert caught.value.reason == "refused"
    assert "canary" not in str(caught.value)


@asynccontextmanager
async def operating(rabbit: Rabbit) -> AsyncIterator[AbstractChannel]:
    """A channel of an operator's, to make things otherwise."""
    connection = await aio_pika.connect(rabbit.url, timeout=10)
    async with connection:
        yield await connection.channel()


async def test_what_an_operators_exchange_takes_to_no_queue_waits_for_a_consumer_that_comes_late(
    rabbit: Rabbit,
) -> None:
    broker = broker_of(rabbit)
    async with operating(rabbit) as channel:
        await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        await broker.connect()
        await broker.tell(fact("s", 1))
    await broker.close()
    assert await count_in(rabbit, UNROUTED) == 1


async def test_an_exchange_and_an_alternate_that_an_operator_made_otherwise_are_used_and_return_what_nobody_takes(
    rabbit: Rabbit,
) -> None:
    broker = broker_of(rabbit)
    async with operating(rabbit) as channel:
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        await channel.declare_queue(UNROUTED, durable=True)
        await broker.connect()
        with pytest.raises(NotTold, match=r"returned: no queue takes session\.paused"):
            await broker.tell(fact("s", 1))
        assert broker.is_connected()
        queue = await channel.declare_queue("everything", durable=True)
        await queue.bind(exchange, "#")
        await broker.tell(fact("s", 1))
    await broker.close()
    assert await count_in(rabbit, "everything") == 1


@pytest.mark.parametrize("make", [broker_at, Hasty], ids=["as it is", "planted: confirm not awaited"])
async def test_what_a_queue_refuses_is_told_again_until_it_takes_it(
    rabbit: Rabbit, store: SqliteStore, make: Callable[[str], RabbitBroker]
) -> None:
    clock, figures, broker = ServerClock(), Figures(), make(rabbit.url)
    outbox = stage.outbox_of(store, clock)
    await outbox.open()
    await broker.connect()
    connection = await aio_pika.connect(rabbit.url, timeout=10)
    async with connection:
        channel = await connection.channel()
        full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue("tiny", durable=True, arguments=full)
        await queue.bind(EXCHANGE, "session.*")
        for number in range(5):
            await stage.create(store, SessionId(f"ses_{number}"))
        took: list[str] = []
        async with relaying(Relay([outbox], broker, clock, figures, rules=RULES)):
            with suppress(TimeoutError):
                async with asyncio.timeout(3 if make is Hasty else 60):
                    while len(set(took)) < 5:
                        message = await queue.get(fail=False)
                        if message is not None:
                            took.append(judge(message)["id"])
                            await message.ack()
                        await asyncio.sleep(0.02)
    is_planted = make is Hasty
    assert (len(set(took)) < 5) is is_planted
    assert (figures.sums["event_failed", "nacked"] == 0) is is_planted


async def test_a_blocked_broker_delays_loses_nothing_and_is_sent_no_more_than_one_event(
    rabbit: Rabbit, listener: Listener, store: SqliteStore, records: Records
) -> None:
    await stage.outbox_of(store, ServerClock()).open()
    figures = Figures()
    sessions = [SessionId(f"ses_{number}") for number in range(20)]
    await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0")
    try:
        for session in sessions:
            await stage.create(store, session)
        async with relaying(relay_over(rabbit, store, records, figures)) as relay:
            await until(lambda: figures.sums["event_failed", "blocked"] > 3 * len(sessions))
            assert (listener.events, relay.is_healthy()) == ([], False)
            await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.4")
            await listener.until(lambda: len(listener.ids) == len(sessions))
            await until(relay.is_healthy)
    finally:
        with suppress(OSError):
            await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.4")
    repeats = len(listener.events) - len(sessions)
    assert repeats <= 1
    assert figures.sums["event_failed", "timeout"] == 0


async def until(condition: stage.Condition) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another task's, which tells nobody
            await asyncio.sleep(0.02)


async def test_over_tls_only_a_broker_with_a_trusted_certificate_is_told(rabbit: Rabbit, authority: Path) -> None:
    url = f"amqps://guest:guest@localhost:{rabbit.tls_port}/"
    broker = RabbitBroker(url, "urn:test", ca_file=str(authority))
    await broker.connect()
    await broker.tell(fact("ses_1", 1))
    await broker.close()
    stranger = RabbitBroker(url, "urn:test")
    with pytest.raises(NotTold) as caught:
        await stranger.connect()
    assert (caught.value.reason, "guest" in str(caught.value)) == ("away", False)


async def test_an_onlooker_is_told_what_no_queue_asked_for_and_makes_nothing(rabbit: Rabbit) -> None:
    found = await inspect_broker(rabbit.url)
    assert (found.fault, found.has_exchange, found.unrouted) == ("", False, 0)
    assert not (await inspect_broker(rabbit.url)).has_exchange
    broker = broker_of(rabbit)
    await broker.connect()
    for number in range(3):
        await broker.tell(fact("ses_1", number))
    await broker.close()
    found = await inspect_broker(rabbit.url)
    assert (found.fault, found.has_exchange, found.unrouted) == ("", True, 3)


async def test_an_onlooker_says_why_the_broker_does_not_let_it_in_and_no_password(rabbit: Rabbit) -> None:
    wrong = await inspect_broker(rabbit.url, FixedCredentials("guest", "wrong-password"))
    nobody = await inspect_broker(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert (wrong.fault.partition(",")[0], "wrong-password" in str(wrong)) == ("wrong user or password", False)
    assert nobody.fault == "Connection refused"
