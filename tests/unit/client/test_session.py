"""A session as an app holds it, over a transport without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from syncbridge.client import Acked, Bridge, CacheFault, Device, connect
from syncbridge.core.messages import ErrorMessage, HandoffDone, HandoffTake, Hello, Join, Left, Push, TokenExpiring
from syncbridge.errors import (
    BadMessage,
    DeviceReplaced,
    Forbidden,
    HandoffWithdrawn,
    NotFound,
    PatchError,
    PlayheadIntent,
    StateDamaged,
    SyncBridgeError,
    TokenInvalid,
    Unavailable,
    ValidationFailed,
)
from tests.unit.client.fake_service import SERVER_TIME, FakeService

PLAYHEAD: dict[str, Any] = {"playhead": {"position": 10, "rate": 0, "at": SERVER_TIME}}


def bridge_of(
    service: FakeService,
    device: str = "phone",
    *,
    cache: Path | None = None,
    token: str | Callable[[], str | Awaitable[str]] = "t",
) -> Bridge:
    return connect(
        "ws://test/v1/ws",
        token=token,
        device=Device(device),
        cache=cache,
        dial=service.dial,
        random=lambda: 0.0,
    )


async def until(is_true: Callable[[], object], deadline_s: float = 30.0) -> None:
    """Returns as soon as the condition holds; fails after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not is_true():  # noqa: ASYNC110 - any condition, not one that an event stands for
            await asyncio.sleep(0.001)


async def test_an_edit_shows_at_once_and_is_acked_by_the_log() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        mutation = await session.set("/notes", "calm")
        assert session.state == {"notes": "calm", "list": []}
        assert await mutation.acked() == Acked(1)
        assert session.pending == ()
    assert service.server.state["notes"] == "calm"


async def test_a_device_sees_what_another_one_writes() -> None:
    service = FakeService()
    async with bridge_of(service) as phone, bridge_of(service, "tv") as tv:
        here, there = await phone.join("s"), await tv.join("s")
        values = there.watch("/notes")
        assert await anext(values) == ""
        await here.update(lambda state: {**state, "notes": "calm"})
        assert await anext(values) == "calm"
        await (await here.update(lambda state: state["list"].append(1))).acked()
        await until(lambda: there.get("/list") == [1])


async def test_watch_skips_to_the_newest_value_for_a_slow_reader() -> None:
    async with bridge_of(FakeService()) as bridge:
        session = await bridge.join("s")
        values = session.watch("/notes")
        assert await anext(values) == ""
        for text in "abc":
            await session.set("/notes", text)
        assert await anext(values) == "c"


async def test_the_state_cannot_be_written_through_its_view() -> None:
    async with bridge_of(FakeService()) as bridge:
        session = await bridge.join("s")
        with pytest.raises(TypeError):
            session.state["notes"] = "x"  # type: ignore[index]
        value = {"deep": [1]}
        await session.set("/mine", value)
        value["deep"].append(2)
        assert session.get("/mine/deep") == [1]


async def test_a_refused_edit_raises_and_its_value_is_listed() -> None:
    async with bridge_of(FakeService()) as bridge:
        session = await bridge.join("s")
        mutation = await session.patch([{"op": "test", "path": "/notes", "value": ""}])
        assert await mutation.acked() == Acked(1)
        with pytest.raises(PatchError):
            await session.set("/no/where", 1)
        with pytest.raises(BadMessage):
            await session.set("/notes", float("nan"))
        with pytest.raises(ValidationFailed):
            await session.set("/notes", {"a": ["b\0c"]})
        with pytest.raises(PlayheadIntent):
            await session.update(lambda state: {**state, "playhead": {}})


async def test_a_value_that_is_there_already_needs_no_push() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        assert await (await session.set("/notes", "")).acked() == Acked(0)
        assert not any(isinstance(message, Push) for message in service.lines[0].heard)


async def test_edits_made_while_cut_off_are_sent_after_the_line_is_back() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_down = True
        service.cut()
        await until(lambda: bridge.state == "waiting" or service.dials > 1)
        mutation = await session.set("/notes", "offline")
        assert session.state["notes"] == "offline"
        assert not mutation.is_settled
        service.is_down = False
        bridge.retry_now()
        assert (await mutation.acked()).version == 1
    assert service.server.state["notes"] == "offline"


