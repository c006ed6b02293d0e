"""Items of a list by index: whatever the schedule, an edit reaches the item that its device meant, or a row says so.

Devices are replicas and the service is its own machine; each item has a name inside, so that a neighbour is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge._ext import Rebased, apply_patch, diff, equal, rebase
from syncbridge.client import chain
from syncbridge.client.pending import Acked, Outcome
from syncbridge.client.replica import Replica
from syncbridge.core import context
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.digest import push_digest
from syncbridge.core.ids import ConnectionId, DeviceId, JsonObject, Op
from tests.unit.core.stage import ACCOUNT, ROSTER, Stage

DEVICES = ("phone", "tv", "laptop")
FIRST: JsonObject = {"items": [{"id": name, "n": 0} for name in "abc"], "title": "", "totals": {"breaths": 0}}

EDITS = ("insert", "insert", "insert", "remove", "remove", "change", "change", "replace", "title", "count")
OTHERS = ("send", "send", "send", "hear", "hear", "hear", "all", "cut", "server")

steps = st.lists(
    st.tuples(st.sampled_from(DEVICES), st.sampled_from((*EDITS, *OTHERS)), st.integers(0, 6)),
    min_size=15,
    max_size=60,
)


@dataclass
class Device:
    """A replica, what waits to be read by it, and what its person meant by each edit: the item and the value."""

    replica: Replica
    is_online: bool = False
    meant: dict[int, tuple[str, str, Any]] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class World:
    def __init__(self) -> None:
        self.stage = Stage("custom", state=FIRST)
        self.devices = {name: Device(Replica("s1", name)) for name in DEVICES}
        self.made = 0
        for name in DEVICES:
            self.joins(name)
        self.settle()

    def joins(self, name: str) -> None:
        device = self.devices[name]
        device.is_online = True
        self.stage.inbox[name] = []
        self.says(name, device.replica.join())

    def says(self, name: str, message: m.ClientMessage) -> None:
        here, device = ConnectionId(name), DeviceId(name)
        if isinstance(message, m.Join):
            self.stage.happens(on.MemberJoined(here, ACCOUNT, device, ROSTER, message))
        else:
            assert isinstance(message, m.Push)
            self.stage.happens(on.PushReceived(here, device, message, push_digest(message)))

    def cut(self, name: str) -> None:
        device = self.devices[name]
        if device.is_online:
            device.is_online = False
            self.stage.leaves(name)
            self.stage.inbox[name] = []
            device.replica.disconnected()

    def edit(self, name: str, what: str, place: int) -> None:
        device = self.devices[name]
        state = device.replica.state
        items = state["items"]
        self.made += 1
        token = f"{name}{self.made}"
        index = place % (len(items) + (what == "insert")) if items or what == "insert" else -1
        item = items[index]["id"] if 0 <= index < len(items) else ""
        match what:
            case "insert":
                op = {"op": "add", "path": f"/items/{index}", "value": {"id": token, "n": 0}}
            case "title":
                op = {"op": "replace", "path": "/title", "value": token}
            case "count":
                op = {"op": "replace", "path": "/totals/breaths", "value": state["totals"]["breaths"] + 1}
            case _ if index < 0:
                return
            case "remove":
                op = {"op": "remove", "path": f"/items/{index}"}
            case "change":
                op = {"op": "replace", "path": f"/items/{index}/n", "value": token}
            case _:
                op = {"op": "replace", "path": f"/items/{index}", "value": {"id": token, "n": 0}}
        one = device.replica.edit([op], "edit", self.stage.now_ms)
        assert one is not None
        device.meant[one.key] = (what, item, token)

    def send(self, name: str) -> None:
        device = self.devices[name]
        for push in device.replica.outgoing(self.stage.now_ms) if device.is_online else ():
            self.says(name, push)

    def hear(self, name: str, count: int = 1) -> None:
        """The device reads so many messages."""
        device = self.devices[name]
        for _ in range(count):
            unread = self.stage.inbox.get(name)
            if not device.is_online or not unread:
                return
            message = unread.pop(0)
            if isinstance(message, m.EntriesMessage | m.EntryMessage | m.Ack | m.Reject | m.Joined | m.PresenceMessage):
                for answer in device.replica.receive(message, self.stage.now_ms):
                    self.says(name, answer)
            device.outcomes.update({outcome.key: outcome for outcome in device.replica.take_outcomes()})

    def does(self, name: str, what: str, place: int) -> None:
        match what:
            case "send":
                self.send(name)
            case "hear":
                self.hear(name)
            case "all":
                self.hear(name, 100)
            case "cut":
                (self.cut if self.devices[name].is_online else self.joins)(name)
            case "server":
                if place == 0:
                    for each in DEVICES:
                        self.cut(each)
                    self.stage.crash()
            case _:
                self.edit(name, what, place)

    def settle(self) -> None:
        """Everybody is online and talks until nobody has anything to say."""
        for name in DEVICES:
            if not self.devices[name].is_online:
                self.joins(name)
        for _ in range(100):
            self.stage.now_ms += 1_000
            for name in DEVICES:
                self.send(name)
                self.hear(name, 100)
            if not any(device.replica.pending or self.stage.inbox[name] for name, device in self.devices.items()):
                return
        raise AssertionError("never quiet")

    def judge(self) -> None:
        states: list[Any] = [{}, FIRST]
        for entry in self.stage.stored:
            states.append(apply_patch(states[-1], entry.ops))
        for device in self.devices.values():
            assert equal(device.replica.state, states[-1])
            for key, (what, item, token) in device.meant.items():
                result = device.outcomes[key].result
                if isinstance(result, Acked):
                    before, after = states[result.version - 1], states[result.version]
                    judge_edit(what, item, token, before, after, result.conflicts)
        assert states[-1]["totals"]["breaths"] == sum(
            what == "count" and isinstance(device.outcomes[key].result, Acked)
            for device in self.devices.values()
            for key, (what, _, _) in device.meant.items()
        )


def judge_edit(what: str, item: str, token: str, before: Any, after: Any, rows: list[Any]) -> None:
    was = {one["id"]: one for one in before["items"]}
    became = {one["id"]: one for one in after["items"]}
    listed = str([row.get("theirs") for row in rows])
    lost = str([row.get("ours") for row in rows])
    meant_to_go = {item} if what in ("remove", "replace") else set()
    gone = {name for name in was.keys() - became.keys() - meant_to_go if f"'{name}'" not in listed}
    assert not gone, f"{what} of {item} took {gone}"
    at = {one["id"]: f"/items/{index}" for index, one in enumerate(after["items"])}
    told = {row["path"].rpartition("/")[0] if row["path"].endswith("/n") else row["path"] for row in rows}
    changed = {
        name
        for name in was.keys() & became.keys()
        if not equal(was[name], became[name]) and not (what == "change" and at[name] in told)
    }
    assert changed <= ({item} if what == "change" else set()), f"{what} of {item} changed {changed}"
    if what in ("insert", "replace"):
        assert token in became or token in lost
    elif what == "change":
        assert became.get(item, {}).get("n") == token or token in lost
    elif what == "remove":
        assert item not in became or rows


def is_kept(schedule: list[tuple[str, str, int]]) -> bool:
    world = World()
    for name, what, place in schedule:
        world.does(name, what, place)
    world.settle()
    try:
        world.judge()
    except AssertionError:
        return False
    return True


@settings(max_examples=80, deadline=None)
@given(steps)
def test_an_edit_by_index_reaches_the_item_that_its_device_meant(schedule: list[tuple[str, str, int]]) -> None:
    assert is_kept(schedule)


def by_difference(
    queue: list[list[Op]], committed: list[Any], policies: Any, *, base: Any, at: Any = None, is_owner: bool = True
) -> list[Rebased]:
    """What `rebase_each` is there for, in the plain way that goes astray: each patch over the difference below it."""
    before, now, each = base, base, list[Rebased]()
    for change in committed:
        now = apply_patch(now, change["ops"] if isinstance(change, dict) else change)
    for ops in queue:
        each.append(rebase(ops, [diff(before, now)], policies, base=before, at=at, is_owner=is_owner))
        before = apply_patch(before, [op for op in ops if op["op"] != "test"])
        now = apply_patch(now, [op for op in each[-1].ops if op["op"] != "test"])
    return each


AT_THE_DEVICE = [
    *[("phone", "insert", 0)] * 6,
    ("phone", "remove", 6),
    ("phone", "cut", 0),
    *[("tv", "insert", 0)] * 3,
    ("tv", "remove", 3),
    ("tv", "send", 0),
    ("phone", "insert", 0),
    ("phone", "remove", 1),
]
AT_THE_SERVICE = [
    *[("phone", "insert", 0)] * 7,
    ("phone", "remove", 0),
    ("phone", "change", 6),
    ("phone", "cut", 0),
    *[("tv", "insert", 0)] * 2,
    ("phone", "remove", 0),
    ("tv", "insert", 0),
    ("tv", "remove", 3),
    ("tv", "send", 0),
]


@pytest.mark.parametrize(
    ("place", "schedule"), [(chain, AT_THE_DEVICE), (context, AT_THE_SERVICE)], ids=["device", "service"]
)
def test_a_queue_carried_over_the_difference_of_states_meets_neighbours(
    monkeypatch: pytest.MonkeyPatch, place: ModuleType, schedule: list[tuple[str, str, int]]
) -> None:
    assert is_kept(schedule)
    monkeypatch.setattr(place, "rebase_each", by_difference)
    assert not is_kept(schedule)
