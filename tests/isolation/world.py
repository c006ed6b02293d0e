"""Olga, whose things nobody else may see; the strangers who ask for them; and everything that a stranger was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from tests.integration.service.conftest import DEADLINE_S, PASSWORD, Device

Json = dict[str, Any]

CANARY = "canary-of-olga"
STATE = {"note": f"{CANARY} in the state", "playhead": {"position": 7, "rate": 0, "at": 1}}


@dataclass
class Person:
    """Somebody with a token: their requests, their device's connection, and every byte that they were told."""

    http: httpx.AsyncClient
    token: str
    own_session: str = ""
    is_guest: bool = False
    """A guest of Olga's account: her devices are there for it, as whom it may hand its one session to."""
    told: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> httpx.Response:
        """One request; what it was answered is kept."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"If-Match": "*"} | ({"Content-Type": media} if body is not None else {})
        answer = await self.http.request(method, path, content=content, headers=headers)
        self.told.append(f"{answer.headers} {answer.text}")
        return answer


@dataclass
class World:
    """A service with Olga and the strangers in it, and the names of what each kind of thing is called."""

    base: str
    olga: Person
    strangers: dict[str, Person]
    names: dict[str, dict[str, str]]
    """By path parameter: what a thing of Olga's is called (`foreign`), none (`unknown`), a former one (`deleted`)."""

    async def connect(self, person: Person, device: str) -> Device:
        """The person's device, welcomed."""
        address = self.base.replace("http", "ws", 1) + "/v1/ws"
        connected = Device(await websockets.connect(address, proxy=None, close_timeout=1))
        await connected.hello(person.token, device)
        return connected

    async def belongings(self) -> list[Any]:
        """Everything of Olga's that a stranger might have changed."""
        session = self.names["session"]["foreign"]
        of_session = [f"/v1/sessions/{session}{path}" for path in ("", "/state", "/snapshots")]
        paths = ["/v1/me", "/v1/devices", "/v1/sessions", *of_session]
        found: list[Any] = [(await self.olga.http.get(path)).json() for path in paths]
        found[2] = [(one["id"], one["title"], one["settings"]) for one in found[2]["sessions"]]  # the rest is live
        for device in found[1]["devices"]:
            del device["seen_at"]
            del device["online"]
        return found


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """The world on a service of its own."""
    rules = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, login_burst=1_000, guess_burst=1_000)
    settings = Settings(port=0, data_dir=folder / "data", auth=rules)
    async with Service.running(settings) as service, AsyncExitStack() as stack:
        base = f"http://127.0.0.1:{service.server.port}"

        async def client(token: str) -> httpx.AsyncClient:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            made = httpx.AsyncClient(base_url=base, headers=headers, timeout=DEADLINE_S, trust_env=False, verify=False)
            return await stack.enter_async_context(made)

        async def person(name: str, *devices: str) -> Person:
            async with httpx.AsyncClient(base_url=base, trust_env=False, verify=False) as http:
                made = await http.post("/v1/accounts", json={"email": f"{name}@example.com", "password": PASSWORD})
            found = Person(await client(made.json()["access_token"]), made.json()["access_token"])
            for device in devices:
                body = {"id": device, "name": f"{CANARY} as a name" if name == "olga" else device}
                assert (await found.http.post("/v1/devices", json=body)).status_code == 201
            return found

        olga = await person("olga", "olgas-phone", "olgas-tv", "olgas-gone")
        assert (await olga.http.delete("/v1/devices/olgas-gone")).status_code == 204
        mallory = await person("mallory", "ms-device")
        body = {"type": "custom", "title": f"{CANARY} as a title", "state": STATE, "settings": {"x": CANARY}}
        sessions = [(await olga.http.post("/v1/sessions", json=body)).json()["id"] for _ in range(3)]
        session, shared, deleted = sessions
        snapshot = await olga.http.post(f"/v1/sessions/{session}/snapshots", json={"label": f"{CANARY} as a label"})
        taken = await olga.http.post(f"/v1/sessions/{session}/handoffs", json={"mode": "take", "to": "olgas-phone"})
        offer = await olga.http.post(f"/v1/sessions/{session}/handoffs", json={"mode": "offer", "to": "olgas-tv"})
        assert (snapshot.status_code, taken.status_code, offer.status_code) == (201, 201, 202)
        assert (await olga.http.delete(f"/v1/sessions/{deleted}")).status_code == 204
        code = (await olga.http.post(f"/v1/sessions/{shared}/pairing-codes")).json()["code"]
        grant = await olga.http.post("/v1/pairing-codes/redeem", json={"code": code, "device": {"id": "guest"}})
        body = {"grant_type": "password", "email": "mallory@example.com", "password": PASSWORD, "device": "ms-device"}
        bound = (await mallory.http.post("/v1/auth/token", json=body)).json()["access_token"]
        scoped = grant.json()["access_token"]
        strangers = {
            "no token": Person(await client(""), ""),
            "another account": mallory,
            "a one-time code's token for another session": Person(await client(scoped), scoped, shared, is_guest=True),
            "a token bound to another device": Person(await client(bound), bound),
        }
        own = (await mallory.http.post("/v1/sessions", json={"type": "custom", "state": {}})).json()["id"]
        mallory.own_session = strangers["a token bound to another device"].own_session = own
        names = {
            "session": {"foreign": session, "unknown": _like(session), "deleted": deleted},
            "device": {"foreign": "olgas-phone", "unknown": "nobodys-one", "deleted": "olgas-gone"},
            "snapshot": {"foreign": snapshot.json()["id"], "unknown": _like(snapshot.json()["id"])},
            "handoff": {"foreign": offer.json()["handoff"], "unknown": _like(offer.json()["handoff"])},
            "conflict": {"foreign": "1.0", "unknown": "9.9"},
            "version": {"foreign": "1", "unknown": "9"},
            "receipt": {"foreign": "ers_" + "0" * 20, "unknown": "ers_" + "9" * 20},  # a receipt is its own key
            "incident": {"foreign": "inc_0", "unknown": "inc_9"},
        }
        yield World(base, olga, strangers, names)


def _like(name: str) -> str:
    """A name of the same form and length that nothing has."""
    return name[:-8] + "0" * 8
