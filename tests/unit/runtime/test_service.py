"""REST's questions to live sessions, over the engine and the memory store."""

from __future__ import annotations

import pytest

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import (
    DepthExceeded,
    NotFound,
    PreconditionFailed,
    Restarting,
    StateTooLarge,
    Unavailable,
    ValidationFailed,
)
from syncbridge.limits import Limits
from syncbridge.runtime.service import LiveSessionService
from tests.unit.runtime.world import World

ANN = AccountId("ann")
S1 = SessionId("s1")
ROSTER = (DeviceInfo("phone"), DeviceInfo("tv"))


class EagerWorld(World):
    """A world whose loop turns by itself, because the service awaits."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.engine._commits._call_soon = lambda run: run()


@pytest.fixture
def world() -> EagerWorld:
    return EagerWorld()


@pytest.fixture
def service(world: EagerWorld) -> LiveSessionService:
    return LiveSessionService(world.engine)


async def test_a_session_is_created_read_edited_and_told(world: EagerWorld, service: LiveSessionService) -> None:
    made = await service.create(account=ANN, session=S1, kind="custom", title="t", state={"n": 0}, device="phone")
    assert (made.version, made.fence, made.active, made.state) == (1, 1, "phone", {"n": 0})
    assert await service.read(S1) == made
    tv = world.device("tv", "s1")
    edited = await service.edit(S1, device="", form="merge", value={"n": 2}, expected=1)
    assert (edited.version, edited.state, edited.epoch) == (2, {"n": 2}, made.epoch)
    assert [m["version"] for m in tv.outlet.take() if m["type"] == "entry"] == [2]


async def test_the_first_owner_is_told_that_it_owns_the_session_from_version_1_on(
    world: EagerWorld, service: LiveSessionService
) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="phone")
    phone = world.device("phone", "s1")
    (done,) = phone.say(type="handoff.take", session="s1")
    assert (done["type"], done["fence"], done["version"]) == ("handoff.done", 1, 1)


async def test_a_session_without_a_device_has_no_owner(service: LiveSessionService) -> None:
    made = await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")
    assert (made.fence, made.active) == (0, None)


async def test_an_id_is_given_once(service: LiveSessionService) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")
    with pytest.raises(PreconditionFailed):
        await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")


async def test_a_first_state_is_held_to_the_limits() -> None:
    service = LiveSessionService(EagerWorld(Limits(state_bytes_max=65_536, state_depth_max=4)).engine)
    with pytest.raises(StateTooLarge):
        await service.create(account=ANN, session=S1, kind="custom", title="", state={"x": "y" * 70_000}, device="")
    with pytest.raises(DepthExceeded):
        await service.create(account=ANN, session=S1, kind="custom", title="", state={"x": [[[[]]]]}, device="")


async def test_a_wrong_expectation_is_refused(service: LiveSessionService) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")
    with pytest.raises(PreconditionFailed):
        await service.edit(S1, device="", form="put", value={}, expected=7)


async def test_what_is_not_there_is_not_found(service: LiveSessionService) -> None:
    with pytest.raises(NotFound):
        await service.read(S1)
    with pytest.raises(NotFound):
        await service.history.state_at(S1, 1)


async def test_a_handoff_over_rest_moves_the_session(world: EagerWorld, service: LiveSessionService) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="phone")
    phone = world.device("phone", "s1")
    moved = await service.hand_off(S1, account=ANN, device="tv", target=DeviceId("tv"), mode="take", roster=ROSTER)
    assert (moved.active, moved.fence) == ("tv", 2)
    assert any(m["type"] == "entry" and m["active"] == "tv" for m in phone.outlet.take())


async def test_a_deleted_session_is_gone_for_everybody(world: EagerWorld, service: LiveSessionService) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")
    phone = world.device("phone", "s1")
    await service.delete(S1)
    assert [(m["type"], m["reason"]) for m in phone.outlet.take()] == [("left", "deleted")]
    with pytest.raises(NotFound):
        await service.read(S1)


async def test_status_and_restore_are_entries(service: LiveSessionService) -> None:
    await service.create(account=ANN, session=S1, kind="custom", title="", state={"n": 0}, device="phone")
    paused = await service.set_status(S1, device="phone", status="paused")
    assert (paused.status, paused.version) == ("paused", 2)
    restored = await service.restore(S1, device="phone", state={"n": 9})
    assert (restored.state, restored.version) == ({"n": 9}, 3)


async def test_a_store_that_hangs_is_answered_unavailable() -> None:
    world = EagerWorld(Limits(store_timeout_ms=30))
    service = LiveSessionService(world.engine)
    await service.create(account=ANN, session=S1, kind="custom", title="", state={}, device="")
    world.store.is_holding = True
    with pytest.raises(Unavailable):
        await service.edit(S1, device="", form="put", value={"n": 1}, expected=None)
    world.store.release()
    assert (await service.read(S1)).state == {"n": 1}


async def test_while_draining_questions_are_sent_elsewhere(world: EagerWorld, service: LiveSessionService) -> None:
    world.engine.is_draining = True
    with pytest.raises(Restarting):
        await service.read(S1)


async def test_who_is_online_is_known(world: EagerWorld, service: LiveSessionService) -> None:
    phone = world.device("phone")
    assert service.is_online(ANN, DeviceId("phone"))
    assert not service.is_online(ANN, DeviceId("tv"))
    assert service.disconnect(ANN, None, "forbidden") == 1
    phone.hang_up()
    assert not service.is_online(ANN, DeviceId("phone"))


async def test_a_first_playhead_is_a_playhead_and_not_of_the_future(
    world: EagerWorld, service: LiveSessionService
) -> None:
    now_ms = world.loop.now_ms()
    ahead = {"playhead": {"position": 5, "rate": 1, "at": now_ms + 3_600_000}}
    made = await service.create(account=ANN, session=S1, kind="custom", title="", state=ahead, device="phone")
    assert made.state["playhead"]["at"] == now_ms
    for wrong in ("late", {"position": -1}, {"position": 1, "rate": 99, "at": 0}):
        with pytest.raises(ValidationFailed):
            await service.create(
                account=ANN, session=SessionId("s9"), kind="custom", title="", state={"playhead": wrong}, device=""
            )
