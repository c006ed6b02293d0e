"""Messages that are well-formed and wrong: positions, numbers, sessions and devices that are not what they claim."""

from __future__ import annotations

import json
from typing import Any

from tests.catalogue.rows import Row
from tests.catalogue.stage import Send, Speaker, Stage, of, push, rest
from tests.wire.rawclient import TEXT, RawClient, frame

FAMILY = "Sync"
HUGE = 2**53 - 1
EDIT: list[dict[str, Any]] = [{"op": "replace", "path": "/n", "value": 2}]


def pushes(*differences: dict[str, Any]) -> Send:
    """Pushes that differ so from a good one; the outcome is that of the last."""

    async def send(stage: Stage) -> str:
        session = await stage.session()
        async with await stage.device(session) as device:
            outcome = ""
            for difference in differences:
                device.say(**{"type": "push", "session": session, "seq": 1, "base": 1, "ops": EDIT} | difference)
                outcome = await device.outcome("error", "reject", "ack")
            return outcome

    return send


async def before_hello(stage: Stage) -> str:
    """A push as the first message."""
    async with await RawClient.upgraded(stage.port) as client:
        speaker = Speaker(client.reader, client.writer)
        speaker.say(type="push", session=stage.olga.sessions[0], seq=1, base=1, ops=EDIT)
        heard = await speaker.hear()
        return f"{heard['type']}{of(heard)}; close {(await speaker.hear('close'))['code']}"


async def without_join(stage: Stage) -> str:
    """A push to a session of one's own that was not joined."""
    session = await stage.session()
    async with await stage.device() as device:
        device.say(type="push", session=session, seq=1, base=1, ops=EDIT)
        return await device.outcome("error", "reject", "ack")


def joins(which: str) -> Send:
    """A join of a session that is not Mallory's own to join."""

    async def send(stage: Stage) -> str:
        session = {"foreign": stage.olga.sessions[0], "deleted": stage.deleted_session, "unknown": "ses_" + "0" * 26}
        async with await stage.device() as device:
            device.say(type="join", session=session[which])
            return await device.outcome("error", "joined")

    return send


async def unknown_epoch(stage: Stage) -> str:
    """A join with the position of another log."""
    session = await stage.session()
    async with await stage.device() as device:
        device.say(type="join", session=session, position={"epoch": "another", "version": 9})
        heard = await device.hear("joined", "error")
        return f"joined {heard['mode']} {heard['reason']}; stays"


async def sixth_device(stage: Stage) -> str:
    """A hello of one device more than the account may have."""
    async with await RawClient.upgraded(stage.port) as client:
        speaker = Speaker(client.reader, client.writer)
        speaker.say(type="hello", token=stage.mallory.token, device={"id": "one-too-many"})
        heard = await speaker.hear()
        assert len(heard["devices"]) == 5
        return f"{heard['type']}{of(heard)}; close {(await speaker.hear('close'))['code']}"


def offers(to: str) -> Send:
    """An offer from the active device to this one."""

    async def send(stage: Stage) -> str:
        session = await stage.session()
        async with await stage.device(session) as device:
            device.say(type="handoff.take", session=session)
            assert (await device.hear("handoff.done", "error"))["type"] == "handoff.done"
            device.say(type="handoff.offer", session=session, to=to)
            return await device.outcome("error", "handoff.offered")

    return send


async def removed_device(stage: Stage) -> str:
    """An offer to a device that was removed."""
    other = await stage.account("tablet", "watch")
    assert (await other.rest("DELETE", "/v1/devices/watch")).status == 204
    return await offers("watch")(other)


