"""The rights in Redis that the page of security gives to the service's user: enough, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import compress
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.events.outbox import RedisOutbox
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import SessionId
from tests.conformance import rights
from tests.conformance.logs import delete, session_named, sweep, walk
from tests.conformance.redis_harness import Servers
from tests.integration.redis.conftest import Open
from tests.integration.redis.nodes import World, held_of, log_up_to, put_back
from tests.integration.service.conftest import Client

pytestmark = pytest.mark.serial

SESSION = session_named("a")


@pytest.fixture(params=["single", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Empty servers where the user of the page is the one who logs in."""
    if request.param == "single":
        server: RedisServer = request.getfixturevalue("redis_server")
        url, every = server.url, [server]
    else:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        url, every = cluster.url, cluster.nodes
    with ExitStack() as stack:
        clients = [stack.enter_context(one.client()) for one in every]
        is_primary = [client.info("replication")["role"] == "master" for client in clients]
        servers = Servers(rights.of_user(url), list(compress(every, is_primary)), lambda: None)
        rights.make_user(clients)
        servers.empty()
        yield servers
        refused = rights.refused(clients)
        servers.close()
    assert refused == []


def test_the_user_of_the_page_may_all_that_the_store_does(servers: Servers) -> None:
    world = World(servers)
    try:
        node = world.node()
        held = held_of(node, SESSION, log_up_to(node, SESSION, 4))
        servers.empty()
        put_back(node, held)
        assert [head.session for head in walk(node)] == [SESSION]
        sweep(node, 10**15)
        delete(node, SESSION)
    finally:
        world.close()


async def test_the_user_of_the_page_may_all_that_a_node_does(servers: Servers, open_link: Open, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        settings = Settings(port=0, data_dir=tmp_path, redis_url=SecretStr(servers.url))
        service = await stack.enter_async_context(Service.running(settings))
        ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
        stack.push_async_callback(ann.http.aclose)
        await ann.make_account()
        session = SessionId(await ann.make_session())
        phone, tablet = await ann.device("phone", session), await ann.device("tablet", session)
        await phone.push(session, 1, "/n", 1)
        await tablet.hear("entry", matching=lambda message: message["version"] == 2)
        outbox = RedisOutbox(await open_link(servers.url), "one", ready_ms=5_000)
        await outbox.look()
        await outbox.take(64)
        await outbox.release()


def test_the_user_of_the_page_may_nothing_else(redis_server: RedisServer) -> None:
    with redis_server.client() as owner:
        rights.make_user([owner])
    with redis.Redis.from_url(rights.of_user(redis_server.url)) as client:
        for words in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "other"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
