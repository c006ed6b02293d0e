"""One broker for all tests of a process, emptied for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from deploy.local.rabbitmq import Rabbit
from tests.integration.events.consumer import Listener, forget_everything


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PEM file of who signed the broker's certificate, `server.pem` beside it, which is for `localhost`."""
    folder, made = tmp_path_factory.mktemp("rabbit-tls"), trustme.CA()
    made.cert_pem.write_to_path(folder / "authority.pem")
    made.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "authority.pem"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Rabbit]:
    """RabbitMQ, running; it ends with the tests."""
    server = Rabbit(tmp_path_factory.mktemp("rabbit"), certificate=authority.with_name("server.pem"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def rabbit(broker: Rabbit) -> AsyncIterator[Rabbit]:
    """The broker with nothing of ours in it, and running again afterwards."""
    await forget_everything(broker.url)
    yield broker
    broker.process.thaw()
    if not broker.process.is_running:
        broker.start()


@pytest.fixture
async def listener(rabbit: Rabbit) -> AsyncIterator[Listener]:
    """A durable queue for every event, and what came to it."""
    async with Listener.on(rabbit.url) as listening:
        yield listening