async def two_handoffs(stage: Stage) -> str:
    """Two devices take the session at the same moment: two fences, one after the other, and one holder at the end."""
    session = await stage.session()
    async with await stage.device(session) as first, await stage.device(session, name="tv") as second:
        for device in (first, second):
            device.say(type="handoff.take", session=session)
        done = [await device.hear("handoff.done", "error") for device in (first, first, second, second)]
        fences = {one["fence"]: one["active"] for one in done if one["type"] == "handoff.done"}
        assert len(fences) == len(set(fences)), fences
        view = json.loads((await stage.rest("GET", f"/v1/sessions/{session}")).body)
        assert view["active"] == fences[max(fences)], (view, fences)
        assert view["fence"] == max(fences)
        return f"{len(fences)} fences in one order; one holder"


async def two_offers(stage: Stage) -> str:
    """An offer while another waits."""
    session = await stage.session()
    async with await stage.device(session) as device:
        device.say(type="handoff.take", session=session)
        await device.hear("handoff.done")
        device.say(type="handoff.offer", session=session, to="tv")
        await device.hear("handoff.offered")
        device.say(type="handoff.offer", session=session, to="watch")
        heard = await device.hear("handoff.failed", "error")
        return f"{heard['type']} {heard.get('reason') or heard.get('code')}; stays"


async def many_joins(stage: Stage) -> str:
    """10,000 joins of sessions that are not there, at once on one connection."""
    async with await stage.device() as device:
        device.send(b"".join(_join(f"ses_{number:020d}") for number in range(10_000)))
        await device.writer.drain()
        heard = await device.hear("joined", "close")
        return f"close {heard['code']}"


def _join(session: str) -> bytes:
    return frame(TEXT, json.dumps({"type": "join", "session": session}).encode())


async def joins_to_the_limit(stage: Stage) -> str:
    """A thirty-third session on one connection."""
    sessions = [await stage.session() for _ in range(33)]
    async with await stage.device(*sessions[:32]) as device:
        device.say(type="join", session=sessions[32])
        return await device.outcome("error", "joined")


async def ten_thousand_pushes_of_a_stranger(stage: Stage) -> str:
    """Pushes to a session that was never joined, past the number that a connection is patient with."""
    async with await stage.device() as device:
        for number in range(1, 101):
            device.say(type="push", session=stage.olga.sessions[0], seq=number, base=1, ops=EDIT)
        heard = {(await device.hear("error", "close")).get("code") for _ in range(100)}
        return " ".join(f"error {code}" for code in heard) + "; stays"


async def too_many_bad(stage: Stage) -> str:
    """Twenty-one malformed messages on one connection."""
    async with await stage.device() as device:
        for _ in range(21):
            device.say(nonsense=1)
        heard = [await device.hear("error", "close") for _ in range(22)]
        assert {one["code"] for one in heard[:21]} == {"bad_message"}
        return f"error bad_message, 21 times; close {heard[21]['code']}"


