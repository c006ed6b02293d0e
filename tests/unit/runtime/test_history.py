"""The past of a session, over the engine and the memory store."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import ConflictExpired, HistoryGone, NotFound, Unavailable, ValidationFailed
from syncbridge.limits import Limits
from syncbridge.ports import Stretch
from syncbridge.runtime import history as module
from syncbridge.runtime.history import LogHistory
from syncbridge.runtime.service import LiveSessionService
from tests.unit.runtime.test_service import EagerWorld

S1 = SessionId("s1")
TIGHT = Limits(log_entries_kept_max=8, resume_entries_max=8, snapshot_entries_max=4)


async def made(limits: Limits | None = None, **state: Any) -> tuple[EagerWorld, LiveSessionService, LogHistory]:
    world = EagerWorld(limits)
    service = LiveSessionService(world.engine)
    await service.create(account=AccountId("ann"), session=S1, kind="custom", title="", state=state, device="phone")
    history = service.history
    assert isinstance(history, LogHistory)
    return world, service, history


async def write(service: LiveSessionService, value: object, path: str = "/n") -> None:
    ops = [{"op": "add", "path": path, "value": value}]
    await service.edit(S1, device="", form="patch", value=ops, expected=None)


async def clash(world: EagerWorld) -> int:
    """Two devices write `/n` of a fresh session at once; the entry that lists it."""
    for device in ("tv", "phone"):
        ops = [{"op": "replace", "path": "/n", "value": device}]
        world.device(device, "s1").say(type="push", session="s1", seq=1, base=1, ops=ops)
    return 3


async def test_the_state_of_each_version_and_moment_is_told() -> None:
    world, service, history = await made(n=0)
    at = [world.loop.now_ms()]
    for value in (1, 2, 3):
        world.loop.advance(1_000)
        at.append(world.loop.now_ms())
        await write(service, value)
    for version in (1, 2, 3, 4):
        past = await history.state_at(S1, version)
        assert (past.state, past.at, past.position.version) == ({"n": version - 1}, at[version - 1], version)
        assert past.hash == (await history.state_at(S1, version)).hash
        assert await history.version_at(S1, at[version - 1] + 999 * (version < 4)) == version
    with pytest.raises(ValidationFailed, match="future"):
        await history.version_at(S1, at[-1] + 1)
    with pytest.raises(HistoryGone) as gone:
        await history.version_at(S1, at[0] - 1)
    assert gone.value.members == {"oldest": 1}


async def test_what_the_log_let_go_is_said_with_the_oldest_that_it_holds() -> None:
    world, service, history = await made(TIGHT, n=0)
    world.store._history_entries_max = 10
    for value in range(60):
        await write(service, value)
    oldest = (await history.reach(S1)).oldest
    assert 40 < oldest < 60
    assert (await history.state_at(S1, oldest)).state == {"n": oldest - 2}
    for question in (history.state_at(S1, oldest - 1), history.between(S1, oldest - 1, 60)):
        with pytest.raises(HistoryGone) as gone:
            await question
        assert gone.value.members == {"oldest": oldest}
    read = await history.back(S1, before=None, count_max=1_000)
    assert [entry.version for entry in read.entries] == list(range(61, oldest, -1))


@pytest.mark.parametrize(("start", "end", "why"), [(3, 2, "after the second"), (1, 9, "does not exist yet")])
async def test_a_difference_is_asked_for_forwards_and_within_the_log(start: int, end: int, why: str) -> None:
    _, service, history = await made(n=0)
    for value in range(4):
        await write(service, value)
    with pytest.raises(ValidationFailed, match=why):
        await history.between(S1, start, end)


async def test_a_difference_over_too_many_entries_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, service, history = await made(n=0)
    for value in range(5):
        await write(service, value)
    monkeypatch.setattr(module, "BETWEEN_ENTRIES_MAX", 3)
    monkeypatch.setattr(module, "PAGE_ENTRIES", 2)
    with pytest.raises(ValidationFailed, match="in parts"):
        await history.between(S1, 1, 5)
    told = await history.between(S1, 2, 5)
    assert [entry.version for entry in told.entries] == [3, 4, 5]
    assert (told.start.state, told.end.state) == ({"n": 0}, {"n": 3})
    assert told.ops == [{"op": "replace", "path": "/n", "value": 3}]


@pytest.mark.parametrize("follows", [True, False], ids=["op by op", "by the two states"])
async def test_a_conflict_is_undone_however_much_came_since(follows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world, service, history = await made(n=0, list=["a"])
    version = await clash(world)
    for value in range(5):
        await write(service, value, "/list/0")
    monkeypatch.setattr(module, "PAGE_ENTRIES", 2)
    if not follows:
        monkeypatch.setattr(module, "SINCE_ENTRIES_MAX", 3)
    view = await history.undo(S1, device="", version=version, index=0)
    assert (view.state["n"], view.undone_by) == ("tv", view.version)
    assert [at for at, _ in await history.undoings(S1, after=version)] == [view.version]
    again = await history.undo(S1, device="", version=version, index=0)
    assert (again.undone_by, again.version) == (view.version, view.version)


async def test_what_only_moves_the_playhead_is_not_too_much_to_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session reports its playhead for hours; the item still has no id to be known by."""
    world, service, history = await made(list=["a"], playhead={"position": 0, "rate": 0, "at": 0})
    for device in ("tv", "phone"):
        ops = [{"op": "replace", "path": "/list/0", "value": device}]
        world.device(device, "s1").say(type="push", session="s1", seq=1, base=1, ops=ops)
    await write(service, "tv", "/list/0")
    await write(service, "phone", "/list/-")
    monkeypatch.setattr(module, "PAGE_ENTRIES", 2)
    monkeypatch.setattr(module, "SINCE_ENTRIES_MAX", 3)
    for position in range(1, 9):
        anchor = {"position": position, "rate": 0, "at": 0}
        moved = [{"op": "replace", "path": "/playhead", "value": anchor}]
        await service.edit(S1, device="", form="patch", value=moved, expected=None, intent="seek")
    view = await history.undo(S1, device="", version=3, index=0)
    assert view.state["list"] == ["tv", "tv", "phone"]


async def test_a_log_that_lets_go_while_it_is_read_is_not_followed_over_the_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, service, history = await made(TIGHT, n=0)
    version = await clash(world)
    real = history.entries

    async def entries(session: SessionId, *, after: int, count_max: int) -> Stretch:
        if after == version:
            world.store._history_entries_max = 10
            for value in range(60):
                await write(service, value, "/other")
        return await real(session, after=after, count_max=count_max)

    monkeypatch.setattr(history, "entries", entries)
    with pytest.raises(HistoryGone):
        await history.undo(S1, device="", version=version, index=0)


async def test_a_conflict_is_undone_for_its_time_and_no_longer() -> None:
    world, _, history = await made(Limits(conflict_undo_ms=5_000), n=0)
    version = await clash(world)
    world.loop.advance(5_001)
    with pytest.raises(ConflictExpired):
        await history.undo(S1, device="", version=version, index=0)


@pytest.mark.parametrize(("version", "index"), [(1, 0), (3, 1), (9, 0)])
async def test_a_conflict_that_is_not_there_is_not_found(version: int, index: int) -> None:
    world, _, history = await made(n=0)
    await clash(world)
    with pytest.raises(NotFound):
        await history.undo(S1, device="", version=version, index=index)


async def test_a_store_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _, history = await made(Limits(store_timeout_ms=20), n=0)
    monkeypatch.setattr(world.store, "entries", lambda *_: None)
    with pytest.raises(Unavailable):
        await history.reach(S1)
