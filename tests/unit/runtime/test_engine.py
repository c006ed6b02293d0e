"""The engine: order, batches, one encoding, slow readers, and what happens when a machine of ours fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from syncbridge.core.connection import ConnectionState
from syncbridge.core.effects import AnyEffect, Reply
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.events import AnyEvent, EntriesSeen, PushReceived, ReadRequested, TakeReceived
from syncbridge.core.ids import AccountId, DeviceId, RequestId, SessionId, TxnId
from syncbridge.core.messages import DeviceInfo
from syncbridge.core.session import SessionMachine
from syncbridge.limits import Limits
from syncbridge.runtime.neighbour import EngineNeighbour
from tests.unit.runtime.world import World

S1 = SessionId("s1")
ANN = AccountId("ann")
ENTRY = Entry(2, "patch", 1)


def epoch_of(world: World) -> str:
    """The epoch of the session that lives here."""
    live = world.engine.session(S1)
    assert live is not None
    assert live.machine.log is not None
    return live.machine.log.epoch


@pytest.fixture
def world() -> World:
    world = World()
    world.create("s1", {"n": 0})
    return world


def test_a_push_is_acknowledged_to_its_device_and_told_to_the_others(world: World) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    phone.outlet.take()
    [ack] = phone.push("s1", "/n", 1)
    assert (ack["type"], ack["seq"], ack["version"]) == ("ack", 1, 2)
    [entry] = tv.outlet.take()
    assert (entry["type"], entry["session"], entry["version"], entry["device"]) == ("entry", "s1", 2, "phone")
    assert entry["ops"] == [{"op": "add", "path": "/n", "value": 1}]


def test_nothing_is_acknowledged_before_the_store_has_answered(world: World) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    phone.outlet.take()
    world.store.is_holding = True
    assert phone.push("s1", "/n", 1) == []
    assert tv.outlet.take() == []
    assert world.engine.commits_in_flight == 1
    assert not world.engine.is_quiet
    world.store.release()
    assert [message["type"] for message in phone.outlet.take()] == ["ack"]
    assert [message["type"] for message in tv.outlet.take()] == ["entry"]
    assert world.engine.is_quiet


def test_commits_of_one_turn_are_one_batch_and_pushes_behind_a_commit_are_one_transaction(world: World) -> None:
    world.create("s2")
    phone, tv = world.device("phone", "s1", "s2"), world.device("tv", "s1")
    phone.outlet.take()
    world.store.batches.clear()
    text = '{"type":"push","session":"%s","seq":%d,"base":1,"ops":[{"op":"add","path":"/n%d","value":1}]}'
    for seq in (1, 2, 3):
        phone.driver.on_text((text % ("s1", seq, seq)).encode())
    phone.driver.on_text((text % ("s2", 1, 1)).encode())
    world.loop.turn()
    # Both sessions in the first trip; the two pushes that waited on s1 in the second, as one transaction.
    assert world.store.batches == [2, 1]
    assert [(m["session"], m["version"]) for m in phone.outlet.take()] == [("s1", 2), ("s2", 2), ("s1", 3), ("s1", 4)]
    told = [m for m in tv.outlet.take() if m["type"] in ("entry", "entries")]
    assert [m["type"] for m in told] == ["entry", "entries"]
    assert [entry["version"] for entry in told[1]["entries"]] == [3, 4]


def test_every_device_gets_the_very_same_bytes(world: World) -> None:
    phone = world.device("phone", "s1")
    others = [world.device(name, "s1") for name in ("tv", "car", "watch")]
    for other in others:
        other.outlet.take()
    phone.push("s1", "/n", 1)
    frames = [other.outlet.frames[0] for other in others]
    assert all(frame is frames[0] for frame in frames)


def test_a_slow_reader_is_held_back_and_gets_one_catch_up(world: World) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    tv.outlet.take()
    tv.outlet.budget_frames = 0
    phone.push("s1", "/n", 1)
    for value in range(2, 6):
        phone.push("s1", "/n", value)
    assert [m["version"] for m in tv.outlet.take()] == [2]
    tv.outlet.budget_frames, tv.outlet.is_over_budget = 10**9, False
    tv.driver.on_drained()
    world.loop.turn()
    [joined] = tv.outlet.take()
    assert joined["type"] == "joined"
    assert joined["position"]["version"] == 6
    phone.push("s1", "/n", 9)
    assert [m["version"] for m in tv.outlet.take()] == [7]


def test_a_signal_is_not_queued_for_a_slow_reader(world: World) -> None:
    phone, tv, car = (world.device(name, "s1") for name in ("phone", "tv", "car"))
    for device in (tv, car):
        device.outlet.take()
    tv.outlet.is_over_budget = True
    phone.say(type="signal", session="s1", data={"bpm": 61})
    assert tv.outlet.take() == []
    assert [m["data"] for m in car.outlet.take()] == [{"bpm": 61}]


def test_the_newer_connection_of_a_device_replaces_the_older(world: World) -> None:
    older = world.device("phone", "s1")
    older.outlet.take()
    newer = world.device("phone", "s1")
    assert older.outlet.closed is not None
    assert older.outlet.closed[0] == 4409
    assert older.outlet.take()[-1]["code"] == "device_replaced"
    older.hang_up()
    assert world.engine.hub.of_device(ANN, DeviceId("phone")) is newer.driver
    newer.hang_up()
    assert world.engine.hub.of_device(ANN, DeviceId("phone")) is None
    assert len(world.engine.hub) == 0


def test_a_waiting_offer_is_delivered_at_the_next_hello(world: World) -> None:
    tv = world.device("tv")
    phone = world.device("phone", "s1")
    tv.hang_up()
    phone.say(type="handoff.take", session="s1")
    offered = next(m for m in phone.say(type="handoff.offer", session="s1", to="tv") if m["type"] == "handoff.offered")
    assert offered["waiting"] is True
    again = world.connect()
    said = again.say(type="hello", token="ann", device={"id": "tv"})
    assert [m["type"] for m in said] == ["welcome", "handoff.prepare"]
    assert said[1]["handoff"] == offered["handoff"]


def test_a_take_is_told_when_the_source_was_last_heard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[AnyEvent] = []
    _spy(monkeypatch, seen.append)
    tv, phone = world.device("tv", "s1"), world.device("phone", "s1")
    phone.say(type="handoff.take", session="s1")
    heard_at = world.loop.now_ms()
    world.loop.advance(4_000)
    tv.say(type="handoff.take", session="s1")
    phone.hang_up()
    tv.hang_up()
    takes = [event.source_heard_at for event in seen if isinstance(event, TakeReceived)]
    assert takes == [None, heard_at]


def test_a_session_nobody_follows_leaves_memory_and_comes_back_whole(world: World) -> None:
    phone = world.device("phone", "s1")
    phone.push("s1", "/n", 5)
    phone.hang_up()
    assert world.engine.live_sessions == 1
    world.loop.advance(world.limits.session_idle_unload_ms + world.limits.store_timeout_ms)
    assert world.engine.live_sessions == 0
    assert world.loop.pending_timers == 0
    joined = world.device("tv").join("s1")
    assert joined["state"] == {"n": 5}


def test_a_session_that_does_not_exist_is_refused_and_not_kept(world: World) -> None:
    phone = world.device("phone")
    answer = phone.join("nothing")
    assert (answer["type"], answer["code"]) == ("error", "not_found")
    assert world.engine.live_sessions == 0
    assert phone.driver.machine.joined == set()


def test_a_foreign_session_answers_like_one_that_does_not_exist(world: World) -> None:
    bob = world.device("phone", account="bob")
    foreign, missing = bob.join("s1"), bob.join("s9")
    assert {**foreign, "session": ""} == {**missing, "session": ""}


def test_news_of_another_node_reaches_members_only_where_the_session_lives(world: World) -> None:
    phone = world.device("phone", "s1")
    phone.outlet.take()
    entry = Entry(2, "patch", world.loop.now_ms())
    EngineNeighbour(world.engine).entries_seen(S1, epoch_of(world), [entry], [0], TxnId("t"))
    assert [m["version"] for m in phone.outlet.take()] == [2]
    loads = world.store.loads
    EngineNeighbour(world.engine).entries_seen(SessionId("s2"), "e", [entry], [0], TxnId("t"))
    assert world.store.loads == loads


def test_a_transaction_is_known_where_the_log_holds_it_and_where_nobody_follows(world: World) -> None:
    world.device("phone", "s1")
    neighbour = EngineNeighbour(world.engine)
    assert not neighbour.is_known(S1, 2, TxnId("t"))
    neighbour.entries_seen(S1, epoch_of(world), [Entry(2, "patch", world.loop.now_ms())], [0], TxnId("t"))
    assert neighbour.is_known(S1, 2, TxnId("t"))
    assert not neighbour.is_known(S1, 2, TxnId("other"))
    assert neighbour.is_known(SessionId("s2"), 2, TxnId("t"))


def test_the_directory_hears_of_every_commit_and_of_nothing_else(world: World) -> None:
    phone = world.device("phone", "s1")
    world.store.is_holding = True
    phone.push("s1", "/n", 1)
    assert world.directory.notes == []
    world.store.release()
    phone.say(type="handoff.take", session="s1")
    assert world.directory.notes == [("s1", "active", 2, None), ("s1", "active", 3, "phone")]


def test_when_a_dead_source_was_heard_outlives_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create("s2", {"playhead": {"position": 0, "rate": 1, "at": world.loop.now_ms()}})
    phone = world.device("phone", "s1", "s2")
    world.loop.advance(7_000)
    phone.driver.on_heard()
    heard_at = world.loop.now_ms()
    world.loop.advance(1_000)
    phone.hang_up()
    kept: list[Snapshot] = []
    monkeypatch.setattr(world.store, "write_snapshot", kept.append)
    assert world.engine.keep_heard() == 1  # the other session's playhead stands still
    assert [(snapshot.session, snapshot.heard) for snapshot in kept] == [("s2", {"phone": heard_at})]


def test_what_is_not_committed_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create("s2", {"playhead": {"position": 0, "rate": 1, "at": world.loop.now_ms()}})
    phone, tv = world.device("phone", "s2"), world.device("tv", "s2")
    tv.hang_up()
    kept: list[Snapshot] = []
    monkeypatch.setattr(world.store, "write_snapshot", kept.append)
    world.store.is_holding = True
    phone.push("s2", "/n", 1)
    assert world.engine.keep_heard() == 0
    world.store.release()
    assert world.engine.keep_heard() == 1
    assert kept[0].version == 2


def test_what_happens_is_measured_and_errors_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    phone, stranger = world.device("phone", "s1"), world.connect()
    phone.push("s1", "/n", 1)
    with caplog.at_level(logging.INFO, logger="syncbridge.runtime"):
        stranger.say(type="hello", token="bad", device={"id": "x"})
    assert [record.getMessage() for record in caplog.records] == ["websocket connection error"]
    assert vars(caplog.records[0])["code"] == "token_invalid"
    seen = {(name, label): value for name, value, label in world.figures.seen}
    assert seen["connection_opened", ""] == 1
    assert seen["connection_error", "token_invalid"] == 1
    assert seen["commit_entries", ""] == 1
    assert 0 <= seen["sync_ms", ""] < 10_000
    assert 0 <= seen["commit_ms", ""] < 10_000


# -- our own faults ---------------------------------------------------------------------------------------------


def _spy(monkeypatch: pytest.MonkeyPatch, look: Callable[[AnyEvent], None]) -> None:
    """``look`` sees every event before the machine; what it raises comes out of `receive`."""
    receive = SessionMachine.receive

    def spied(machine: SessionMachine, event: AnyEvent, now_ms: int) -> list[AnyEffect]:
        look(event)
        return receive(machine, event, now_ms)

    monkeypatch.setattr(SessionMachine, "receive", spied)


class Planted(Exception):
    """A fault of ours."""


def _fail_on(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> Callable[[], None]:
    is_armed = True

    def look(event: AnyEvent) -> None:
        if is_armed and isinstance(event, kind):
            raise Planted(repr(event))

    def disarm() -> None:
        nonlocal is_armed
        is_armed = False

    _spy(monkeypatch, look)
    return disarm


def test_a_failing_machine_is_dropped_and_everybody_else_notices_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.create("s2")
    phone, tv = world.device("phone", "s1", "s2"), world.device("tv", "s1")
    phone.push("s1", "/n", 1)
    for device in (phone, tv):
        device.outlet.take()
    disarm = _fail_on(monkeypatch, PushReceived)
    secret = "what a person wrote"
    with caplog.at_level(logging.ERROR, logger="syncbridge.runtime"):
        said = phone.push("s1", "/n", secret)
    assert [(m["type"], m["reason"]) for m in said] == [("left", "internal")]
    assert [(m["type"], m["reason"]) for m in tv.outlet.take()] == [("left", "internal")]
    assert world.engine.session(S1) is None
    assert phone.driver.machine.joined == {"s2"}
    [record] = caplog.records
    assert "PushReceived" in record.getMessage()
    assert "MemberJoined" in record.getMessage()
    assert secret not in caplog.text
    assert ("machine_failures", 1.0, "PushReceived") in world.figures.seen

    disarm()
    assert phone.outlet.closed is None
    joined = phone.join("s1")
    assert joined["state"] == {"n": 1}
    assert (
        phone.say(type="push", session="s1", seq=2, base=2, ops=[{"op": "add", "path": "/n", "value": 2}])[0]["type"]
        == "ack"
    )


def test_a_request_to_a_failing_machine_is_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_on(monkeypatch, ReadRequested)
    replies: list[Reply] = []
    request = RequestId("r1")
    world.engine.ask(S1, ReadRequested(request), request, replies.append)
    assert [(reply.request, reply.code) for reply in replies] == [("r1", "internal")]


def test_an_answer_for_a_machine_that_was_dropped_does_not_reach_its_successor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.device("phone", "s1")
    world.store.is_holding = True
    phone.push("s1", "/n", 1)
    disarm = _fail_on(monkeypatch, EntriesSeen)
    world.engine.post_session(S1, EntriesSeen("e", [ENTRY], [0]))
    disarm()
    phone.outlet.take()
    assert phone.join("s1")["position"]["version"] == 1
    phone.outlet.take()
    world.store.release()
    assert phone.outlet.take() == []
    assert world.engine.is_quiet
    # What was committed under the old machine is found by the new one: the repeat gets the first answer.
    said = phone.say(type="push", session="s1", seq=1, base=1, ops=[{"op": "add", "path": "/n", "value": 1}])
    assert [(m["seq"], m["version"]) for m in said if m["type"] == "ack"] == [(1, 2)]


def test_a_failing_connection_is_closed_alone_and_leaves_its_sessions(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    tv.outlet.take()

    class Broken:
        account, device, joined, state = ANN, DeviceId("phone"), {S1}, ConnectionState.READY

        def receive(self, event: object, now_ms: int) -> list[object]:
            raise Planted

    phone.driver.machine = Broken()  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR, logger="syncbridge.runtime"):
        phone.say(type="leave", session="s1")
        assert phone.outlet.closed == (1011, "")
        phone.hang_up()
    assert "Planted" in caplog.text
    assert [(m["type"], m["device"], m["online"]) for m in tv.outlet.take()] == [("presence", "phone", False)]
    assert tv.push("s1", "/n", 1)[0]["type"] == "ack"


def test_a_store_that_raises_is_asked_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    phone = world.device("phone", "s1")
    submit, failures = world.store.submit, [1]

    def failing(batch: Any, done: Any) -> None:
        if failures:
            failures.pop()
            raise Planted
        submit(batch, done)

    world.store.submit = failing  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR, logger="syncbridge.runtime"):
        assert phone.push("s1", "/n", 1) == []
    world.loop.advance(world.limits.retry_first_ms)
    assert [m["type"] for m in phone.outlet.take()] == ["ack"]


def test_a_late_arrival_is_not_told_to_a_connection_that_is_gone(world: World) -> None:
    held: list[Callable[[], None]] = []
    world.store.waiting_offers = lambda account, device, done: held.append(lambda: done([S1]))  # type: ignore[method-assign]
    phone = world.device("phone")
    phone.hang_up()
    held[0]()
    assert world.engine.session(S1) is None


def test_while_draining_nothing_more_is_read(world: World) -> None:
    phone = world.device("phone", "s1")
    world.engine.is_draining = True
    assert phone.push("s1", "/n", 1) == []
    live = world.engine.session(S1)
    assert live is not None
    assert live.machine.version == 1


def test_every_refused_push_is_counted_by_its_code(world: World) -> None:
    phone = world.device("phone", "s1")
    phone.push("s1", "/n", 1)
    for seq, ops in ((9, []), (1, []), (2, [{"op": "remove", "path": "/gone"}])):
        phone.say(type="push", session="s1", seq=seq, base=1, ops=ops)
    counted = [label for name, _, label in world.figures.seen if name == "reject"]
    assert counted == ["seq_gap", "seq_conflict", "bad_patch"]


def test_many_bad_messages_close_the_connection() -> None:
    world = World(Limits(bad_messages_max=3))
    phone = world.device("phone")
    for _ in range(3):
        assert phone.say(nonsense=1)[0]["code"] == "bad_message"
        assert phone.outlet.closed is None
    phone.say(nonsense=1)
    assert phone.outlet.closed is not None
    assert phone.outlet.closed[0] == 4400


def test_silence_after_the_handshake_is_closed(world: World) -> None:
    device = world.connect()
    world.loop.advance(world.limits.hello_timeout_ms)
    assert device.outlet.closed is not None
    assert device.outlet.closed[0] == 4401


def test_a_log_is_read_behind_what_was_committed_in_the_same_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = world.device("phone", "s1")
    ops = [{"op": "add", "path": "/n", "value": 1}]
    phone.driver.on_text(msgspec.json.encode({"type": "push", "session": "s1", "seq": 1, "base": 1, "ops": ops}))
    disarm = _fail_on(monkeypatch, EntriesSeen)
    world.engine.post_session(S1, EntriesSeen("e", [ENTRY], [0]))
    # our own fault, in the turn in which the commit waits to be submitted
    disarm()
    phone.driver.on_text(msgspec.json.encode({"type": "join", "session": "s1", "seq": 1}))
    world.loop.turn()
    joined = next(message for message in phone.outlet.take() if message["type"] == "joined")
    assert (joined["position"]["version"], joined["last_seq"]) == (2, 1)


def test_an_offer_of_another_session_is_not_told_to_a_device_that_was_let_into_one(world: World) -> None:
    world.create("s2")
    phone = world.device("phone", "s1", "s2")
    world.gate.rosters["ann"]["tv"] = DeviceInfo("tv", "tv")
    world.accounts.roster_changed(ANN, tuple(world.gate.rosters["ann"].values()))
    for session in ("s1", "s2"):
        phone.say(type="handoff.take", session=session)
        phone.say(type="handoff.offer", session=session, to="tv", expires_ms=60_000)
    tv = world.connect()
    said = tv.say(type="hello", token="ann/s1", device={"id": "tv", "name": "tv"})
    assert [message["session"] for message in said if message["type"] == "handoff.prepare"] == ["s1"]
    phone.say(type="handoff.cancel", session="s2", handoff=world.engine.session(SessionId("s2")).machine.log.offer.id)  # type: ignore[union-attr]
    assert tv.outlet.take() == []
    phone.say(type="handoff.offer", session="s2", to="tv")
    assert tv.outlet.take() == []