async def test_an_ack_that_a_cut_swallowed_is_found_in_the_log() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        line = service.line_of("phone")
        line.is_open = True
        mutation = await session.set("/notes", "once")
        line.end(None)
        assert await mutation.acked() == Acked(1)
    assert service.server.version == 1


async def test_offline_edits_survive_the_process_and_keep_their_numbers(tmp_path: Path) -> None:
    service, cache = FakeService(), tmp_path / "cache.db"
    async with bridge_of(service, cache=cache) as bridge:
        session = await bridge.join("s")
        await (await session.set("/notes", "online")).acked()
        service.is_down = True
        service.cut()
        await session.set("/notes", "offline")
        await session.set("/list", [1])
    async with bridge_of(service, cache=cache) as bridge:
        session = await bridge.join("s")
        assert session.state == {"notes": "offline", "list": [1]}
        assert len(session.pending) == 2
        service.is_down = False
        bridge.retry_now()
        await session.drained()
    assert service.server.state == {"notes": "offline", "list": [1]}
    assert [entry.seq for entry in service.server.entries] == [1, 2, 3]


async def test_a_cache_is_held_by_one_process_alone(tmp_path: Path) -> None:
    service, cache = FakeService(), tmp_path / "cache.db"
    async with bridge_of(service, cache=cache):
        with pytest.raises(CacheFault):
            await bridge_of(service, "tv", cache=cache).__aenter__()


async def test_joining_what_is_not_there_raises_not_found() -> None:
    async with bridge_of(FakeService()) as bridge:
        with pytest.raises(NotFound):
            await bridge.join("other")


@pytest.mark.parametrize(
    ("code", "close", "expected"),
    [("forbidden", 4403, Forbidden), ("device_replaced", 4409, DeviceReplaced), ("token_invalid", 4401, TokenInvalid)],
)
async def test_a_refusal_for_good_stops_the_bridge(code: str, close: int, expected: type[Exception]) -> None:
    service = FakeService()
    service.refuse_hello = (code, close)
    async with bridge_of(service) as bridge:
        with pytest.raises(expected):
            await bridge.join("s")
        await until(lambda: bridge.state == "offline")
        assert isinstance(bridge.failure, expected)
        assert service.dials == 1


async def test_a_callback_is_asked_for_another_token_when_one_is_refused() -> None:
    service, tokens = FakeService(), iter(["old", "new", "newer"])
    service.refuse_hello = ("token_expired", 4401)

    async def token() -> str:
        value = next(tokens)
        if value == "new":
            service.refuse_hello = None
        return value

    async with bridge_of(service, token=token) as bridge:
        await bridge.join("s")
        assert service.tokens == ["old", "new"]
        service.lines[0].say(TokenExpiring(SERVER_TIME))
        await until(lambda: service.tokens[-1] == "newer")


async def test_goodbye_is_honoured_before_the_next_attempt() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        await bridge.join("s")
        loop = asyncio.get_running_loop()
        begin = loop.time()
        service.goodbye(120)
        await until(lambda: bridge.state == "waiting")
        await until(lambda: bridge.state == "online")
        assert loop.time() - begin >= 0.120


async def test_a_silent_line_is_cut_and_opened_anew() -> None:
    service = FakeService()
    service.heartbeat_ms = 20
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_deaf = True
        await until(lambda: not session.is_joined)
        service.is_deaf = False
        service.cut()  # the line that said hello to deaf ears would wait ten seconds for its welcome
        await until(lambda: session.is_joined)
        assert service.dials >= 2


async def test_messages_of_a_newer_server_are_passed_over() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.lines[0].say_raw(b'{"type":"from.the.future","session":"s","more":1}')
        assert await (await session.set("/notes", "calm")).acked() == Acked(1)
        assert service.dials == 1


async def test_a_message_that_is_none_ends_the_line() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.lines[0].say_raw(b'{"type":"ack","session":"s","seq":"one"}')
        await until(lambda: service.dials == 2 and session.is_joined)


