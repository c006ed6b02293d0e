"""Whoever is revoked is out within two seconds, over real sockets; whoever is not stays in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import websockets

from syncbridge.app import Service
from syncbridge.auth import Authority, open_authority
from syncbridge.auth.revocations import Revocations
from syncbridge.auth.upkeep import REVOCATIONS_EVERY_MS
from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.records import open_records
from syncbridge.runtime.accounts import Accounts
from syncbridge.runtime.clock import ServerClock
from tests.integration.rest.test_command_line import run
from tests.integration.service.conftest import DEADLINE_S, PASSWORD, Client, Device

WITHIN_S = 2.0


class LogIn:
    """One log-in with a device that is connected by it."""

    def __init__(self, pair: dict[str, str], device: Device, name: str) -> None:
        self.access = pair["access_token"]
        self.refresh = pair["refresh_token"]
        self.account = AccountId(pair["account"])
        self.device = device
        self.name = name

    async def is_open(self) -> bool:
        await self.device.say(type="clock", t0=1)
        try:
            return bool((await self.device.hear("clock"))["t0"] == 1)
        except websockets.ConnectionClosed:
            return False


async def log_in(ann: Client, name: str, *, is_bound: bool, email: str = "ann@example.com") -> LogIn:
    body = {"grant_type": "password", "email": email, "password": PASSWORD}
    pair = (await ann.http.post("/v1/auth/token", json=body | ({"device": name} if is_bound else {}))).json()
    device = await ann.connect()
    await device.hello(pair["access_token"], name)
    return LogIn(pair, device, name)


@pytest.fixture
async def elsewhere(service: Service) -> AsyncIterator[Authority]:
    """What another process over the same database would hold: its own connections, memory and clock."""
    records = await open_records(service.settings.records_url, pool_size=1)
    authority = await open_authority(records, service.settings.auth, service.settings.limits, ServerClock())
    yield authority
    authority.close()
    await records.close()


async def revoke(subject: str, ann: Client, hit: LogIn, kept: LogIn, elsewhere: Authority | None) -> None:
    """``hit`` is revoked, by REST or, where there is one, by the other process."""
    if elsewhere is None:
        bearer = {"Authorization": f"Bearer {kept.access}"}
        if subject == "token":
            answer = await ann.http.post("/v1/auth/revoke", json={"token": hit.access})
        elif subject == "refresh token":
            answer = await ann.http.post("/v1/auth/revoke", json={"token": hit.refresh})
        elif subject == "device":
            answer = await ann.http.delete(f"/v1/devices/{hit.name}", headers=bearer)
        elif subject == "account":
            answer = await ann.http.post("/v1/auth/revoke-all?keep_current=true", headers=bearer)
        else:
            body = {"current": PASSWORD, "new": "another horse"}
            answer = await ann.http.put("/v1/me/password", json=body, headers=bearer)
        assert answer.status_code == 204, answer.text
        return
    claims = elsewhere.verify(kept.access)
    if subject in ("token", "refresh token"):
        assert await elsewhere.revoke(hit.access if subject == "token" else hit.refresh)
    elif subject == "device":
        await elsewhere.remove_device(hit.account, DeviceId(hit.name))
    elif subject == "account":
        await elsewhere.revoke_account(hit.account, kept=claims)
    else:
        await elsewhere.change_password(claims, PASSWORD, "another horse")


async def closed(one: LogIn) -> None:
    """The socket is closed from the other side, after a message that says why."""
    error = await one.device.hear("error")
    assert error["code"] in ("token_revoked", "device_unknown")
    async with asyncio.timeout(DEADLINE_S):
        await one.device.socket.wait_closed()
    assert one.device.socket.close_code == 4403


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that a process begins to ask what others revoked: the measure of "in time" on any machine."""
    begun: list[None] = []
    catch_up = Revocations.catch_up

    async def counted(self: Revocations) -> list[AccountId]:
        begun.append(None)
        return await catch_up(self)

    monkeypatch.setattr(Revocations, "catch_up", counted)
    return begun


SUBJECTS = ("token", "refresh token", "device", "account", "password")
CASES = [(subject, where, "unbound") for subject in SUBJECTS for where in ("here", "elsewhere")]
CASES += [("token", "here", "bound"), ("device", "here", "bound"), ("device", "elsewhere", "bound")]