_TABLE: list[tuple[str, str, str, Send]] = [
    ("base in the future", "base 7 of 1", "reject base_in_future; stays", push(EDIT, base=7)),
    ("base in the future", "base 2^53 - 1", "reject base_in_future; stays", push(EDIT, base=HUGE)),
    ("base negative, huge, a string", "base -1", "error bad_message at $.base; stays", push(EDIT, base=-1)),
    ("base negative, huge, a string", "base 10^300", "error bad_message at $.base; stays", push(EDIT, base=10**300)),
    ("base negative, huge, a string", 'base "1"', "error bad_message at $.base; stays", push(EDIT, base="1")),
    ("unknown epoch", "a push with another epoch", "reject epoch_unknown; stays", push(EDIT, epoch="another")),
    ("unknown epoch", "a join with another epoch", "joined snapshot epoch; stays", unknown_epoch),
    ("seq skipped", "seq 2 first", "reject seq_gap; stays", push(EDIT, seq=2)),
    ("seq skipped", "seq 2^53 - 1", "reject seq_gap; stays", push(EDIT, seq=HUGE)),
    ("seq skipped", "seq 0", "error bad_message at $.seq; stays", push(EDIT, seq=0)),
    ("seq repeated", "seq 1 twice", "ack; stays", pushes({}, {})),
    ("seq repeated with another body", "seq 1 twice, with another body", "reject seq_conflict; stays",
     pushes({}, {"ops": [{"op": "replace", "path": "/n", "value": 3}]})),
    ("push before hello", "a push before hello", "error hello_required; close 4401", before_hello),
    ("push before hello", "a push before join", "error not_joined; stays", without_join),
    ("join of a session that is foreign, deleted or unknown", "join of a foreign session", "error not_found; stays",
     joins("foreign")),
    ("join of a session that is foreign, deleted or unknown", "join of a deleted session", "error not_found; stays",
     joins("deleted")),
    ("join of a session that is foreign, deleted or unknown", "join of an unknown session", "error not_found; stays",
     joins("unknown")),
    ("sixth device", "hello of a sixth device", "error device_limit; close 4403", sixth_device),
    ("sixth device", "REST: a sixth device", "409 device_limit", rest("POST", "/v1/devices", {"id": "one-too-many"})),
    ("handoff to self, to a foreign, unknown or removed device", "an offer to itself", "error handoff_self; stays",
     offers("tablet")),
    ("handoff to self, to a foreign, unknown or removed device", "an offer to a foreign device",
     "error device_unknown; stays", offers("olgas-phone")),
    ("handoff to self, to a foreign, unknown or removed device", "an offer to an unknown device",
     "error device_unknown; stays", offers("nobody")),
    ("handoff to self, to a foreign, unknown or removed device", "an offer to a removed device",
     "error device_unknown; stays", removed_device),
    ("handoff to self, to a foreign, unknown or removed device", "REST: an offer to a foreign device",
     "404 device_unknown", rest("POST", "/v1/sessions/MINE/handoffs", {"mode": "offer", "to": "olgas-phone"})),
    ("two handoffs at once", "two takes at once", "2 fences in one order; one holder", two_handoffs),
    ("two handoffs at once", "an offer while another waits", "error handoff_busy; stays", two_offers),
    ("stale fence", "an edit with fence 9 of 1", "reject stale_fence; stays", push(EDIT, fence=9)),
    ("stale fence", "progress of a device that is not active", "reject stale_owner; stays",
     push([{"op": "add", "path": "/playhead", "value": {"position": 1, "rate": 1, "at": 1}}], intent="progress")),
    ("10,000 joins", "10,000 joins of unknown sessions",
     "close 4429", many_joins),
    ("10,000 joins", "a 33rd session on one connection", "error joins_exceeded; stays", joins_to_the_limit),
    ("10,000 joins", "100 pushes to a foreign session", "error not_joined; stays", ten_thousand_pushes_of_a_stranger),
    ("too many bad messages", "21 malformed messages", "error bad_message, 21 times; close 4400", too_many_bad),
    ("numbers outside a session type's range", "volume 101 of 100", "reject validation_failed; stays",
     push([{"op": "replace", "path": "/settings/volume", "value": 101}], kind="breathing",
          state={"settings": {"volume": 50}})),
    ("numbers outside a session type's range", "a volume that is a text", "reject validation_failed; stays",
     push([{"op": "replace", "path": "/settings/volume", "value": "loud"}], kind="breathing",
          state={"settings": {"volume": 50}})),
    ("numbers outside a session type's range", "a playhead at rate 400", "reject playhead_intent; stays",
     push([{"op": "add", "path": "/playhead", "value": {"position": 1, "rate": 400, "at": 1}}], intent="seek")),
    ("numbers outside a session type's range", "REST: a limit of 101", "422 validation_failed",
     rest("GET", "/v1/sessions?limit=101")),
    ("numbers outside a session type's range", "REST: a cursor that is none", "422 validation_failed",
     rest("GET", "/v1/sessions?cursor=%FF%00")),
]  # fmt: skip

ROWS = [Row(FAMILY, *row) for row in _TABLE]
