"""Devices of a foreign library against a whole service: sync, resume, handoff, and one port with REST."""

from __future__ import annotations

import asyncio

import pytest
import websockets

from syncbridge.app import Service
from syncbridge.net.outlet import Outlet
from tests.integration.service.conftest import DEADLINE_S, Client, until


async def test_a_push_reaches_every_device_and_rest(ann: Client) -> None:
    session = await ann.make_session()
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    seq = await phone.push(session, 1, "/n", 7)
    ack = await phone.hear("ack")
    assert (ack["seq"], ack["version"]) == (seq, 2)
    entry = await tv.hear("entry")
    assert (entry["version"], entry["device"]) == (2, "phone")
    answer = await ann.http.get(f"/v1/sessions/{session}/state")
    assert answer.json() == {"n": 7}


async def test_an_acknowledgement_leaves_before_the_loop_looks_at_sockets_again(
    ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    order: list[str] = []
    send, end_turn = Outlet.send, Outlet.end_turn

    def sends(outlet: Outlet, payload: bytes) -> bool:
        order.append("said")
        asyncio.get_running_loop().call_soon(order.append, "next turn")
        return send(outlet, payload)

    def leaves(outlet: Outlet) -> None:
        order.append("left")
        end_turn(outlet)

    monkeypatch.setattr(Outlet, "send", sends)
    monkeypatch.setattr(Outlet, "end_turn", leaves)
    await phone.push(session, 1, "/n", 7)
    await phone.hear("ack")
    assert order == ["said", "left", "next turn"]


async def test_a_rest_edit_reaches_devices(ann: Client) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    state = await ann.http.get(f"/v1/sessions/{session}/state")
    answer = await ann.http.patch(
        f"/v1/sessions/{session}/state",
        content='[{"op":"replace","path":"/n","value":3}]',
        headers={"Content-Type": "application/json-patch+json", "If-Match": state.headers["ETag"]},
    )
    assert answer.status_code == 200, answer.text
    entry = await phone.hear("entry")
    assert entry["ops"] == [{"op": "replace", "path": "/n", "value": 3}]


async def test_a_device_resumes_where_it_was(ann: Client) -> None:
    session = await ann.make_session()
    phone, tv = await ann.device("phone", session), await ann.connect()
    await tv.hello(ann.token, "tv")
    position = (await tv.join(session))["position"]
    await tv.socket.close()
    for base in (1, 2, 3):
        await phone.push(session, base, "/n", base)
        await phone.hear("ack")
    tv = await ann.connect()
    await tv.hello(ann.token, "tv")
    joined = await tv.join(session, position=position)
    assert joined["mode"] == "resumed"
    assert [entry["version"] for entry in joined["entries"]] == [2, 3, 4]


async def test_a_session_moves_by_offer_and_by_take(ann: Client) -> None:
    session = await ann.make_session()
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    await phone.say(type="handoff.take", session=session)
    assert (await phone.hear("handoff.done"))["active"] == "phone"
    await phone.say(type="handoff.offer", session=session, to="tv")
    prepare = await tv.hear("handoff.prepare")
    await tv.say(type="handoff.ready", session=session, handoff=prepare["handoff"])
    done = await phone.hear("handoff.done", matching=lambda message: message["handoff"] == prepare["handoff"])
    assert (done["active"], done["fence"]) == ("tv", 2)
    await phone.say(type="handoff.take", session=session)
    assert (await tv.hear("handoff.done", matching=lambda message: message["active"] == "phone"))["fence"] == 3


async def test_two_accounts_see_nothing_of_each_other(ann: Client, service: Service) -> None:
    session = await ann.make_session()
    async with asyncio.timeout(DEADLINE_S):
        bob = Client(ann.base, ann._stack)
        await bob.make_account("bob@example.com")
    device = await bob.device("phone")
    await device.say(type="join", session=session)
    foreign = await device.hear("error")
    await device.say(type="join", session="nothing")
    missing = await device.hear("error")
    assert {**foreign, "session": ""} == {**missing, "session": ""}
    assert foreign["code"] == "not_found"
    await bob.http.aclose()


async def test_a_bad_token_is_closed_with_4401(ann: Client) -> None:
    device = await ann.connect()
    await device.say(type="hello", token="nonsense", device={"id": "phone"})
    assert (await device.hear("error"))["code"] == "token_invalid"
    with pytest.raises(websockets.ConnectionClosed):
        await device.socket.recv()
    assert device.socket.close_code == 4401


async def test_a_bad_message_is_answered_with_its_place_and_the_connection_lives(ann: Client) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    await phone.say(type="push", session=session, seq=1, base=1, ops=[{"op": "add", "path": "/a", "value": 2**60}])
    error = await phone.hear("error")
    assert (error["code"], error["message"][:14]) == ("bad_message", "$.ops[0].value")
    await phone.say(type="nonsense")
    assert (await phone.hear("error"))["code"] == "unknown_type"
    await phone.push(session, 1, "/n", 1)
    assert (await phone.hear("ack"))["version"] == 2


async def test_a_removed_device_is_cut_off(ann: Client) -> None:
    tv = await ann.device("tv")
    await ann.device("phone")
    answer = await ann.http.delete("/v1/devices/tv")
    assert answer.status_code == 204, answer.text
    async with asyncio.timeout(30):
        await tv.socket.wait_closed()
    assert tv.socket.close_code == 4403


async def test_a_pong_tells_that_a_silent_device_is_there(ann: Client, service: Service) -> None:
    phone = await ann.device("phone")
    driver = next(iter(service.engine.hub.by_connection.values()))
    driver.heard_at = 0
    await phone.socket.pong()
    await until(lambda: driver.heard_at > 1_700_000_000_000)


async def test_health_page_and_figures_are_on_the_same_port(ann: Client) -> None:
    assert (await ann.http.get("/health/ready")).status_code == 200
    assert (await ann.http.get("/docs")).status_code == 200
    asked = await ann.http.head("/health/live")
    assert (asked.status_code, asked.content, asked.headers["content-length"]) == (200, b"", "18")
    session = await ann.make_session()
    await ann.device("phone", session)
    page = (await ann.http.get("/metrics")).text
    assert "websocket_connections_total 1.0" in page


async def test_a_refused_handshake_is_counted_by_its_code(ann: Client, service: Service) -> None:
    address = ann.base.replace("http", "ws", 1) + "/v1/ws"
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(address, origin=websockets.Origin("https://elsewhere.example"))
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{address}?token=x")
    counted = 'websocket_connection_errors_total{code="%s"} 1.0'
    page = service.telemetry.page
    await until(lambda: all((counted % code).encode() in page() for code in ("origin_forbidden", "bad_handshake")))


async def test_a_drain_says_goodbye_and_closes_with_1012(ann: Client, service: Service) -> None:
    session = await ann.make_session()
    phone = await ann.device("phone", session)
    await phone.push(session, 1, "/n", 1)
    draining = asyncio.ensure_future(service.drain())
    assert (await phone.hear("goodbye"))["reason"] == "restart"
    async with asyncio.timeout(30):
        await draining
        await phone.socket.wait_closed()
    assert phone.socket.close_code == 1012
