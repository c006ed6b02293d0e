"""The rights in Redis that the page of security gives to the service's user: enough, and no more."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster.events.outbox import RedisOutbox
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import SessionId
from tests.conformance.logs import delete, session_named, sweep, walk
from tests.conformance.redis_harness import Servers
from tests.integration.redis.conftest import Open
from tests.integration.redis.nodes import World, held_of, log_up_to, put_back
from tests.integration.service.conftest import Client

pytestmark = pytest.mark.serial

PAGE = Path(__file__).parents[3] / "docs/security.md"
SESSION = session_named("a")


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """Where the user of the page logs in, on an empty server."""
    found = re.search(r"^ACL SETUSER syncbridge (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    with redis_server.client() as client:
        client.flushall()
        client.execute_command("ACL", "SETUSER", "syncbridge", *found[1].replace("PASSWORD", "told").split())
        client.acl_log_reset()
    return f"redis://syncbridge:told@127.0.0.1:{redis_server.port}"


def refused(server: RedisServer) -> list[str]:
    """What users were not let do."""
    with server.client() as client:
        return [f"{one['reason']} {one['object']}" for one in client.acl_log()]


def test_the_user_of_the_page_may_all_that_the_store_does(redis_server: RedisServer, url: str) -> None:
    world = World(Servers(url, [redis_server], lambda: None))
    try:
        node = world.node()
        held = held_of(node, SESSION, log_up_to(node, SESSION, 4))
        world.client.flushall()
        put_back(node, held)
        assert [head.session for head in walk(node)] == [SESSION]
        sweep(node, 10**15)
        delete(node, SESSION)
    finally:
        world.close()
    assert refused(redis_server) == []


async def test_the_user_of_the_page_may_all_that_a_node_does(
    redis_server: RedisServer, url: str, open_link: Open, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        settings = Settings(port=0, data_dir=tmp_path, redis_url=SecretStr(url))
        service = await stack.enter_async_context(Service.running(settings))
        ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
        stack.push_async_callback(ann.http.aclose)
        await ann.make_account()
        session = SessionId(await ann.make_session())
        phone, tablet = await ann.device("phone", session), await ann.device("tablet", session)
        await phone.push(session, 1, "/n", 1)
        await tablet.hear("entry", matching=lambda message: message["version"] == 2)
        outbox = RedisOutbox(await open_link(url), "one", ready_ms=5_000)
        await outbox.look()
        await outbox.take(64)
        await outbox.release()
    assert refused(redis_server) == []


def test_the_user_of_the_page_may_nothing_else(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        for words in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "other"), ("ACL", "LIST")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
