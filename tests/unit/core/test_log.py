"""The log in memory: any recent state again, and a failed commit leaves no trace."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncbridge.core.entry import Entry, HandoffNote
from syncbridge.core.ids import HandoffId
from syncbridge.core.log import SessionLog, Work
from syncbridge.limits import Limits
from tests.unit.core.stage import NOW_MS, Stage

LIMITS = Limits(log_entries_kept_max=300, snapshot_entries_max=64, resume_entries_max=300, checkpoint_entries=8)


def fresh() -> SessionLog:
    return SessionLog(Stage(limits=LIMITS).snapshot, LIMITS)


def facts(log: SessionLog) -> Any:
    return log.snapshot(), list(log.entries), log.checkpoints, log.floor


entry_kinds = st.sampled_from(["patch", "seek", "offer", "handoff", "withdraw", "status"])


def grown(log: SessionLog, kind: str, count: int) -> Entry:
    version = log.version + 1
    common: dict[str, Any] = {"version": version, "at": NOW_MS + version}
    note = HandoffNote(HandoffId(f"h{version}"), "offer", None, None, NOW_MS)
    match kind:
        case "patch":
            ops = [{"op": "add", "path": f"/settings/{count % 7}", "value": count}]
            return Entry(kind="patch", device=f"d{count % 3}", seq=version, ops=ops, **common)
        case "seek":
            ops = [{"op": "replace", "path": "/playhead", "value": {"position": count, "rate": 0, "at": 0}}]
            return Entry(kind="patch", device="d0", seq=version, ops=ops, intent="seek", **common)
        case "offer":
            return Entry(kind="offer", handoff=note, **common)
        case "withdraw":
            return Entry(kind="withdraw", handoff=note, **common)
        case "handoff":
            return Entry(kind="handoff", fence=log.fence + 1, active=f"d{count % 3}", handoff=note, **common)
        case _:
            return Entry(kind="status", status="paused" if count % 2 else "active", **common)


@given(st.lists(st.tuples(entry_kinds, st.integers(0, 100)), max_size=40), st.integers(0, 40))
def test_rollback_leaves_no_trace(script: list[tuple[str, int]], keep: int) -> None:
    log, control = fresh(), fresh()
    for kind, count in script[:keep]:
        entry = grown(log, kind, count)
        log.append(entry, 1)
        control.append(entry, 1)
    mark = log.mark()
    for kind, count in script[keep:]:
        log.append(grown(log, kind, count), 2)
    log.rollback(mark)
    assert facts(log) == facts(control)


@given(st.lists(st.tuples(entry_kinds, st.integers(0, 100)), min_size=1, max_size=60), st.data())
def test_any_held_version_gives_the_state_it_had(script: list[tuple[str, int]], data: st.DataObject) -> None:
    log = fresh()
    states = {log.version: log.state}
    for kind, count in script:
        log.append(grown(log, kind, count), 0)
        states[log.version] = log.state
    version = data.draw(st.integers(log.floor, log.version))
    assert log.state_at(version) == states[version]
    assert [entry.version for entry in log.after(version)] == list(range(version + 1, log.version + 1))


@given(st.lists(st.tuples(entry_kinds, st.integers(0, 100)), max_size=40), st.integers(0, 40))
def test_snapshot_and_the_entries_after_it_are_the_whole_log(script: list[tuple[str, int]], at: int) -> None:
    log = fresh()
    snapshot = log.snapshot()
    later: list[Entry] = []
    for index, (kind, count) in enumerate(script):
        if index == at:
            snapshot, later = log.snapshot(), []
        entry = grown(log, kind, count)
        log.append(entry, 5)
        later.append(entry)
    again = SessionLog(snapshot, LIMITS)
    for entry in later:
        again.append(entry, 5)
    assert again.snapshot() == log.snapshot()


def test_memory_of_a_log_is_bounded_and_its_floor_is_known() -> None:
    log = fresh()
    for count in range(5_000):
        log.append(grown(log, "patch", count), 0)
        log.trim()
    assert len(log.entries) <= LIMITS.log_entries_kept_max + LIMITS.checkpoint_entries
    assert len(log.checkpoints) <= len(log.entries) // LIMITS.checkpoint_entries + 2
    assert log.checkpoints[0][0] == log.floor
    assert log.state_at(log.floor) == log.checkpoints[0][1]
    kept_max = LIMITS.inflight_max + LIMITS.txn_entries_max
    assert all(len(settled) <= kept_max for settled in log.settled.values())
    assert all(len(settled) <= LIMITS.inflight_max for settled in log.snapshot().settled.values())


def test_works_of_devices_that_wrote_long_ago_are_forgotten() -> None:
    log = fresh()
    for count in range(2_000):
        entry = grown(log, "patch", count)
        log.append(entry, 0)
        log.remember(f"d{count % 500 if count < 500 else 0}", Work(entry.version, log.version - 1, entry.ops))
        if count == 700:
            mark = log.mark()
            entry = grown(log, "seek", count)
            log.append(entry, 0)
            log.remember("d0", Work(entry.version, log.version - 1, entry.ops))
            log.rollback(mark)
        log.trim()
    assert set(log.works) == {"d0"}