async def test_play_pause_and_seek_move_the_playhead_in_server_time() -> None:
    service = FakeService(PLAYHEAD)
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        assert session.playhead.position() == 10
        assert abs(bridge.now_ms() - SERVER_TIME) < 5_000
        await (await session.playhead.play()).acked()
        assert session.playhead.is_playing
        await (await session.playhead.seek(3)).acked()
        assert 3 <= session.playhead.position() < 4
        await (await session.playhead.pause()).acked()
        assert service.server.state["playhead"]["rate"] == 0
        pushes = [message for message in service.lines[0].heard if isinstance(message, Push)]
        assert [push.intent for push in pushes] == ["seek", "seek", "seek"]


async def test_only_the_active_device_reports_progress_and_only_what_is_news() -> None:
    service = FakeService(PLAYHEAD)
    async with bridge_of(service, "a") as active, bridge_of(service, "b") as other:
        here, there = await active.join("s"), await other.join("s")
        await (await here.playhead.play()).acked()
        await until(lambda: there.playhead.is_playing)
        assert await there.playhead.report(500) is None
        assert await here.playhead.report(here.playhead.position()) is None
        report = await here.playhead.report(here.playhead.position() + 60)
        assert report is not None
        await report.acked()
        assert service.server.state["playhead"]["position"] >= 70


async def test_signals_reach_the_others_that_follow() -> None:
    service = FakeService()
    async with bridge_of(service) as phone, bridge_of(service, "tv") as tv:
        here, there = await phone.join("s"), await tv.join("s")
        signals = there.signals()
        here.signal({"bpm": 61})
        signal = await anext(signals)
        assert (signal.device, signal.data) == ("phone", {"bpm": 61})


async def test_taking_over_returns_when_it_is_done_and_confirms_it() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        done = await session.handoff.take()
        assert (done.active, done.fence) == ("phone", 2)
        await until(lambda: any(type(message).__name__ == "HandoffConfirm" for message in service.lines[0].heard))


async def test_a_take_that_a_cut_swallowed_is_asked_again() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_deaf = True
        taking = asyncio.create_task(session.handoff.take())
        await until(lambda: any(isinstance(message, HandoffTake) for message in service.lines[0].heard))
        service.is_deaf = False
        service.cut()
        assert (await taking).active == "phone"


async def test_an_offer_that_ended_while_cut_off_is_read_from_the_log() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        offer = await session.handoff.offer("a")  # the reference server's active device
        service.cut()
        assert (await offer.done()).active == "a"
        offer = await session.handoff.offer("tv")
        service.cut()
        with pytest.raises(HandoffWithdrawn):
            await offer.done()


async def test_closing_releases_whoever_waits_for_a_handoff() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_deaf = True
        taking = asyncio.create_task(session.handoff.take())
        await until(lambda: any(isinstance(message, HandoffTake) for message in service.lines[0].heard))
    with pytest.raises(Unavailable):
        await taking


async def test_an_offer_waits_and_is_done_when_the_other_device_runs() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        offer = await session.handoff.offer("tv")
        assert (offer.to, offer.is_waiting) == ("tv", True)
        service.lines[0].say(HandoffDone("s", "h-1", 2, "tv", 1))
        assert (await offer.done()).active == "tv"


async def test_a_handoff_needs_a_connection() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_down = True
        service.cut()
        await until(lambda: not session.is_joined)
        with pytest.raises(Unavailable):
            await session.handoff.take()


async def test_conflicts_are_a_list_and_a_stream() -> None:
    service = FakeService()
    async with bridge_of(service) as phone, bridge_of(service, "tv") as tv:
        here, there = await phone.join("s"), await tv.join("s")
        stream = aiter(here.conflicts)
        service.is_down = True
        service.line_of("phone").end(None)
        await until(lambda: not here.is_joined)
        await here.set("/notes", "phone")
        await (await there.set("/notes", "tv")).acked()
        service.is_down = False
        phone.retry_now()
        await here.drained()
        record = await anext(stream)
        assert (record.row["path"], record.row["theirs"]) == ("/notes", "tv")
        assert list(here.conflicts) == [record]


