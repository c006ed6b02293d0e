"""Answers matched by their place: bytes in, calls answered, with no server and no socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.adapters.cluster.link.calls import Batch, Call, packed
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.replies import Answer, Failure, Verdict
from syncbridge.adapters.cluster.link.rules import Figures


class Wire(asyncio.Transport):
    """Keeps what is written; its end is told by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted


class Stage:
    """One connection, and what it told its owner."""

    def __init__(self, *, watched: set[int] | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.wire = Wire()
        self.figures = Figures()
        self.told: list[tuple[str, Any]] = []
        self.pushes: list[list[bytes]] = []
        self.connection = Connection(
            self,
            self.loop,
            figures=self.figures,
            watched=watched or set(),
            wait_ms=400,
            on_push=self.pushes.append,
        )
        self.connection.connection_made(self.wire)
        self.loop.close()

    def call(self, name: str, *, is_write: bool = True, slot: int = 1) -> Call:
        def done(answer: Answer) -> None:
            self.told.append((name, answer.kind if isinstance(answer, Failure) else answer))

        return Call(slot, packed((name.encode(),)), done, is_write, 0.0)

    def send(self, *names: str, replicas: int = 0, is_write: bool = True) -> None:
        calls = [self.call(name, is_write=is_write) for name in names]
        self.connection.send(Batch(calls, sum(len(call.packed) for call in calls), 0.0, replicas))

    def settled(self, call: Call) -> None:
        self.told.append(("settled", call.slot))

    def postponed(self, call: Call, verdict: Verdict, text: str) -> None:
        self.told.append((f"postponed {verdict.name}", call.packed.split(b"\r\n")[2].decode()))

    def relieved(self, batch: Batch) -> None:
        self.told.append(("relieved", len(batch.calls)))

    def lost(self, connection: Connection) -> None:
        self.told.append(("lost", connection.fault))

    def answers(self) -> list[tuple[str, Any]]:
        return [(name, what) for name, what in self.told if name not in ("relieved", "lost", "settled")]


@given(cuts=st.lists(st.integers(1, 40), max_size=12))
def test_a_stream_cut_anywhere_gives_the_same_answers(cuts: list[int]) -> None:
    stage = Stage()
    stage.send("a", "b", "c")
    stage.send("d")
    stream = b"$5\r\nhello\r\n*2\r\n:1\r\n$-1\r\n-ERR no\r\n:7\r\n"
    while stream:
        size = cuts.pop() if cuts else len(stream)
        stage.connection.data_received(stream[:size])
        stream = stream[size:]
    assert stage.answers() == [("a", b"hello"), ("b", [1, None]), ("c", "refused"), ("d", 7)]


def test_a_batch_is_one_write_and_ends_with_its_wait() -> None:
    stage = Stage()
    stage.send("a", "b", replicas=1)
    assert stage.wire.written == [packed((b"a",)) + packed((b"b",)) + packed((b"WAIT", b"1", b"400"))]


def test_answers_are_told_when_the_replica_has_what_they_are_about() -> None:
    stage = Stage()
    stage.send("a", "b", replicas=1)
    stage.connection.data_received(b":1\r\n-WRONGTYPE x\r\n")
    assert stage.answers() == []
    stage.connection.data_received(b":1\r\n")
    assert stage.answers() == [("a", 1), ("b", "refused")]


@pytest.mark.parametrize("waited", [b":0\r\n", b"-UNBLOCKED force unblock from blocking operation\r\n"])
def test_writes_that_too_few_replicas_have_are_unknown(waited: bytes) -> None:
    stage = Stage()
    stage.send("a", "b", replicas=1)
    stage.connection.data_received(b":1\r\n-OOM x\r\n" + waited)
    assert stage.answers() == [("a", "unknown"), ("b", "refused")]
    assert (stage.figures.short_waits, stage.figures.unknown) == (1, 1)


def test_when_the_connection_ends_writes_are_unknown_and_reads_may_go_out_again() -> None:
    stage = Stage()
    stage.send("a", "b", replicas=1)
    stage.send("r", is_write=False)
    stage.connection.data_received(b":1\r\n")
    stage.connection.connection_lost(ConnectionResetError("reset"))
    assert stage.answers() == [("a", "unknown"), ("b", "unknown"), ("postponed LATER", "r")]
    assert stage.told[-1] == ("lost", "reset")
    assert stage.connection.sent_at() is None


def test_what_the_server_did_not_do_is_handed_back_at_once() -> None:
    stage = Stage()
    stage.send("a", "b", "c", replicas=1)
    stage.connection.data_received(b"-MOVED 1 127.0.0.1:7\r\n-NOSCRIPT x\r\n:3\r\n")
    assert stage.answers() == [("postponed MOVED", "a"), ("postponed SCRIPT", "b")]
    stage.connection.data_received(b":1\r\n")
    assert stage.answers()[2:] == [("c", 3)]
    assert stage.connection.in_flight(1) == 0


def test_a_watched_slot_is_told_of_each_call_that_was_carried_out() -> None:
    stage = Stage(watched={1})
    stage.send("a", "b")
    assert stage.connection.in_flight(1) == 2
    stage.connection.data_received(b":1\r\n")
    assert ("settled", 1) in stage.told
    assert (stage.connection.in_flight(1), stage.connection.sent_slots()) == (1, {1: 1})


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n", b":1\r\n:2\r\n"])
def test_a_server_that_speaks_out_of_turn_or_no_redis_is_left(noise: bytes) -> None:
    stage = Stage()
    stage.send("a")
    stage.connection.data_received(noise)
    assert stage.wire.is_aborted
    assert stage.connection.fault


def test_a_subscription_is_confirmed_in_its_place_and_news_pass_between() -> None:
    stage = Stage()
    call = stage.call("s", is_write=False)
    call.confirmed_by = (b"ssubscribe", b"c")
    stage.send("a")
    stage.connection.send(Batch([call], 1, 0.0))
    news = b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
    stage.connection.data_received(news + b":1\r\n" + b">3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n" + news)
    assert stage.answers() == [("a", 1), ("s", b"c")]
    assert stage.pushes == [[b"smessage", b"c", b"x"]] * 2