@pytest.mark.parametrize(("subject", "where", "binding"), CASES)
async def test_revoked_connection_is_closed_in_time_with_the_reason_and_no_other_is(
    ann: Client, elsewhere: Authority, looks: list[None], subject: str, where: str, binding: str
) -> None:
    is_bound = binding == "bound"
    hit, kept = await log_in(ann, "tv", is_bound=is_bound), await log_in(ann, "phone", is_bound=is_bound)
    await ann.make_account("bob@example.com")
    stranger = await log_in(ann, "tv", is_bound=is_bound, email="bob@example.com")
    await revoke(subject, ann, hit, kept, elsewhere if where == "elsewhere" else None)
    looks.clear()
    await closed(hit)
    assert len(looks) * REVOCATIONS_EVERY_MS <= WITHIN_S * 1000
    assert [await one.is_open() for one in (kept, stranger)] == [True, True]

    # An unbound token is no device's: it is good again, from another device.
    is_refused = is_bound or subject != "device"
    answer = await ann.http.get("/v1/me", headers={"Authorization": f"Bearer {hit.access}"})
    refusals = {(401, "token_revoked")}
    if subject == "device":
        refusals.add((404, "device_unknown"))  # elsewhere its removal may be heard of before its tokens' end
    said = (answer.status_code, answer.json().get("code"))
    assert said in (refusals if is_refused else {(200, None)})
    again = await ann.connect()
    await again.say(type="hello", token=hit.access, device={"id": "tv"})
    assert (await again.hear("error"))["code"] in ("token_revoked", "device_unknown")


async def test_operator_s_command_beside_the_service_ends_the_connections(ann: Client, service: Service) -> None:
    hit = await log_in(ann, "tv", is_bound=True)
    await ann.make_account("bob@example.com")
    stranger = await log_in(ann, "tv", is_bound=True, email="bob@example.com")
    code, said, err = await run("account", "revoke", "ann@example.com", "--data-dir", str(service.settings.data_dir))
    assert (code, err, said.split(":")[0]) == (0, "", "Every log-in is ended")
    await closed(hit)
    assert await stranger.is_open()


async def test_renewed_connection_outlives_its_first_token(ann: Client) -> None:
    one = await log_in(ann, "tv", is_bound=True)
    pair = (
        await ann.http.post("/v1/auth/token", json={"grant_type": "refresh_token", "refresh_token": one.refresh})
    ).json()
    await one.device.say(type="auth", token=pair["access_token"])
    await one.device.hear("token.accepted")
    await ann.http.post("/v1/auth/revoke", json={"token": one.access})
    assert await one.is_open()
    await ann.http.post("/v1/auth/revoke", json={"token": pair["access_token"]})
    await closed(one)


async def test_emergency_rotation_elsewhere_closes_what_the_old_key_opened_and_a_refresh_token_goes_on(
    ann: Client, service: Service, elsewhere: Authority
) -> None:
    one = await log_in(ann, "tv", is_bound=True)
    await elsewhere.rotation.rotate_now()
    await service.authority.refresh_keys()
    assert (await one.device.hear("error"))["code"] == "token_invalid"
    await one.device.socket.wait_closed()
    assert one.device.socket.close_code == 4401
    body = {"grant_type": "refresh_token", "refresh_token": one.refresh}
    pair = (await ann.http.post("/v1/auth/token", json=body)).json()
    back = await ann.connect()
    await back.hello(pair["access_token"], "tv")


@pytest.mark.parametrize("planted", ["nobody looks at what is live", "nobody asks what others revoked"])
async def test_without_its_parts_a_revoked_connection_is_seen_to_stay_open(
    ann: Client, elsewhere: Authority, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    hit, kept = await log_in(ann, "tv", is_bound=False), await log_in(ann, "phone", is_bound=False)
    if planted == "nobody looks at what is live":
        monkeypatch.setattr(Accounts, "recheck", lambda _self, _account: 0)
        await revoke("account", ann, hit, kept, None)
    else:

        async def nothing(_self: Revocations) -> list[AccountId]:
            return []

        monkeypatch.setattr(Revocations, "catch_up", nothing)
        await revoke("account", ann, hit, kept, elsewhere)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            await hit.device.hear("error")
    assert await hit.is_open()
