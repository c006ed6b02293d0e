"""Nobody reads, changes or even notices what is not theirs, by any message of the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from syncbridge.core.batch import Batch
from syncbridge.core.connection import ConnectionMachine
from syncbridge.core.events import MemberJoined
from syncbridge.core.messages import AnyClientMessage
from syncbridge.core.work import WORKERS
from tests.integration.service.conftest import Device
from tests.isolation.world import CANARY, Person, World, world

Json = dict[str, Any]
EDIT = [{"op": "add", "path": "/taken", "value": "over"}]

MESSAGES: dict[str, Json] = {
    "join": {"ref": "r"},
    "leave": {},
    "push": {"seq": 1, "base": 1, "ops": EDIT},
    "handoff.offer": {"to": "ms-device", "ref": "r"},
    "handoff.take": {"ref": "r"},
    "handoff.ready": {"handoff": "HANDOFF"},
    "handoff.decline": {"handoff": "HANDOFF"},
    "handoff.cancel": {"handoff": "HANDOFF"},
    "handoff.confirm": {"handoff": "HANDOFF"},
    "signal": {"data": "taken over"},
}
NAMELESS = {"hello", "auth", "clock"}
"""Messages that name no session."""

ANSWER_S = 30.0
DEVICES = {"another account": "ms-device", "a one-time code's token for another session": "guest"}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def test_every_message_of_a_device_has_a_row_or_names_nothing() -> None:
    tags = {str(kind.__struct_config__.tag) for kind in AnyClientMessage.__args__}
    assert tags == MESSAGES.keys() | NAMELESS


async def answers(device: Device, said: Json, told: list[str]) -> list[str]:
    """What comes of a message, up to its own answer; the name of the session shows as a star."""
    await device.say(**said)
    heard = []
    async with asyncio.timeout(ANSWER_S):
        while True:
            text = await device.socket.recv()
            assert isinstance(text, str)
            told.append(text)
            message = json.loads(text)
            heard.append(text.replace(said["session"], "*" * len(said["session"])))
            if message["type"] in ("error", "joined", "ack", "reject", "handoff.done", "left"):
                return heard


async def told_apart(there: World, who: str) -> list[str]:
    """Messages by whose answers the stranger could tell that something of Olga's is there, and leaks of hers."""
    stranger: Person = there.strangers[who]
    complaints = []
    device = await there.connect(stranger, DEVICES[who])
    olgas = await there.connect(there.olga, "olgas-phone")
    foreign = there.names["session"]["foreign"]
    handoff = there.names["handoff"]["foreign"]
    try:
        joined = await olgas.join(foreign)
        for number, (kind, fields) in enumerate(MESSAGES.items(), 1):
            by_kind = {}
            for which, session in there.names["session"].items():
                said = json.loads(json.dumps({"type": kind, "session": session, **fields}).replace("HANDOFF", handoff))
                by_kind[which] = await answers(device, said, stranger.told)
            complaints += [
                f"{kind}: {which} {heard} is not unknown {by_kind['unknown']}"
                for which, heard in by_kind.items()
                if heard != by_kind["unknown"]
            ]
            # Olga works on meanwhile: none of it may reach the stranger.
            await olgas.say(type="signal", session=foreign, data=f"{CANARY} in a signal")
            await olgas.push(foreign, joined["position"]["version"], f"/k{number}", CANARY)
            await olgas.hear("ack")
    finally:
        await olgas.socket.close()
    await device.say(type="clock", t0=1)
    while json.loads(text := str(await device.socket.recv()))["type"] != "clock":
        stranger.told.append(text)
    await device.socket.close()
    return complaints + [f"told of Olga: {told[:200]}" for told in stranger.told if CANARY in told]


@pytest.mark.parametrize("who", DEVICES)
async def test_what_is_somebody_elses_is_answered_as_what_does_not_exist(there: World, who: str) -> None:
    assert await told_apart(there, who) == []
    session = there.names["session"]["foreign"]
    view = (await there.olga.http.get(f"/v1/sessions/{session}")).json()
    state = (await there.olga.http.get(f"/v1/sessions/{session}/state")).json()
    assert "taken" not in state
    assert (view["active"], view["fence"]) == ("olgas-phone", 1)
    assert set(state) == {"note", "playhead"} | {f"k{number}" for number in range(1, len(MESSAGES) + 1)}


async def test_foreign_device_is_no_device_to_hand_over_to(there: World) -> None:
    mallory = there.strangers["another account"]
    device = await there.connect(mallory, "ms-device")
    own = mallory.own_session
    await device.join(own)
    await device.say(type="handoff.take", session=own)
    await device.hear("handoff.done")
    told = {}
    for kind, name in there.names["device"].items():
        await device.say(type="handoff.offer", session=own, to=name)
        told[kind] = {**await device.hear("error", "handoff.offered")}
    await device.socket.close()
    assert told["foreign"] == told["unknown"] == told["deleted"]
    assert told["foreign"]["code"] == "device_unknown"


async def test_token_of_another_account_or_device_renews_nothing(there: World) -> None:
    mallory = there.strangers["another account"]
    device = await there.connect(mallory, "ms-device")
    await device.say(type="auth", token=there.olga.token)
    assert (await device.hear("error"))["code"] == "forbidden"
    bound = there.strangers["a token bound to another device"]
    other = await there.connect(mallory, "second")
    await other.say(type="auth", token=bound.token)
    assert (await other.hear("error"))["code"] == "forbidden"
    for one in (device, other):
        await one.socket.close()


async def test_join_without_a_look_at_the_account_is_seen(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = WORKERS[MemberJoined]

    def join(batch: Batch, event: MemberJoined) -> None:
        real(batch, msgspec.structs.replace(event, account=batch.log.account))

    monkeypatch.setitem(WORKERS, MemberJoined, join)
    complaints = await told_apart(there, "another account")
    assert any(one.startswith("join: foreign") for one in complaints)
    assert any(one.startswith("told of Olga") for one in complaints)


async def test_scope_of_a_one_time_code_left_out_is_seen(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionMachine, "reaches", lambda *_: True)
    complaints = await told_apart(there, "a one-time code's token for another session")
    assert any(one.startswith("join: foreign") for one in complaints)
