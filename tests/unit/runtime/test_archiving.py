"""What a lost live store is rebuilt from is as new as what was committed, however short a session's log is."""

from __future__ import annotations

from collections.abc import Callable

from syncbridge.core.entry import Snapshot
from syncbridge.core.ids import SessionId
from syncbridge.ports import StoreFault
from syncbridge.runtime.archiving import ARCHIVE_EVERY_MS, Archiving
from tests.unit.runtime.world import World

S1 = SessionId("s1")


class Kept:
    """An archive in memory."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def keep(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def newest(self, session: SessionId, done: Callable[[Snapshot | StoreFault | None], None]) -> None:
        done(next((one for one in reversed(self.snapshots) if one.session == session), None))

    def forget(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        self.snapshots = [one for one in self.snapshots if one.session != session]
        done(None)


def changed(archiving: Archiving, session: SessionId, version: int) -> None:
    archiving.note(session, status="active", version=version, updated_at=1, active=None)


def test_a_session_that_was_changed_is_kept_as_it_is_committed_once() -> None:
    world, kept = World(), Kept()
    world.create("s1", {"n": 0})
    archiving = Archiving(world.directory, kept)
    phone = world.device("phone", "s1")
    assert archiving.keep(world.engine) == 0
    phone.push("s1", "/n", 1)
    changed(archiving, S1, 2)
    assert archiving.keep(world.engine) == 1
    assert [(one.version, one.state) for one in kept.snapshots] == [(2, {"n": 1})]
    assert archiving.keep(world.engine) == 0
    assert world.directory.notes[-1] == ("s1", "active", 2, None)


def test_what_is_not_committed_yet_is_not_kept() -> None:
    world, kept = World(), Kept()
    world.create("s1", {"n": 0})
    archiving = Archiving(world.directory, kept)
    phone = world.device("phone", "s1")
    phone.push("s1", "/n", 1)
    world.store.is_holding = True
    phone.push("s1", "/n", 2)
    changed(archiving, S1, 2)
    archiving.keep(world.engine)
    assert [(one.version, one.state) for one in kept.snapshots] == [(2, {"n": 1})]


def test_who_left_memory_is_passed_over_and_that_takes_longer_than_to_be_kept() -> None:
    world, kept = World(), Kept()
    archiving = Archiving(world.directory, kept)
    changed(archiving, SessionId("gone"), 7)
    assert archiving.keep(world.engine) == 0
    assert kept.snapshots == []
    assert world.limits.session_idle_unload_ms > ARCHIVE_EVERY_MS
