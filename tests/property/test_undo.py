"""Undo after any schedule: nothing is lost without a row, and a value comes back to the thing that it was taken from.

Three devices edit titles, counters and a list of named things on bases as old as they like; then conflicts are taken
back in any order, forced or not. What an undo did is read from the states alone, by the names of things, not by the
rebase that the undo itself relies on. The same check must see each planted fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge._ext import apply_patch, equal, resolve
from syncbridge.core import conflicts, work_conflicts
from syncbridge.core.conflicts import Return
from syncbridge.core.entry import Entry
from tests.unit.core.looking_back import last_entry, past, state_at, undo
from tests.unit.core.stage import Stage

DEVICES = ("phone", "tv", "laptop")
REFUSALS = {
    "conflict_moved_on",
    "conflict_place_gone",
    "validation_failed",
    "stale_owner",
    "session_ended",
}
STATE: dict[str, Any] = {
    "title": "",
    "settings": {"volume": 1, "theme": {"colour": "red"}},
    "totals": {"breaths": 0},
    "things": [{"id": name, "name": name, "size": 1} for name in "abc"],
    "sequence": "one",
    "notes": "",
}


class Deed(NamedTuple):
    """An edit by a device on the state ``behind`` versions ago, or (``device`` None) an undo."""

    device: str | None
    behind: int
    kind: int
    number: int


deeds = st.lists(
    st.builds(
        Deed,
        st.sampled_from([*DEVICES, *DEVICES, None]),
        st.integers(0, 6),
        st.integers(0, 11),
        st.integers(0, 999),
    ),
    min_size=4,
    max_size=40,
)


def edit(state: Any, deed: Deed, name: str) -> dict[str, Any]:
    """An op that applies to `state`; things are named once and for all."""
    things = state["things"]
    at = deed.number % len(things) if things else 0
    place = f"/things/{at}"
    ops: list[Callable[[], dict[str, Any]]] = [
        lambda: {"op": "replace", "path": "/title", "value": name},
        lambda: {"op": "replace", "path": "/notes", "value": name},
        lambda: {"op": "replace", "path": "/sequence", "value": name},
        lambda: {"op": "replace", "path": "/totals/breaths", "value": state["totals"]["breaths"] + 1 + deed.number % 7},
        lambda: {"op": "add", "path": "/settings/volume", "value": deed.number},
        lambda: {"op": "add", "path": "/settings/theme", "value": {"colour": name}},
    ]
    if "theme" in state["settings"]:
        ops.append(lambda: {"op": "remove", "path": "/settings/theme"})
        ops.append(lambda: {"op": "add", "path": "/settings/theme/colour", "value": name})
    ops.append(lambda: {"op": "add", "path": place, "value": {"id": name, "name": name, "size": 1}})
    if things:
        ops.append(lambda: {"op": "remove", "path": place})
        ops.append(lambda: {"op": "replace", "path": f"{place}/name", "value": name})
        ops.append(lambda: {"op": "replace", "path": f"{place}/size", "value": deed.number})
    return ops[deed.kind % len(ops)]()


def run(schedule: list[Deed]) -> int:
    """The schedule is played and every undo checked; how many conflicts were taken back."""
    stage = Stage("yoga", state=msgspec.json.decode(msgspec.json.encode(STATE)))
    for device in DEVICES:
        stage.joins(device)
    taken_back = 0
    for number, deed in enumerate(schedule):
        stage.now_ms += 10
        if deed.device is not None:
            # A device knows at least what it wrote itself.
            own = [entry.version for entry in stage.stored if entry.device == deed.device and entry.seq]
            base = max(stage.machine.version - deed.behind, *own, 1)
            stage.pushes(deed.device, [edit(state_at(stage, base), deed, f"n{number}")], base=base, at=stage.now_ms)
            continue
        rows = [(entry, index) for entry in stage.stored for index in range(len(entry.conflicts))]
        if rows:
            entry, index = rows[-1 - deed.number % len(rows)]
            taken_back += check_undo(stage, entry, index, is_forced=deed.behind > 3)
    return taken_back


def check_undo(stage: Stage, conflict: Entry, index: int, *, is_forced: bool) -> int:
    """The conflict is taken back or refused; nothing was lost either way. AssertionError where something was."""
    row, before, count = conflict.conflicts[index], stage.state, len(stage.stored)
    lost = conflicts.loser(row) or "theirs"
    chosen = None if row["winner"] != "both" else lost
    stood = standing_thing(past(stage, conflict.version, index).before, conflict, row)
    reply = undo(stage, conflict.version, index, chosen=chosen, force=is_forced)
    if reply.result is None:
        assert reply.code in REFUSALS, reply
        assert stage.state is before, "a refused undo changed something"
        assert len(stage.stored) == count
        return 0
    if len(stage.stored) == count:
        return 0  # it was undone already
    entry = last_entry(stage)
    assert len(entry.ops) <= 1, "an undo writes one place"
    assert len(entry.conflicts) == len(entry.ops), "what it replaced is not listed"
    for told in entry.conflicts:
        assert equal(apply_patch(stage.state, [back(told, entry.ops[0], before)]), before), (
            "something was lost without a row"
        )
        path = str(told["path"])
        if stood is not None and path.startswith("/things/"):
            assert thing_at(stage.state, path) == stood, "the value came back to another thing"
        if not is_forced and row["winner"] in ("ours", "theirs") and "theirs" in told and row["policy"] != "counter":
            won = row.get("ours" if row["winner"] == "ours" else "theirs")
            assert equal(told["theirs"], won), "newer progress was overwritten unseen"
    return 1


def back(told: Any, op: dict[str, Any], before: Any) -> dict[str, Any]:
    """The op that puts what the row says was replaced into its place again."""
    path = told["path"]
    if "theirs" not in told:
        return {"op": "remove", "path": path}
    assert equal(resolve(before, path), told["theirs"]), "the row tells another value than what stood there"
    return {"op": "add" if op["op"] == "remove" else "replace", "path": path, "value": told["theirs"]}


def thing_at(state: Any, path: str) -> Any:
    thing = resolve(state, "/".join(path.split("/")[:3]), None)
    return thing["id"] if isinstance(thing, dict) else None


def standing_thing(before: Any, entry: Entry, row: Any) -> Any:
    """The name of the thing that the row is about; None where it is about none, or about its coming and going."""
    path = str(row["path"])
    if not path.startswith("/things/") or path.count("/") < 3:
        return None
    removed = [op for op in entry.ops if op["op"] == "remove" and (path + "/").startswith(op["path"] + "/")]
    if removed:
        return thing_at(before, path)
    after = apply_patch(before, entry.ops)
    return thing_at(after, path) if resolve(after, path, None) is not None and "theirs" in row else None


@given(deeds)
@settings(max_examples=150, deadline=None)
def test_undo_after_any_schedule_never_loses_a_value_without_a_row(schedule: list[Deed]) -> None:
    run(schedule)


def random_schedules(count: int) -> list[list[Deed]]:
    chance = random.Random(7)
    kinds = [*DEVICES, *DEVICES, None, None]
    return [
        [
            Deed(chance.choice(kinds), chance.randrange(7), chance.randrange(12), chance.randrange(1_000))
            for _ in range(60)
        ]
        for _ in range(count)
    ]


def test_the_schedules_take_conflicts_back() -> None:
    assert sum(run(schedule) for schedule in random_schedules(25)) > 50


def _as_if_nothing_came(place: Any, *_: Any) -> str:
    return str(place.path)


def _as_if_seen(real: Callable[..., Return]) -> Callable[..., Return]:
    return lambda *args, **known: real(*args, **known)._replace(has_moved_on=False)


def _without_row(real: Callable[..., Return]) -> Callable[..., Return]:
    return lambda *args, **known: real(*args, **known)._replace(row=None)


FAULTS = {
    "ignores what came since": "another thing",
    "overwrites what is newer": "newer progress was overwritten unseen",
    "says not what it replaced": "is not listed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_sees_an_undo_that(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "ignores what came since":
        monkeypatch.setattr(conflicts, "_now", _as_if_nothing_came)
    elif fault == "overwrites what is newer":
        monkeypatch.setattr(work_conflicts, "way_back", _as_if_seen(conflicts.way_back))
    else:
        monkeypatch.setattr(work_conflicts, "way_back", _without_row(conflicts.way_back))
    seen = [str(violation) for schedule in random_schedules(80) if (violation := violation_of(schedule)) is not None]
    assert any(FAULTS[fault] in violation for violation in seen), seen


def violation_of(schedule: list[Deed]) -> AssertionError | None:
    """What the check finds wrong with the schedule."""
    try:
        run(schedule)
    except AssertionError as violation:
        return violation
    return None
