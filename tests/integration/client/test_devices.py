"""Clients against a real service over real sockets."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from syncbridge.app import Service
from syncbridge.client import Bridge, Session, Transport, picows_dial
from syncbridge.client.transport import Dial, Receiver
from syncbridge.config import Settings
from syncbridge.core.digest import state_hash
from syncbridge.core.ids import SessionId
from syncbridge.errors import HandoffWithdrawn, NotFound, Unavailable
from syncbridge.limits import Plan
from tests.integration.client.conftest import Account, make_account, until


class Switch:
    """A network that can be turned off."""

    def __init__(self) -> None:
        self.is_on = True
        self._dial: Dial = picows_dial()
        self._lines: list[Transport] = []

    async def dial(self, url: str, receiver: Receiver) -> Transport:
        if not self.is_on:
            raise Unavailable("the network is off")
        line = await self._dial(url, receiver)
        self._lines.append(line)
        return line

    def off(self) -> None:
        self.is_on = False
        for line in self._lines:
            line.close()

    def on(self, bridge: Bridge) -> None:
        self.is_on = True
        bridge.retry_now()


def hashes(*sessions: Session) -> set[str]:
    return {state_hash(session.replica.confirmed) for session in sessions}


async def test_edits_of_three_devices_reach_all_and_add_up(account: Account) -> None:
    name = await account.make_session({"totals": {"breaths": 0}, "marks": []})
    sessions = [await (await account.bridge(device)).join(name) for device in ("phone", "laptop", "tv")]
    for index in range(1, 21):
        for place, session in enumerate(sessions):
            breaths = session.get("/totals/breaths")
            await session.set("/totals/breaths", breaths + 100 * index + place)
    for session in sessions:
        await session.drained()
    expected = sum(100 * index + place for index in range(1, 21) for place in range(3))
    await until(lambda: all(session.get("/totals/breaths") == expected for session in sessions))
    assert len(hashes(*sessions)) == 1


async def test_both_sides_edit_while_one_is_offline_and_nothing_vanishes_unlisted(account: Account) -> None:
    name = await account.make_session({"settings": {"volume": 1}, "marks": []})
    network = Switch()
    phone = await account.bridge("phone", dial=network.dial)
    here, there = await phone.join(name), await (await account.bridge("tv")).join(name)
    network.off()
    await until(lambda: not here.is_joined)
    ours = [await here.set("/settings/volume", 20), await here.set("/marks/-", {"id": "p"})]
    theirs = [await there.set("/settings/volume", 30), await there.set("/marks/-", {"id": "t"})]
    for mutation in theirs:
        await mutation.acked()
    network.on(phone)
    for mutation in ours:
        await mutation.acked()
    await until(lambda: here.state == there.state)
    assert sorted(mark["id"] for mark in here.state["marks"]) == ["p", "t"]
    assert here.state["settings"] == {"volume": 20}
    lost = [record.row for record in here.conflicts if record.row["path"] == "/settings/volume"]
    assert [row["theirs"] for row in lost] == [30]


async def test_an_offer_is_accepted_and_the_playhead_goes_on(account: Account) -> None:
    name = await account.make_session()
    phone, tv = await account.bridge("phone"), await account.bridge("tv")
    here = await phone.join(name)
    await tv.online()
    if not here.is_active:
        await here.handoff.take()
    await (await here.playhead.play()).acked()
    offers = tv.offers()
    offer = await here.handoff.offer("tv")
    there = await anext(offers)
    done = await there.handoff.accept()
    assert done.active == "tv"
    assert (await offer.done()).fence == done.fence
    await until(lambda: there.is_active and not here.is_active)
    await until(lambda: abs(here.playhead.position() - there.playhead.position()) < 0.020)


async def test_an_offer_that_is_declined_changes_nothing(account: Account) -> None:
    name = await account.make_session()
    here = await (await account.bridge("phone")).join(name)
    there = await (await account.bridge("tv")).join(name)
    await here.handoff.take()
    offer = await here.handoff.offer("tv")
    await until(lambda: there.handoff.incoming is not None)
    there.handoff.decline()
    with pytest.raises(HandoffWithdrawn):
        await offer.done()
    assert here.is_active


async def test_taking_moves_the_session_within_the_budget(account: Account) -> None:
    name = await account.make_session()
    sessions = [await (await account.bridge(device)).join(name) for device in ("phone", "tv")]
    takes_s, edits_s = [], []
    for turn in range(10):
        begin = time.perf_counter()
        await (await sessions[0].set("/turn", turn)).acked()
        edits_s.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        done = await sessions[turn % 2].handoff.take()
        takes_s.append(time.perf_counter() - begin)
        assert done.active == ("phone", "tv")[turn % 2]
    # What an edit takes tells how busy the machine is.
    assert statistics.median(takes_s) < max(0.1, 10 * statistics.median(edits_s))


async def test_presence_tells_who_comes_and_goes(account: Account) -> None:
    name = await account.make_session()
    network = Switch()
    here = await (await account.bridge("phone")).join(name)
    await (await account.bridge("tv", dial=network.dial)).join(name)
    await until(lambda: here.presence.online >= {"phone", "tv"})
    network.off()
    await until(lambda: "tv" not in here.presence.online)


async def test_a_foreign_session_answers_like_one_that_is_not_there(account: Account) -> None:
    bridge = await account.bridge("phone")
    with pytest.raises(NotFound):
        await bridge.join("nobody-has-this")


async def test_a_hundred_edits_in_flight_are_acked_in_order(account: Account, tmp_path: Path) -> None:
    name = await account.make_session({"n": 0})
    session = await (await account.bridge("phone", cache=tmp_path / "cache.db")).join(name)
    mutations = await asyncio.gather(*(session.set("/n", number) for number in range(1, 101)))
    versions = [(await mutation.acked()).version for mutation in mutations]
    assert versions == sorted(versions)
    assert session.state["n"] == 100


async def test_a_session_whose_machine_broke_is_joined_anew_and_the_edit_that_met_it_is_kept(
    account: Account, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await account.make_session({"notes": ""})
    phone, tv = [await (await account.bridge(device)).join(name) for device in ("phone", "tv")]
    live = service.engine.session(SessionId(name))
    assert live is not None

    def broken(_event: object, _now_ms: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(live.machine), "receive", broken)
    edit = await phone.set("/notes", "kept")
    await until(lambda: phone.interruption is not None and tv.interruption is not None)
    assert not phone.is_joined
    assert phone.failure is None
    assert service.engine.session(SessionId(name)) is None
    monkeypatch.undo()
    assert (await edit.acked()).version == 2
    await until(lambda: tv.get("/notes") == "kept")
    assert phone.interruption is None
    assert tv.interruption is None


async def test_a_device_that_is_slowed_down_sends_all_it_made_offline_and_each_once(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    plan = Plan(push_burst=5, push_refill_ms=5)
    settings = Settings(port=0, data_dir=tmp_path / "slow", plans={"standard": plan})
    service = await stack.enter_async_context(Service.running(settings))
    account = await make_account(service, stack)
    name = await account.make_session({"totals": {"laps": 0}, "list": []})
    switch = Switch()
    bridge = await account.bridge("phone", dial=switch.dial)
    session = await bridge.join(name)
    switch.off()
    await until(lambda: bridge.state != "online")
    for lap in range(1, 41):
        await session.set("/totals/laps", lap)
    switch.on(bridge)
    async with asyncio.timeout(30):
        await session.drained()
    assert session.get("/totals/laps") == 40
    assert list(session.conflicts) == []
    follower = await (await account.bridge("tv")).join(name)
    assert follower.get("/totals/laps") == 40
    page = service.telemetry.page().decode()
    start = 'limit_hits_total{limit="push_burst"} '
    (hits,) = [float(line.removeprefix(start)) for line in page.splitlines() if line.startswith(start)]
    assert 0 < hits < 40 * 3
