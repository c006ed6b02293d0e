"""Several nodes over one Redis: races for one log, and the indexes over many."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.adapters.cluster.keys import bucket_all, bucket_due, bucket_of
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.limits import Retention
from syncbridge.ports import Outcome, Submission, Swept, WasBehind, WasCommitted, WasConflict, WasFenced
from tests.conformance.logs import STARTED_AT, change, create, delete, loaded, session_named, submit, sweep, walk
from tests.conformance.redis_harness import RedisHarness
from tests.integration.redis.nodes import World, held_of, log_up_to, put_back

SESSION = session_named("a")
PHONE, OLD, NEW = DeviceId("phone"), ConnectionId("c-old"), ConnectionId("c-new")
KEPT = Retention()
HOUR_MS = 3_600_000


class Pusher:
    """A node that makes so many commits, each again on top of what came since where another was first."""

    def __init__(self, node: RedisHarness, name: str, count: int) -> None:
        self.node, self.name, self.left = node, name, count
        self.head = 1
        self.lost = 0
        self.acked: list[int] = []
        self._push()

    def _push(self) -> None:
        self._submission = change(SESSION, self.head, 1 + self.left % 2, name=f"{self.name}{self.left}")
        self.node.store.submit([self._submission], self._answered)

    def _answered(self, outcome: Outcome) -> None:
        entries = self._submission.txn.entries
        if isinstance(outcome, WasConflict):
            self.lost += 1
            assert outcome.entries[0].version == self.head + 1
            self.head = outcome.entries[-1].version
        else:
            assert isinstance(outcome, WasCommitted)
            self.acked += [entry.version for entry in entries]
            self.head = entries[-1].version
            self.left -= 1
        if self.left:
            self._push()


def test_nodes_that_race_for_one_log_lose_nothing_and_none_is_overwritten(world: World) -> None:
    nodes = [world.node(), world.node()]
    create(nodes[0], SESSION)
    pushers = [Pusher(node, name, 60) for node, name in zip(nodes, "xy", strict=True)]
    for pusher in pushers * 400:
        if any(each.left for each in pushers):
            pusher.node.turn()
    for pusher in pushers:
        pusher.node.wait(lambda pusher=pusher: not pusher.left)  # type: ignore[misc]
    acked = sorted(pushers[0].acked + pushers[1].acked)
    assert acked == list(range(2, 2 + 180))
    assert sum(pusher.lost for pusher in pushers) > 0, "they did race"
    marks = {entry.version: entry.ops[1]["value"][0] for entry in loaded(nodes[1], SESSION, 1_000).entries}
    for pusher in pushers:
        assert {marks[version] for version in pusher.acked} == {pusher.name}


def test_after_the_claims_were_lost_whoever_pushes_first_has_them(world: World) -> None:
    node = world.node()
    held = held_of(node, SESSION, log_up_to(node, SESSION, 3))
    submit(node, change(SESSION, 3, 0, claims={PHONE: NEW}))
    world.servers.empty()
    push = change(SESSION, 3, held={PHONE: NEW})
    assert submit(node, push) == [WasBehind(push.txn.id, 0)]
    put_back(node, held)
    assert submit(node, push) == [WasCommitted(push.txn.id)]
    late = change(SESSION, 4, held={PHONE: OLD})
    assert submit(node, late) == [WasFenced(late.txn.id, [PHONE])]


def many(node: RedisHarness, count: int) -> list[SessionId]:
    """So many sessions, every third of another account."""
    sessions = [session_named(f"{number:04}") for number in range(count)]
    for number, session in enumerate(sessions):
        create(node, session, account=AccountId("eve" if number % 3 == 0 else "ada"))
    return sessions


@pytest.mark.parametrize("page", [1, 7, 50, 1_000])
def test_a_walk_meets_every_session_once_though_its_index_has_parts_and_names_some_too_many(
    world: World, page: int
) -> None:
    node = world.node()
    sessions = many(node, 90)
    for session in sessions[10:30]:
        world.client.delete(world.keys(session).head)
    left = sessions[:10] + sessions[30:]
    for account, theirs in ((None, left), (AccountId("eve"), [one for one in left if int(one[-4:]) % 3 == 0])):
        met: list[str] = []
        while True:
            heads = walk(node, met[-1] if met else "", page, account)
            met += [head.session for head in heads]
            if len(heads) < page:
                break
        assert met == theirs


def test_what_an_index_names_too_many_goes_with_a_sweep_and_what_was_listed_anew_stays(world: World) -> None:
    node = world.node()
    sessions = many(node, 12)
    held = {session: held_of(node, session, []) for session in sessions}
    for session in sessions[:6]:
        world.client.delete(world.keys(session).head)
    later = STARTED_AT + KEPT.live_ms + 10
    back = held[sessions[0]]
    put_back(node, msgspec.structs.replace(back, snapshot=msgspec.structs.replace(back.snapshot, at=later)))
    swept = sweep(node, later)
    assert {session for session, _ in swept.sessions} == set(sessions[6:])
    bucket = bucket_of(sessions[0])
    assert [head.session for head in walk(node)] == [sessions[0]]
    assert world.client.zcard(bucket_all(bucket)) == world.client.zcard(bucket_due(bucket)) == 1
    assert delete(node, sessions[0]) is None
    assert not [name for name in world.names() if b"#" in name or (b"@" in name and not name.endswith(b":sessions"))]


def test_a_session_that_is_kept_long_is_looked_at_again_before_it_could_be_due(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    done: Submission = change(SESSION, 1, at=STARTED_AT + 5, status="archived")
    submit(node, done)
    first = STARTED_AT + KEPT.live_ms + 10
    assert sweep(node, first).sessions == []
    submit(node, change(SESSION, 2, at=first, status="active"))
    assert sweep(node, first + KEPT.live_ms).sessions == [(SESSION, "active")]


def test_a_session_that_is_written_now_outlives_any_node_s_clock(world: World) -> None:
    """Whoever wrote is days behind, or whoever sweeps is as far ahead: Redis knows better than either."""
    node = world.node()
    create(node, SESSION)
    submit(node, change(SESSION, 1, at=STARTED_AT + 5))
    later = STARTED_AT + 5 + 2 * KEPT.live_ms

    def swept(now_ms: int) -> list[tuple[SessionId, str]]:
        answers: list[Swept] = []
        node.store.sweep(now_ms, 50, answers.append)
        node.wait(lambda: bool(answers))
        return answers[0].sessions

    assert swept(later) == []
    assert loaded(node, SESSION).entries
    assert swept(later + KEPT.live_ms - 60_000) == [], "it is looked at again when it may be over"
    world.client.hincrby(world.keys(SESSION).head, "written", -KEPT.live_ms // 1000)
    assert swept(later + 2 * KEPT.live_ms) == [(SESSION, "active")]


def test_a_commit_of_another_hour_or_status_makes_a_log_young_again(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    head = world.keys(SESSION).head
    for expected, at, is_young in ((1, HOUR_MS, True), (2, HOUR_MS + 5, False), (3, 2 * HOUR_MS, True)):
        world.client.hset(head, "written", "1")
        submit(node, change(SESSION, expected, at=STARTED_AT // HOUR_MS * HOUR_MS + at))
        assert (world.client.hget(head, "written") != b"1") is is_young
