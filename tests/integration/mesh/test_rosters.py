"""Two whole services over one Redis and one PostgreSQL: a device that is new to one of them has its name there."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from deploy.local.redis import RedisServer
from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from tests.databases import Databases
from tests.integration.service.conftest import Client, Device

QUICK = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)


async def test_a_device_that_registers_at_one_node_is_told_by_name_at_the_other(
    redis_server: RedisServer, postgres: Databases, tmp_path: Path
) -> None:
    url = await postgres.migrated()
    async with AsyncExitStack() as stack:
        bases = []
        for name in ("one", "two"):
            settings = Settings.model_validate(
                {
                    "port": 0,
                    "data_dir": tmp_path / name,
                    "redis_url": redis_server.url,
                    "database_url": url,
                    "node_name": name,
                    "auth": QUICK,
                }
            )
            service = await stack.enter_async_context(Service.running(settings))
            bases.append(f"http://127.0.0.1:{service.server.port}")
        here, there = (Client(base, stack) for base in bases)
        for client in (here, there):
            stack.push_async_callback(client.http.aclose)
        await here.make_account()
        session = await here.make_session()
        there.token = here.token
        phone = await here.device("phone", session)
        tv = await there.connect()
        await tv.say(type="hello", token=there.token, device={"id": "tv", "name": "Living room", "platform": "tizen"})
        await tv.hear("welcome")
        await tv.join(session)
        news = await phone.hear("presence", matching=lambda said: bool(said.get("name")))
        assert news == {
            "type": "presence",
            "session": session,
            "device": "tv",
            "online": True,
            "active": False,
            "name": "Living room",
            "platform": "tizen",
        }
        await _joined_by_name(await here.device("watch"), session)


async def _joined_by_name(device: Device, session: str) -> None:
    joined = await device.join(session)
    assert {one["id"]: one.get("name") for one in joined["devices"]}["tv"] == "Living room"
