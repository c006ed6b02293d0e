"""A run through everything that holds a secret, in a service whose log is kept in memory at DEBUG.

Every secret is a canary: a string that stands nowhere else, so that finding it in what an operator or a stranger sees
is a leak. The signing key cannot be chosen; it is read from the records.
"""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import websockets

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings
from syncbridge.core.session import SessionMachine
from syncbridge.telemetry import configure_logging
from tests.integration.service.conftest import DEADLINE_S, Device, until

PASSWORD = "canary-password-7Q"
EMAIL = "canary-address-7q@example.com"
CONTENT = "canary-content-7Q"


@dataclass
class Seen:
    """What a run left behind: its secrets, and everything in which none of them may stand."""

    secrets: dict[str, str] = field(default_factory=dict)
    log: str = ""
    errors: list[str] = field(default_factory=list)
    metrics: str = ""

    def leaks(self) -> list[str]:
        """Every secret that can be read where it must not be."""
        places = {"log": self.log, "metrics": self.metrics, "errors": "\n".join(self.errors)}
        return [
            f"{name} in the {place}"
            for name, secret in self.secrets.items()
            for place, text in places.items()
            if secret in text or secret[:40] in text
        ]


async def run(folder: Path, form: Literal["human", "json"], monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What the service showed of its secrets."""
    seen, log = Seen(), io.StringIO()
    configure_logging("debug", form, log)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # the test's own client, in the same process
    rules = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)
    settings = Settings(port=0, data_dir=folder / "data", auth=rules, log_level="debug")
    async with Service.running(settings) as service:
        base = f"http://127.0.0.1:{service.server.port}"
        async with httpx.AsyncClient(base_url=base, timeout=DEADLINE_S, trust_env=False, verify=False) as http:
            await _over_rest(http, seen)
            await _over_sockets(http, base, seen, monkeypatch)
            seen.metrics = (await http.get("/metrics")).text
    with sqlite3.connect(folder / "data" / "records.db") as records:
        row = records.execute("select * from signing_keys").fetchone()
    secret = next(value for value in row if isinstance(value, bytes) or (isinstance(value, str) and len(value) > 30))
    seen.secrets["signing key"] = secret.hex() if isinstance(secret, bytes) else secret
    seen.log = log.getvalue()
    return seen


async def _refused(seen: Seen, answer: httpx.Response) -> None:
    assert answer.status_code >= 400, answer.text
    seen.errors.append(f"{answer.headers} {answer.text}")


async def _over_rest(http: httpx.AsyncClient, seen: Seen) -> None:
    """Accounts, tokens, codes, titles, labels, names and state, well and badly said."""
    secrets = seen.secrets
    secrets |= {"password": PASSWORD, "e-mail address": EMAIL, "content": CONTENT}
    made = (await http.post("/v1/accounts", json={"email": EMAIL, "password": PASSWORD})).json()
    body = {"grant_type": "password", "email": EMAIL, "password": PASSWORD}
    grant = (await http.post("/v1/auth/token", json=body)).json()
    refresh = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"]}
    await _refused(seen, await http.post("/v1/auth/token", json={**body, "password": PASSWORD + "?"}))
    await _refused(seen, await http.post("/v1/auth/token", json={**body, "password": [PASSWORD]}))
    await _refused(seen, await http.post("/v1/accounts", json={"email": EMAIL, "password": PASSWORD}))
    await _refused(seen, await http.post("/v1/accounts", json={"email": "x@example.com", "password": PASSWORD * 99}))
    following = (await http.post("/v1/auth/token", json=refresh)).json()
    await _refused(seen, await http.post("/v1/auth/token", json=refresh))
    for name, pair in (("first", made), ("second", grant), ("third", following)):
        secrets[f"{name} access token"] = pair["access_token"].rpartition(".")[2]
        secrets[f"{name} refresh token"] = pair["refresh_token"]
    http.headers["Authorization"] = f"Bearer {grant['access_token']}"
    for device in ("phone", "tv"):
        told = {"id": device, "name": f"{CONTENT} name", "platform": f"{CONTENT} platform"}
        assert (await http.post("/v1/devices", json=told)).status_code == 201
    wanted = {"type": "custom", "title": f"{CONTENT} title", "state": {"x": CONTENT}, "settings": {"y": CONTENT}}
    path = (await http.post("/v1/sessions", json=wanted)).headers["location"]
    assert (await http.post(f"{path}/snapshots", json={"label": f"{CONTENT} label"})).status_code == 201
    code = (await http.post(f"{path}/pairing-codes")).json()["code"]
    secrets |= {"one-time code": code, "one-time code, bare": code.replace("-", "")}
    redeemed = {"code": code, "device": {"id": "guest", "name": f"{CONTENT} guest"}}
    guest = (await http.post("/v1/pairing-codes/redeem", json=redeemed)).json()
    secrets["guest's refresh token"] = guest["refresh_token"]
    await _refused(seen, await http.post("/v1/pairing-codes/redeem", json=redeemed))
    await _refused(seen, await http.get("/v1/me", headers={"Authorization": "Bearer " + grant["access_token"] + "x"}))
    await _refused(seen, await http.post("/v1/sessions", json={**wanted, "type": CONTENT}))
    media = {"Content-Type": "application/json-patch+json"}
    for ops in ([{"op": "test", "path": "/x", "value": CONTENT + "?"}], [{"op": CONTENT, "path": "/x"}]):
        await _refused(seen, await http.patch(f"{path}/state", content=json.dumps(ops), headers=media))
    await _refused(seen, await http.put(f"{path}/state", content=f'{{"x": {CONTENT}', headers={"If-Match": "*"}))
    await _refused(seen, await http.patch(path, json={"title": [CONTENT]}))
    assert (await http.post("/v1/auth/revoke", json={"token": following["refresh_token"]})).status_code == 204


async def _over_sockets(http: httpx.AsyncClient, base: str, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of two devices with a conflict, a handoff, signals, bad messages, and a machine that crashes."""
    token = http.headers["Authorization"].removeprefix("Bearer ")
    session = (await http.get("/v1/sessions")).json()["sessions"][0]["id"]
    address = base.replace("http", "ws", 1) + "/v1/ws"
    async with websockets.connect(address, proxy=None) as first, websockets.connect(address, proxy=None) as second:
        phone, tv = Device(first), Device(second)
        for device, name in ((phone, "phone"), (tv, "tv")):
            await device.hello(token, name)
        base_version = [(await one.join(session))["position"]["version"] for one in (phone, tv)][-1]
        await phone.push(session, base_version, "/y", f"{CONTENT} first")
        await phone.hear("ack")
        await tv.push(session, base_version, "/y", f"{CONTENT} second")
        assert (await tv.hear("ack")).get("conflicts")
        await phone.say(type="handoff.take", session=session)
        await phone.hear("handoff.done")
        await phone.say(type="signal", session=session, data=CONTENT)
        await tv.hear("signal")
        for odd in (
            {"type": CONTENT},
            {"type": "push", "session": session, "seq": CONTENT},
            {"type": "auth", "token": 7},
        ):
            await phone.say(**odd)
            seen.errors.append(json.dumps(await phone.hear("error")))
        with monkeypatch.context() as patch:
            patch.setattr(SessionMachine, "receive", _crash)
            await phone.push(session, base_version, "/z", f"{CONTENT} in a crash")
            await phone.hear("joined", "left", "error", "reject")
        await phone.say(type="auth", token=token + "canary")
        seen.errors.append(json.dumps(await phone.hear("error")))
    async with websockets.connect(address, proxy=None) as third:
        await Device(third).say(type="hello", token=token[:-4] + "AAAA", device={"id": "phone", "name": CONTENT})
        seen.errors.append(json.dumps(await Device(third).hear("error")))
    await until(lambda: bool(seen.errors))


def _crash(*_: Any) -> Any:
    raise RuntimeError("planted: the machine breaks")
