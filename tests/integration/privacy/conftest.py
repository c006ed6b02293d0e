"""A person who left a canary in every field that a person can write, and somebody else."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from tests.integration.service.conftest import Client, Device, stack

__all__ = ["stack"]

CHEAP = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)

MERGE = {"Content-Type": "application/merge-patch+json"}
PATCH = {"Content-Type": "application/json-patch+json"}


def files_that_hold(data_dir: Path, *texts: str) -> dict[str, list[str]]:
    """For each text that is anywhere below the directory, the files."""
    contents = {path.name: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    found = {text: [name for name, held in contents.items() if text.encode() in held] for text in texts}
    return {text: names for text, names in found.items() if names}


class Person:
    """Writes a canary of its own wherever a person may write something, and remembers them by the field's name."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.canaries: dict[str, str] = {}
        self.sessions: list[str] = []
        self.phone: Device | None = None
        self.account = ""
        self.email = self.canary("email") + "@example.com"

    def canary(self, field: str) -> str:
        """A text that stands nowhere else."""
        return self.canaries.setdefault(field, f"canary-{self.name}-{field}-{len(self.canaries)}z")

    async def live(self) -> None:
        """The person has an account, and left something in every field."""
        client, canary = self.client, self.canary
        await client.make_account(self.email)
        self.account = (await client.http.get("/v1/me")).json()["id"]
        self.phone = await self._device("phone")
        tablet = await self._device("tablet")
        await self._ok("PATCH", "/v1/devices/tablet", json={"name": canary("device-given-name")})
        session = await self._session("one")
        await self._conflict(session, self.phone, tablet)
        path = f"/v1/sessions/{session}/state"
        await self._ok("PATCH", path, content=json.dumps({"a": canary("merge-patch")}), headers=MERGE)
        ops = [{"op": "add", "path": "/b", "value": canary("json-patch")}]
        await self._ok("PATCH", path, content=json.dumps(ops), headers=PATCH)
        tag = (await client.http.get(path)).headers["etag"]
        await self._ok("PUT", path, json={"c": canary("put"), "marks": []}, headers={"If-Match": tag})
        label = await self._ok("POST", f"/v1/sessions/{session}/snapshots", json={"label": canary("snapshot-label")})
        await self._ok("POST", f"/v1/sessions/{session}/snapshots/{label['id']}/restore")
        ended = await self._session("two")
        await self._ok("PATCH", f"/v1/sessions/{ended}", json={"status": "archived", "title": canary("new-title")})
        code = (await self._ok("POST", f"/v1/sessions/{session}/pairing-codes", json={}))["code"]
        watch = {"id": "watch", "name": canary("paired-device"), "platform": canary("paired-platform")}
        await self._ok("POST", "/v1/pairing-codes/redeem", json={"code": code, "device": watch})
        await self._device("old")
        await self._ok("DELETE", "/v1/devices/old")

    async def _ok(self, method: str, path: str, **more: Any) -> Any:
        answer = await self.client.http.request(method, path, **more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def _device(self, name: str) -> Device:
        device = await self.client.connect()
        about = {"name": self.canary(f"device-{name}"), "platform": self.canary(f"platform-{name}")}
        about["capabilities"] = [self.canary(f"capability-{name}")]  # type: ignore[assignment]
        await device.say(type="hello", token=self.client.token, device={"id": name, **about})
        await device.hear("welcome")
        return device

    async def _session(self, name: str) -> str:
        made = await self._ok(
            "POST",
            "/v1/sessions",
            json={
                "type": "custom",
                "title": self.canary(f"title-{name}"),
                "settings": {"s": self.canary(f"settings-{name}")},
                "state": {"first": self.canary(f"state-{name}")},
            },
        )
        self.sessions.append(made["id"])
        return str(made["id"])

    async def _conflict(self, session: str, one: Device, other: Device) -> None:
        """Both write the same place on the same base: the loser's value lives on in the row of the conflict only."""
        base = (await one.join(session))["position"]["version"]
        await other.join(session)
        seq = await one.push(session, base, "/place", self.canary("loser"))
        await one.hear("ack", matching=lambda message: message["seq"] == seq)
        seq = await other.push(session, base, "/place", self.canary("winner"))
        await other.hear("ack", matching=lambda message: message["seq"] == seq)


async def add_what_others_write(data_dir: Path, person: Person) -> None:
    """Rows that no request of a test's makes: an outside identity, a remembered request, an incident."""
    # In a thread: the service, in this loop, may hold the write lock and must be able to let it go.
    await asyncio.to_thread(_add_rows, data_dir, person)


def _add_rows(data_dir: Path, person: Person) -> None:
    db = sqlite3.connect(data_dir / "records.db", timeout=30)
    with db:
        account, session = person.account, person.sessions[0]
        db.execute("INSERT INTO identities VALUES ('https://issuer', ?, ?, 1)", (person.canary("subject"), account))
        db.execute(
            "INSERT INTO idempotency_keys (account, key, request, status, headers, body, created_at, expires_at)"
            " VALUES (?, ?, x'00', 201, '{}', x'00', 1, 9000000000000)",
            (account, person.canary("idempotency-key")),
        )
        db.execute(
            "INSERT INTO incidents (session, at, device, kind, code, detail) VALUES (?, ?, 'phone', 'refused', 'c', ?)",
            (session, 1, json.dumps({"said": person.canary("incident")})),
        )
    db.close()


def client_of(base: str, stack: AsyncExitStack) -> Client:
    """A client of the service at this address, without an account."""
    client = Client(base, stack)
    stack.push_async_callback(client.http.aclose)
    return client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the service."""
    return Settings(port=0, data_dir=tmp_path / "data", auth=CHEAP)


@pytest.fixture
async def service(settings: Settings, stack: AsyncExitStack) -> Service:
    """A service over an empty directory."""
    return await stack.enter_async_context(Service.running(settings))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Person]:
    """The data directory of a stopped service that Ann used, to be copied, and Ann."""
    path = tmp_path_factory.mktemp("lived") / "data"

    async def live() -> Person:
        async with AsyncExitStack() as stack, Service.running(Settings(port=0, data_dir=path, auth=CHEAP)) as service:
            person = Person(client_of(f"http://127.0.0.1:{service.server.port}", stack), "ann")
            await person.live()
            await add_what_others_write(path, person)
            return person

    return path, asyncio.run(live())


@pytest.fixture
def left(lived: tuple[Path, Person], settings: Settings) -> Person:
    """Ann, who left her data where the settings say; no service runs on it."""
    path, person = lived
    shutil.copytree(path, settings.data_dir)
    return person


@pytest.fixture
async def ann(service: Service, settings: Settings, stack: AsyncExitStack) -> Person:
    """Ann, who left something everywhere."""
    person = Person(client_of(f"http://127.0.0.1:{service.server.port}", stack), "ann")
    await person.live()
    await add_what_others_write(settings.data_dir, person)
    return person


@pytest.fixture
async def bob(service: Service, settings: Settings, stack: AsyncExitStack) -> Person:
    """Bob, who did the same."""
    person = Person(client_of(f"http://127.0.0.1:{service.server.port}", stack), "bob")
    await person.live()
    await add_what_others_write(settings.data_dir, person)
    return person
