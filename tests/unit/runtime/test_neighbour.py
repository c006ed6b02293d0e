"""What the mesh tells this node, and what this node tells the mesh."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.ports import Alone
from syncbridge.runtime.neighbour import EngineNeighbour
from syncbridge.wire.close import CloseCode
from tests.unit.runtime.world import Device, World

S1, ANN, PHONE = SessionId("s1"), AccountId("ann"), DeviceId("phone")


class Heard(Alone):
    """A mesh that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def follow(self, session: SessionId) -> None:
        self.said.append(("follow", session))

    def unfollow(self, session: SessionId) -> None:
        self.said.append(("unfollow", session))

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        self.said.append(("arrive", account, device))

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        self.said.append(("depart", account, device))

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        self.said.append(("tell", account, device, session))


@pytest.fixture
def world() -> World:
    world = World()
    world.create("s1", {"n": 0})
    world.engine.mesh = Heard()
    return world


def said(world: World) -> list[tuple[str, ...]]:
    mesh = world.engine.mesh
    assert isinstance(mesh, Heard)
    return mesh.said


def test_a_session_is_followed_from_when_it_was_read_until_it_leaves_memory(world: World) -> None:
    phone = world.device("phone", "s1")
    assert ("follow", "s1") in said(world)
    phone.driver.on_close(1000, "")
    world.loop.advance(world.engine.limits.session_idle_unload_ms + 1)
    assert said(world)[-1] == ("unfollow", "s1")


def test_a_session_that_does_not_exist_is_not_followed(world: World) -> None:
    world.device("phone").join("s9")
    assert ("follow", "s9") not in said(world)


def test_a_device_arrives_with_its_hello_and_departs_with_its_socket(world: World) -> None:
    phone = world.device("phone", "s1")
    phone.driver.on_close(1000, "")
    assert [one for one in said(world) if one[0] in ("arrive", "depart")] == [
        ("arrive", "ann", "phone"),
        ("depart", "ann", "phone"),
    ]


def test_a_device_that_arrives_elsewhere_replaces_its_connection_here(world: World) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    EngineNeighbour(world.engine).device_arrived(ANN, PHONE, ConnectionId("elsewhere"))
    assert phone.outlet.closed is not None
    assert phone.outlet.closed[0] == CloseCode.REPLACED
    assert tv.outlet.closed is None


def test_the_echo_of_its_own_arrival_replaces_nothing(world: World) -> None:
    phone = world.device("phone", "s1")
    EngineNeighbour(world.engine).device_arrived(ANN, PHONE, phone.driver.connection)
    assert phone.outlet.closed is None


def test_a_signal_from_elsewhere_reaches_the_members_but_the_device_itself(world: World) -> None:
    phone, tv, idle = world.device("phone", "s1"), world.device("tv", "s1"), world.device("watch")
    for device in (phone, tv, idle):
        device.outlet.take()
    EngineNeighbour(world.engine).signalled(S1, PHONE, b'{"type":"signal"}')
    assert [len(device.outlet.take()) for device in (phone, tv, idle)] == [0, 1, 0]


def test_a_message_for_a_device_is_given_where_it_does_not_follow_the_session(world: World) -> None:
    phone, idle = world.device("phone", "s1"), world.device("watch")
    for device in (phone, idle):
        device.outlet.take()
    neighbour = EngineNeighbour(world.engine)
    neighbour.told(ANN, PHONE, S1, b'{"type":"x"}')
    neighbour.told(ANN, DeviceId("watch"), S1, b'{"type":"x"}')
    neighbour.told(ANN, DeviceId("nobody"), S1, b'{"type":"x"}')
    assert [len(device.outlet.take()) for device in (phone, idle)] == [0, 1]


def test_a_message_for_a_device_that_is_not_here_goes_through_the_mesh(world: World) -> None:
    world.device("tv").driver.on_close(1000, "")
    phone = world.device("phone", "s1")
    phone.say(type="handoff.offer", session="s1", to="tv")
    world.loop.turn()
    assert ("tell", "ann", "tv", "s1") in said(world)


def test_a_session_deleted_elsewhere_is_gone_here(world: World) -> None:
    phone = world.device("phone", "s1")
    phone.outlet.take()
    EngineNeighbour(world.engine).deleted(S1, "deleted")
    assert [(one["type"], one["reason"]) for one in phone.outlet.take()] == [("left", "deleted")]


def test_a_device_elsewhere_that_nobody_here_knows_has_its_account_s_roster_read(world: World) -> None:
    world.device("phone", "s1").outlet.take()
    EngineNeighbour(world.engine).elsewhere(S1, {PHONE: 1})
    assert world.gate.asked_rosters == []
    EngineNeighbour(world.engine).elsewhere(S1, {PHONE: 1, DeviceId("car"): 1})
    assert world.gate.asked_rosters == [ANN]


def test_news_of_a_session_that_does_not_live_here_cost_nothing(world: World) -> None:
    neighbour, loads = EngineNeighbour(world.engine), world.store.loads
    neighbour.head_seen(S1, "e", 9)
    neighbour.elsewhere(S1, {PHONE: 1})
    neighbour.signalled(S1, PHONE, b"{}")
    neighbour.deleted(S1, "deleted")
    assert (world.engine.live_sessions, world.store.loads) == (0, loads)


def offer_to_the_tv(world: World) -> None:
    """The TV is known, away, and an offer of this world's session waits for it."""
    world.device("tv").hang_up()
    world.device("phone", "s1").say(type="handoff.offer", session="s1", to="tv", expires_ms=60_000)


def prepared(device: Device) -> list[str]:
    return [message["session"] for message in device.outlet.take() if message["type"] == "handoff.prepare"]


def test_an_offer_that_was_told_before_its_account_was_heard_is_told_then_and_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_to_the_tv(world)
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "waiting_offers", lambda account, device, done: done([]))
        tv = world.device("tv")
    assert prepared(tv) == []
    neighbour = EngineNeighbour(world.engine)
    for told in (["s1"], []):
        neighbour.account_heard(ANN)
        world.loop.turn()
        assert prepared(tv) == told


def test_an_offer_that_was_heard_of_from_elsewhere_is_not_told_again(world: World) -> None:
    offer_to_the_tv(world)
    tv = world.connect()
    hello = tv.say(type="hello", token="ann", device={"id": "tv", "name": "tv"})
    prepare = next(message for message in hello if message["type"] == "handoff.prepare")
    neighbour, frame = EngineNeighbour(world.engine), msgspec.json.encode(prepare)
    neighbour.told(ANN, DeviceId("tv"), S1, frame)
    assert prepared(tv) == []
    neighbour.told(ANN, DeviceId("tv"), S1, frame.replace(prepare["handoff"].encode(), b"another"))
    assert prepared(tv) == ["s1"]


def test_a_connection_that_was_told_of_many_offers_remembers_the_newest_of_them(world: World) -> None:
    driver = world.device("tv").driver
    sessions = [SessionId(f"s{number}") for number in range(100)]
    assert all(driver.is_first_told(session, "h1") for session in sessions)
    assert not driver.is_first_told(sessions[-1], "h1")
    assert not driver.is_first_told(sessions[-64], "h1")
    assert driver.is_first_told(sessions[-65], "h1")