async def test_closing_ends_every_iterator() -> None:
    service = FakeService()
    bridge = await bridge_of(service).__aenter__()
    session = await bridge.join("s")
    values, signals, states = session.watch("/notes"), session.signals(), bridge.watch_state()
    assert (await anext(values), await anext(states)) == ("", "online")
    await bridge.close()
    assert [value async for value in values] == []
    assert [signal async for signal in signals] == []
    assert [state async for state in states][-1] == "offline"


async def test_the_token_travels_in_the_first_message() -> None:
    service = FakeService()
    async with bridge_of(service, token="secret") as bridge:
        await bridge.online()
        first = service.lines[0].heard[0]
        assert isinstance(first, Hello)
        assert first.token == "secret"


@pytest.mark.parametrize("reason", ["internal", "unavailable"])
async def test_a_session_that_the_service_lost_for_a_while_is_followed_again_with_its_edits(reason: str) -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        service.is_deaf = True
        mutation = await session.set("/notes", "kept")
        service.is_deaf = False
        service.server.disconnect("phone")
        joined = session.watch_joined()
        assert await anext(joined)
        service.line_of("phone").say(Left("s", reason))
        assert not await anext(joined)
        assert session.interruption is not None
        assert session.interruption.code == reason
        async with asyncio.timeout(30):
            assert (await mutation.acked()).version == 1
            assert await anext(joined)
        assert session.failure is None
        assert session.interruption is None


async def test_a_session_that_the_service_loses_again_and_again_is_asked_for_ever_more_rarely() -> None:
    service = FakeService()
    rests_ms: list[float] = []
    async with connect(
        "ws://test/v1/ws", token="t", device=Device("phone"), dial=service.dial, random=lambda: 1.0
    ) as bridge:
        session = await bridge.join("s")
        later = session._keeper.later

        def at_once(work: Callable[[], None], delay_ms: int) -> None:
            rests_ms.append(delay_ms)
            later(work, 0)

        session._keeper.later = at_once  # type: ignore[method-assign]
        for count in range(1, 9):
            service.server.disconnect("phone")
            service.line_of("phone").say(Left("s", "internal"))
            await until(lambda count=count: len(rests_ms) == count and session.is_joined)  # type: ignore[misc]
        assert rests_ms == [1_250, 2_250, 4_250, 8_250, 16_250, 30_250, 30_250, 30_250]


async def test_many_refused_pushes_of_a_lost_session_are_one_reason_to_join_again() -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        line = service.line_of("phone")
        service.server.disconnect("phone")
        joins = sum(isinstance(message, Join) for message in line.heard)
        line.say(Left("s", "internal"))
        for _ in range(32):
            line.say(ErrorMessage("not_joined", "no", "never", "push", "s"))
        await until(lambda: session.interruption is not None)
        await until(lambda: session.is_joined)
        assert sum(isinstance(message, Join) for message in line.heard) == joins + 1


@pytest.mark.parametrize(("reason", "kind"), [("state_damaged", StateDamaged), ("deleted", NotFound)])
async def test_a_session_that_is_over_ends_with_the_error_that_says_why(
    reason: str, kind: type[SyncBridgeError]
) -> None:
    service = FakeService()
    async with bridge_of(service) as bridge:
        session = await bridge.join("s")
        joined = session.watch_joined()
        assert await anext(joined)
        service.line_of("phone").say(Left("s", reason))
        assert not await anext(joined)
        assert type(session.failure) is kind
        assert session.interruption is None
        assert not session._keeper.is_waiting
        with pytest.raises(kind):
            await session.set("/notes", "late")


async def test_a_session_opened_again_is_saved_by_nobody_but_the_new_one(tmp_path: Path) -> None:
    service = FakeService()
    async with bridge_of(service, cache=tmp_path / "cache.db") as bridge:
        before = await bridge.join("s")
        service.line_of("phone").say(Left("s", "deleted"))
        await until(lambda: before.failure is not None)
        again = await bridge.join("s")
        assert again is not before
        keeper = before._keeper
        assert keeper._task is not None
        assert keeper._task.done()
        assert not keeper._timers
        assert (await (await again.set("/notes", "new")).acked()).version == 1
