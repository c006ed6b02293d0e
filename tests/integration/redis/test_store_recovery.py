"""What becomes of a log that Redis lost, or that is not as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from syncbridge.adapters.cluster.link.script import load as load_script
from syncbridge.adapters.cluster.link.script import script_of
from syncbridge.adapters.cluster.log import recovery
from syncbridge.core.entry import HandoffNote
from syncbridge.core.epochs import generation
from syncbridge.core.ids import ConnectionId, DeviceId, HandoffId, TxnId
from syncbridge.ports import (
    Forked,
    Held,
    PutBack,
    StoredLog,
    StoreFault,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasForeign,
)
from tests.conformance.logs import (
    EPOCH,
    STARTED_AT,
    change,
    create,
    delete,
    entries,
    load,
    loaded,
    session_named,
    snapshot_of,
    submit,
    version_at,
    waiting,
    walk,
)
from tests.integration.redis.nodes import KeptInMemory, World, held_of, log_up_to, put_back

SESSION = session_named("a")
OTHER = session_named("b")
NOT_FOUND = StoreFault("not_found")
PHONE = DeviceId("phone")


def versions_of(log: StoredLog) -> list[int]:
    return [log.snapshot.version, *(entry.version for entry in log.entries)]


# -- lost -------------------------------------------------------------------------------------------------------


def test_a_log_that_is_gone_whole_stands_again_with_the_same_versions(world: World) -> None:
    node = world.node()
    submissions = log_up_to(node, SESSION, 6)
    held = held_of(node, SESSION, submissions)
    before = loaded(node, SESSION, 100)
    world.servers.empty()
    late = change(SESSION, 6)
    assert submit(node, late) == [WasBehind(late.txn.id, 0)]
    assert put_back(node, held) == PutBack(6)
    assert submit(node, late) == [WasCommitted(late.txn.id)]
    log = loaded(node, SESSION, 100)
    assert (log.snapshot.epoch, versions_of(log)) == (EPOCH, [6, 7])
    read = entries(node, SESSION, 6)
    assert not isinstance(read, StoreFault)
    assert read.oldest == 6
    assert submit(node, *submissions) == [WasCommitted(one.txn.id) for one in submissions], "repeats are still known"
    behind = submit(node, change(SESSION, 3, name="late"))
    assert behind[0].entries[:2] == before.entries[2:4]  # type: ignore[union-attr]


def test_a_log_that_fell_back_is_told_how_far_and_goes_on_where_it_was(world: World) -> None:
    node = world.node()
    submissions = log_up_to(node, SESSION, 4)
    saved = world.saved(SESSION)
    more = [change(SESSION, 4, 2), change(SESSION, 6)]
    submit(node, *more)
    held = held_of(node, SESSION, [*submissions, *more])
    before = loaded(node, SESSION, 100)
    world.fall_back(saved)
    late = change(SESSION, 7)
    assert submit(node, late) == [WasBehind(late.txn.id, 4)]
    assert put_back(node, held) == PutBack(7)
    assert put_back(node, held) == PutBack(7), "once more does no harm"
    assert submit(node, *more, late) == [WasCommitted(one.txn.id) for one in (*more, late)]
    after = loaded(node, SESSION, 100)
    assert (after.entries[:-1], after.digests[:-1]) == (before.entries, before.digests)


def test_what_a_node_only_read_is_put_back_as_whose_it_was_and_its_repeat_is_known(world: World) -> None:
    one, two = world.node(), world.node()
    log_up_to(one, SESSION, 3)
    made = change(SESSION, 3, 2)
    assert submit(one, made) == [WasCommitted(made.txn.id)]
    late = change(SESSION, 3, name="late")
    (behind,) = submit(two, late)
    log = loaded(two, SESSION, 100)
    assert isinstance(behind, WasConflict)
    assert behind.txns == log.txns[-2:] == [made.txn.id] * 2
    world.servers.empty()
    assert put_back(two, Held(snapshot_of(SESSION, 5), log.entries, log.digests, log.txns)) == PutBack(5)
    assert submit(one, made) == [WasCommitted(made.txn.id)]
    assert versions_of(loaded(two, SESSION, 100)) == [5], "once, however often it is sent"


def test_two_nodes_that_put_back_the_same_do_it_once(world: World) -> None:
    one, two = world.node(), world.node()
    submissions = log_up_to(one, SESSION, 9)
    held, less = held_of(one, SESSION, submissions), held_of(two, SESSION, [])
    world.servers.empty()
    answers: list[object] = []
    one.store.put_back(held, answers.append)
    two.store.put_back(less, answers.append)
    one.wait(lambda: bool(answers))
    two.wait(lambda: len(answers) == 2)
    assert answers == [PutBack(9), PutBack(9)]
    assert put_back(two, less) == PutBack(9), "entries are told by what they say where their transaction is not known"


def test_what_is_held_of_a_log_that_went_another_way_is_not_put_back(world: World) -> None:
    one, two = world.node(), world.node()
    submissions = log_up_to(one, SESSION, 4)
    saved = world.saved(SESSION)
    ours = [change(SESSION, 4, name="ours"), change(SESSION, 5, name="ours")]
    submit(one, *ours)
    held = held_of(one, SESSION, [*submissions, *ours])
    world.fall_back(saved)
    submit(two, change(SESSION, 4, name="theirs"))
    assert put_back(one, held) == Forked()
    submit(two, change(SESSION, 5, name="theirs"), change(SESSION, 6, name="theirs"))
    assert put_back(one, held) == Forked(), "also when the other way is the longer one"
    assert [entry.ops[1]["value"] for entry in loaded(two, SESSION, 100).entries][3:] == ["theirs"] * 3


def test_what_is_held_from_after_the_store_s_head_on_shows_by_its_time_whether_that_is_the_entry_before(
    world: World,
) -> None:
    one, two = world.node(), world.node()
    submissions = log_up_to(one, SESSION, 4)
    saved = world.saved(SESSION)
    ours = [change(SESSION, 4, name="ours", at=STARTED_AT + 50), change(SESSION, 5, name="ours", at=STARTED_AT + 70)]
    submit(one, *ours)
    held = held_of(one, SESSION, [*submissions, *ours])
    last = msgspec.structs.replace(
        held, entries=held.entries[-1:], digests=held.digests[-1:], txns=held.txns[-1:], before_at=STARTED_AT + 50
    )
    world.fall_back(saved)
    submit(two, change(SESSION, 4, name="theirs", at=STARTED_AT + 60))
    assert put_back(one, last) == Forked()
    world.fall_back(saved)
    submit(two, ours[0])
    assert put_back(one, last) == PutBack(6)
    assert versions_of(loaded(two, SESSION, 100))[-2:] == [5, 6]


def test_what_was_made_on_an_entry_that_another_took_the_place_of_appends_nothing(world: World) -> None:
    one, two = world.node(), world.node()
    log_up_to(one, SESSION, 4)
    saved = world.saved(SESSION)
    ours = change(SESSION, 4, name="ours", at=STARTED_AT + 50)
    submit(one, ours)
    world.fall_back(saved)
    theirs = change(SESSION, 4, name="theirs", at=STARTED_AT + 60)
    submit(two, theirs)
    late = change(SESSION, 5, name="late", expected_at=STARTED_AT + 50)
    claim = change(SESSION, 5, 0, name="claim", expected_at=STARTED_AT + 50, claims={PHONE: ConnectionId("c")})
    assert submit(one, late, claim) == [WasForeign(late.txn.id), WasForeign(claim.txn.id)]
    following = change(SESSION, 5, name="following", expected_at=STARTED_AT + 60)
    assert submit(two, following) == [WasCommitted(following.txn.id)]
    assert submit(one, late) == [WasForeign(late.txn.id)], "also where what stands there has followers"
    other = change(SESSION, 5, name="other", expected_at=STARTED_AT + 60)
    assert submit(one, other) == [
        WasConflict(other.txn.id, following.txn.entries, following.txn.digests, [following.txn.id])
    ]
    assert submit(two, following) == [WasCommitted(following.txn.id)], "a repeat is known"


def test_what_is_held_under_another_epoch_is_not_put_back(world: World) -> None:
    node = world.node()
    held = held_of(node, SESSION, log_up_to(node, SESSION, 4))
    other = msgspec.structs.replace(held, snapshot=msgspec.structs.replace(held.snapshot, epoch="epoch-2"))
    assert put_back(node, other) == Forked()
    assert loaded(node, SESSION).snapshot.epoch == EPOCH


def test_a_store_that_fell_back_behind_all_that_is_held_begins_at_what_is_held(world: World) -> None:
    node = world.node()
    submissions = log_up_to(node, SESSION, 3)
    saved = world.saved(SESSION)
    submit(node, *[change(SESSION, version) for version in range(3, 12)])
    held = held_of(node, SESSION, submissions)
    short = msgspec.structs.replace(held, entries=held.entries[-3:], digests=held.digests[-3:], txns=held.txns[-3:])
    world.fall_back(saved)
    assert put_back(node, short) == PutBack(12)
    assert versions_of(loaded(node, SESSION, 100)) == [12]
    assert submit(node, change(SESSION, 12)) == [WasCommitted(TxnId("txn-13"))]


def test_a_log_of_which_only_the_state_is_held_goes_on_after_it(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 5)
    held = held_of(node, SESSION, [])
    world.servers.empty()
    assert put_back(node, msgspec.structs.replace(held, entries=[], digests=[], txns=[])) == PutBack(5)
    assert submit(node, change(SESSION, 5)) == [WasCommitted(TxnId("txn-6"))]
    node.reopen()
    assert versions_of(loaded(node, SESSION, 100)) == [5, 6]


def test_what_was_put_back_is_found_by_walks_and_by_the_device_that_an_offer_waits_for(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 3)
    until = node.clock.ms + 60_000
    note = HandoffNote(HandoffId("h"), "offer", target=PHONE, expires_at=until)
    held = held_of(node, SESSION, [], offer=note, offer_version=3)
    world.servers.empty()
    assert (walk(node), waiting(node, "phone")) == ([], [])
    assert put_back(node, held) == PutBack(3)
    assert [head.session for head in walk(node)] == [SESSION]
    assert waiting(node, "phone") == [SESSION]
    # Of its age no more is known than that the newest entry came after it.
    left_ms = loaded(node, SESSION).offer_left_ms
    assert left_ms is not None
    assert 0 < left_ms <= until - held.snapshot.at
    node.pass_time(until)
    assert put_back(node, held) == PutBack(3)
    assert loaded(node, SESSION).offer_left_ms == 0, "once more does not make it longer"


def test_nothing_brings_a_deleted_session_back(world: World) -> None:
    archive = KeptInMemory()
    node, late = world.node(archive, grace_ms=0), world.node(archive, grace_ms=0)
    note = HandoffNote(HandoffId("h"), "offer", target=PHONE, expires_at=node.clock.ms + 60_000)
    held = held_of(node, SESSION, log_up_to(node, SESSION, 4), offer=note, offer_version=3)
    assert delete(node, SESSION) is None
    assert put_back(late, held) == NOT_FOUND
    late.redis.write_snapshot(snapshot_of(SESSION, 4))
    archive.keep(snapshot_of(SESSION, 4))
    assert load(late, SESSION) == NOT_FOUND
    assert submit(late, change(SESSION, 4)) == [WasForeign(TxnId("txn-5"))]
    assert walk(late) == []
    assert not [name for name in world.names() if name.endswith((b":sessions", b":all", b":due", b":offers"))]


# -- rebuilt ----------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_holds_is_rebuilt_from_the_archive_under_one_new_epoch(world: World) -> None:
    archive = KeptInMemory()
    node = world.node(archive, grace_ms=0)
    log_up_to(node, SESSION, 3)
    submit(node, change(SESSION, 3, snapshot=snapshot_of(SESSION, 4)), change(SESSION, 4))
    world.servers.empty()
    one, two = world.node(archive, grace_ms=0), world.node(archive, grace_ms=0)
    answers: list[StoredLog | StoreFault] = []
    one.store.load(SESSION, 0, answers.append)
    two.store.load(SESSION, 0, answers.append)
    one.wait(lambda: bool(answers))
    two.wait(lambda: len(answers) == 2)
    assert answers[0] == answers[1]
    log = loaded(one, SESSION)
    assert versions_of(log) == [4]
    assert log.snapshot.epoch != EPOCH
    assert log.snapshot.epoch.startswith(f"{EPOCH}.")
    assert generation(log.snapshot.epoch) == 1
    assert archive.kept[SESSION].epoch == log.snapshot.epoch, "the next loss is one of this log"
    assert submit(two, change(SESSION, 4)) == [WasForeign(TxnId("txn-5"))], "an old position is not believed"
    assert submit(two, change(SESSION, 4, epoch=log.snapshot.epoch)) == [WasCommitted(TxnId("txn-5"))]
    assert [head.version for head in walk(one)] == [5]


def test_whoever_holds_more_than_the_archive_comes_first(world: World) -> None:
    archive = KeptInMemory()
    node = world.node(archive)
    held = held_of(node, SESSION, log_up_to(node, SESSION, 7))
    assert archive.kept[SESSION].version == 1
    world.servers.empty()
    other = world.node(archive)
    fault = load(other, SESSION)
    assert isinstance(fault, StoreFault)
    assert fault.code == "unavailable"
    assert put_back(node, held) == PutBack(7)
    assert (loaded(other, SESSION).snapshot.epoch, loaded(other, SESSION).snapshot.version) == (EPOCH, 7)


def test_what_was_rebuilt_is_not_put_back_over(world: World) -> None:
    archive = KeptInMemory()
    node = world.node(archive, grace_ms=0)
    held = held_of(node, SESSION, log_up_to(node, SESSION, 7))
    world.servers.empty()
    epoch = loaded(node, SESSION).snapshot.epoch
    assert put_back(node, held) == Forked()
    assert loaded(node, SESSION).snapshot.epoch == epoch


def test_a_session_that_never_was_is_not_found_without_a_wait(world: World) -> None:
    node = world.node(KeptInMemory())
    create(node, OTHER)
    assert load(node, SESSION) == NOT_FOUND
    assert version_at(node, SESSION, 0) == NOT_FOUND


def test_while_the_archive_is_away_a_missing_log_is_not_called_gone(world: World) -> None:
    archive = KeptInMemory()
    node = world.node(archive)
    archive.is_away = True
    assert load(node, SESSION) == StoreFault("unavailable", "the archive is away")
    create(node, OTHER)
    assert versions_of(loaded(node, OTHER)) == [1], "what Redis holds is served"
    fault = delete(node, OTHER)
    assert isinstance(fault, StoreFault), "nothing of it is left only when the archive knows"
    archive.is_away = False
    assert delete(node, OTHER) is None
    assert archive.kept == {}


# -- damaged ----------------------------------------------------------------------------------------------------

Spoil = Callable[[World], object]


def _entry_with(world: World, **fields: str) -> None:
    """The entry of version 3 has other fields."""
    log = world.keys(SESSION).log
    rows: Any = world.client.xrange(log)
    world.client.delete(log)
    for name, row in rows:
        changed = {field.encode(): value.encode() for field, value in fields.items()} if name == b"3-0" else {}
        world.client.xadd(log, row | changed, id=name)


SPOILT: dict[str, Spoil] = {
    "an entry's body is cut short": lambda world: _entry_with(world, b='{"version":3,"kind":"patch"'),
    "an entry's seal is another's": lambda world: _entry_with(world, s="17 0badcafe"),
    "an entry lacks its seal": lambda world: _entry_with(world, s=""),
    "an entry is missing": lambda world: world.client.xdel(world.keys(SESSION).log, "3-0"),
    "the log is of another type": lambda world: (
        world.client.delete(world.keys(SESSION).log),
        world.client.set(world.keys(SESSION).log, "words"),
    ),
    "the log is gone": lambda world: world.client.delete(world.keys(SESSION).log),
    "the head is of another type": lambda world: (
        world.client.delete(world.keys(SESSION).head),
        world.client.lpush(world.keys(SESSION).head, "words"),
    ),
    "the head has no version": lambda world: world.client.hset(world.keys(SESSION).head, "version", "many"),
    "the snapshot is cut short": lambda world: world.client.hset(world.keys(SESSION).snap, "1", "0badcafe{"),
    "the snapshots are gone": lambda world: world.client.delete(world.keys(SESSION).snap),
    "the snapshots are of another type": lambda world: (
        world.client.delete(world.keys(SESSION).snaps),
        world.client.set(world.keys(SESSION).snaps, "words"),
    ),
    "the snapshots' index is no number": lambda world: (
        world.client.delete(world.keys(SESSION).snaps),
        world.client.zadd(world.keys(SESSION).snaps, {"words": 1}),
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_a_damaged_log_is_set_aside_whole_and_stands_again_from_what_is_held(world: World, spoil: Spoil) -> None:
    node = world.node()
    create(node, OTHER)
    held = held_of(node, SESSION, log_up_to(node, SESSION, 6))
    spoil(world)
    for _ in range(2):
        fault = load(node, SESSION, 100)
        assert isinstance(fault, StoreFault)
        assert fault.code == "state_damaged"
    assert world.names() & set(world.keys(SESSION).set_aside), "what it was is kept for whoever looks at it"
    assert versions_of(loaded(node, OTHER)) == [1]
    late = change(SESSION, 6)
    assert submit(node, late) == [WasBehind(late.txn.id, 0)]
    assert put_back(node, held) == PutBack(6)
    assert submit(node, late) == [WasCommitted(late.txn.id)]
    assert versions_of(loaded(node, SESSION, 100)) == [6, 7]
    assert delete(node, SESSION) is None
    assert not [name for name in world.names() if b"session-a}" in name and not name.endswith(b":gone")]


@pytest.mark.parametrize(
    "spoil",
    [spoil for name, spoil in SPOILT.items() if name.startswith(("the log is", "the head"))],
    ids=[name for name in SPOILT if name.startswith(("the log is", "the head"))],
)
def test_a_push_that_meets_a_damaged_log_appends_nothing_and_what_its_node_holds_takes_its_place(
    world: World, spoil: Spoil
) -> None:
    node = world.node()
    held = held_of(node, SESSION, log_up_to(node, SESSION, 6))
    spoil(world)
    late = change(SESSION, 6)
    assert submit(node, late) == [WasBehind(late.txn.id, 0)]
    assert put_back(node, held) == PutBack(6)
    assert submit(node, late, late) == [WasCommitted(late.txn.id)] * 2
    assert versions_of(loaded(node, SESSION, 100)) == [6, 7]


def test_what_is_put_back_takes_the_place_of_what_is_damaged(world: World) -> None:
    node = world.node()
    held = held_of(node, SESSION, log_up_to(node, SESSION, 6))
    SPOILT["the head is of another type"](world)
    assert put_back(node, held) == PutBack(6)
    assert loaded(node, SESSION).snapshot.version == 6


def test_a_damaged_log_that_nobody_holds_comes_back_from_the_archive(world: World) -> None:
    archive = KeptInMemory()
    node = world.node(archive, grace_ms=0)
    log_up_to(node, SESSION, 6)
    SPOILT["an entry is missing"](world)
    log = loaded(node, SESSION)
    assert versions_of(log) == [1]
    assert log.snapshot.epoch != EPOCH


def test_damage_to_what_only_history_reads_is_noticed_there(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 6)
    SPOILT["an entry's seal is another's"](world)
    fault = entries(node, SESSION, 1)
    assert isinstance(fault, StoreFault)
    assert fault.code == "state_damaged"


# -- planted faults ---------------------------------------------------------------------------------------------

PLANTED: dict[str, tuple[Callable[[World], None], str, str]] = {
    "a fork is not noticed": (
        test_what_is_held_of_a_log_that_went_another_way_is_not_put_back,
        "if not is_same then return {3} end",
        "",
    ),
    "a deletion is forgotten": (
        test_nothing_brings_a_deleted_session_back,
        "if redis.call('EXISTS', KEYS[5]) == 1 then return {0} end",
        "",
    ),
    "another epoch is put back over": (
        test_what_was_rebuilt_is_not_put_back_over,
        "if head[1] ~= ARGV[1] then return {3} end",
        "",
    ),
    "the lost end is not appended": (
        test_a_log_that_fell_back_is_told_how_far_and_goes_on_where_it_was,
        "for entry = stands + 1, version do",
        "for entry = version + 1, version do",
    ),
}


@pytest.mark.parametrize(("claim", "text", "with_what"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_in_putting_back_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, claim: Callable[[World], None], text: str, with_what: str
) -> None:
    source = load_script("put_back").source.decode()
    assert source.count(text) == 1
    monkeypatch.setattr(recovery, "_put_back", script_of("planted", source.replace(text, with_what).encode()))
    with pytest.raises(AssertionError):
        claim(world)
