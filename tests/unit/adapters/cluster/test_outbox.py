"""What a node takes of the outboxes in Redis while some of them answer otherwise than they should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, cast

import pytest

from syncbridge.adapters.cluster.events.outbox import FACTS_OF_A_SLOT, SLOTS_A_ROUND, RedisOutbox
from syncbridge.adapters.cluster.keys import SLOTS, outbox_key, slot_tags
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.core.facts import encode_fact
from syncbridge.errors import Unavailable
from tests.unit.events.stage import fact

AWAY = Failure("unavailable", "its server is away")
RANGE = b"2 5 10 20 e1 ada"


class AnsweredLink:
    """A link whose answers the test names, by the outbox that is asked for; whatever else is asked waits nowhere."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Answer] = {}
        self.found: list[Answer] = []
        self.asked: list[tuple[str, Sequence[bytes]]] = []
        self.when_asked: Callable[[], None] = lambda: None

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], done: Callable[[Answer], None]) -> None:
        self.asked.append((script.name, args))
        self.when_asked()
        done(self.answers.get(keys[0], [1]) if script.name == "outbox_take" else 1)

    def everywhere(
        self, script: Script, args: Sequence[bytes], done: Callable[[list[Answer]], None], *, is_write: bool
    ) -> None:
        self.asked.append((script.name, args))
        done(self.found if args[0] == slot_tags()[0] else [])


@pytest.fixture
def link() -> AnsweredLink:
    return AnsweredLink()


@pytest.fixture
def outbox(link: AnsweredLink) -> RedisOutbox:
    return RedisOutbox(cast(RedisLink, link), "one", ready_ms=5_000)


def waiting(*facts: bytes, changes: Sequence[bytes] = (), more: bool = False) -> Answer:
    rows: list[Any] = []
    for place, body in enumerate(facts):
        rows += [b"%d-0" % place, body]
    return cast(Answer, [2, 7, int(more), rows, list(changes)])


def places(*slots: int) -> list[Any]:
    """What a search finds: that a fact waits in each of these slots."""
    return [[slot + 1, 1, 0, b"1000-0"] for slot in slots]


async def test_the_slots_names_are_found_before_anybody_is_served_and_not_in_the_loop(
    outbox: RedisOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr("syncbridge.adapters.cluster.events.outbox.slot_tags", lambda: threads.append(get_ident()))
    await outbox.open()
    assert len(threads) == 1
    assert threads != [get_ident()]


async def test_a_server_that_is_away_holds_up_only_what_waits_there(link: AnsweredLink, outbox: RedisOutbox) -> None:
    link.found = [cast(Answer, places(0, 1))]
    await outbox.look()
    link.answers = {outbox_key(0): AWAY, outbox_key(1): waiting(encode_fact(fact("s1", 2)))}
    assert [part.facts for part in await outbox.take(512)] == [[fact("s1", 2)]]
    link.answers = {outbox_key(0): AWAY}
    with pytest.raises(Unavailable):
        await outbox.take(512)
    link.answers = {outbox_key(0): waiting(encode_fact(fact("s0", 2)))}
    assert [part.facts for part in await outbox.take(512)] == [[fact("s0", 2)]], "it comes when its server is back"


async def test_a_server_that_is_away_does_not_keep_a_search_from_the_others(
    link: AnsweredLink, outbox: RedisOutbox
) -> None:
    link.found = [AWAY, cast(Answer, places(1))]
    with pytest.raises(Unavailable):
        await outbox.look()
    link.answers = {outbox_key(1): waiting(encode_fact(fact("s1", 2)))}
    assert [part.facts for part in await outbox.take(512)] == [[fact("s1", 2)]]


async def test_a_change_that_cannot_be_read_is_let_go_and_holds_up_nobody(
    link: AnsweredLink, outbox: RedisOutbox
) -> None:
    link.found = [cast(Answer, places(0))]
    await outbox.look()
    link.answers = {outbox_key(0): waiting(changes=[b"bad", b"what is this", b"good", RANGE])}
    [part] = await outbox.take(512)
    assert [(one.session, one.first, one.last) for one in part.changes] == [("good", 2, 5)]
    assert link.asked[-1] == ("outbox_settle", [b"one", b"7", b"0", b"bad", b"what is this"])
    assert (await outbox.look()).dropped == 1


async def test_what_a_commit_leaves_while_a_slot_is_found_empty_is_taken_next(
    link: AnsweredLink, outbox: RedisOutbox
) -> None:
    slot = SLOTS - 1
    outbox._slots[slot] = None

    def commit() -> None:
        outbox._slots.setdefault(slot)  # as `facts_of` does, for a commit behind the question

    link.when_asked = commit
    assert await outbox.take(512) == []
    link.answers = {outbox_key(slot): waiting(changes=[b"s", RANGE])}
    assert [len(part.changes) for part in await outbox.take(512)] == [1]


async def test_a_take_that_is_given_up_forgets_no_slot(link: AnsweredLink, outbox: RedisOutbox) -> None:
    link.found = [cast(Answer, places(0))]
    await outbox.look()
    link.answers = {outbox_key(0): waiting(encode_fact(fact("s0", 2)))}
    taking = asyncio.create_task(outbox.take(512))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert len(await outbox.take(512)) == 1


async def test_no_more_slots_are_asked_than_give_enough_and_the_others_come_next(
    link: AnsweredLink, outbox: RedisOutbox
) -> None:
    slots = range(SLOTS_A_ROUND + 10)
    link.found = [cast(Answer, places(*slots))]
    await outbox.look()
    for slot in slots:
        link.answers[outbox_key(slot)] = waiting(*[encode_fact(fact(f"s{slot}", n)) for n in range(FACTS_OF_A_SLOT)])
    first = await outbox.take(2 * FACTS_OF_A_SLOT)
    assert [part.part for part in first] == [str(slot) for slot in slots[:SLOTS_A_ROUND]]
    assert first[-1].has_more
    second = await outbox.take(2 * FACTS_OF_A_SLOT)
    assert [part.part for part in second[:10]] == [str(slot) for slot in slots[SLOTS_A_ROUND:]]


async def test_a_backlog_of_many_slots_holds_up_no_event_of_now(link: AnsweredLink, outbox: RedisOutbox) -> None:
    slots = range(2 * SLOTS_A_ROUND)
    link.found = [cast(Answer, places(*slots))]
    await outbox.look()
    rows = [encode_fact(fact("old", n)) for n in range(FACTS_OF_A_SLOT)]
    for slot in slots:
        link.answers[outbox_key(slot)] = waiting(*rows, more=True)
    await outbox.take(512)
    outbox._urgent[slots[-1]] = None  # as `facts_of` does
    assert (await outbox.take(512))[0].part == str(slots[-1])
