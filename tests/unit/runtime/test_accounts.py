"""What befalls an account as a whole reaches its connections and their sessions, and nobody else."""

from __future__ import annotations

import pytest

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from tests.unit.runtime.world import World

S1 = SessionId("s1")
ANN = AccountId("ann")


@pytest.fixture
def world() -> World:
    world = World()
    world.create("s1", {"n": 0})
    return world


def test_a_removed_device_is_cut_off_and_the_session_knows_the_roster(world: World) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    world.accounts.roster_changed(ANN, (DeviceInfo("phone", "Ann's phone"),))
    assert tv.outlet.closed is not None
    assert tv.outlet.closed[0] == 4403
    assert phone.outlet.closed is None
    live = world.engine.session(S1)
    assert live is not None
    assert set(live.machine.members.roster) == {"phone"}


def test_disconnect_closes_one_device_or_all_of_the_account_and_no_other(world: World) -> None:
    phone, tv, car = (world.device(name, "s1") for name in ("phone", "tv", "car"))
    stranger = world.device("phone", account="bob")
    assert world.accounts.disconnect(ANN, DeviceId("tv"), "forbidden") == 1
    assert [d.outlet.closed is not None for d in (phone, tv, car)] == [False, True, False]
    tv.hang_up()
    assert world.accounts.disconnect(ANN, None, "token_invalid") == 2
    assert phone.outlet.closed is not None
    assert stranger.outlet.closed is None


def test_connections_whose_token_is_revoked_are_closed_with_the_reason_and_no_others(world: World) -> None:
    phone, stranger, early = world.device("phone", "s1"), world.device("phone", account="bob"), world.connect()
    tv = world.device("tv", "s1")
    tv.say(type="auth", token="ann")
    world.gate.revoked.add("t1")
    assert world.accounts.recheck(ANN) == 1
    assert phone.outlet.closed is not None
    assert (phone.outlet.closed[0], phone.outlet.take()[-1]["code"]) == (4403, "token_revoked")
    # The token that `auth` gave is another one; nobody has said hello on the third.
    assert [one.outlet.closed for one in (tv, stranger, early)] == [None, None, None]
    assert world.accounts.recheck(None) == 2
    assert stranger.outlet.closed is not None
    world.gate.revoked.add("t2")
    world.accounts.recheck(ANN)
    assert tv.outlet.closed is not None
