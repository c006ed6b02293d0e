"""Laws of the replica: whatever the order of edits, deliveries, cuts and crashes, nothing is lost or doubled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge._ext import apply_patch, diff, equal
from syncbridge.client.pending import Acked, Dump, Outcome, Phase
from syncbridge.client.replica import Replica
from syncbridge.core.digest import state_hash
from syncbridge.core.messages import Join, Push
from tests.unit.client.reference_server import POLICIES, ReferenceServer

DEVICES = ("a", "b", "c")
FIRST: dict[str, Any] = {"notes": "", "list": [], "totals": {"breaths": 0}, "made": {}, "tags": []}
INFLIGHT = 3


@dataclass
class Client:
    """A device with a store: a replica, what is on its way to the server, and the last dump that was written."""

    replica: Replica
    outbox: list[Join | Push]
    written: Dump | None = None
    is_online: bool = False


class World:
    def __init__(self) -> None:
        self.server = ReferenceServer(FIRST)
        self.now_ms = 1_000
        self.made: list[str] = []
        self.breaths = 0
        self.outcomes: dict[str, dict[int, Outcome]] = {name: {} for name in DEVICES}
        self.keys: dict[tuple[str, int], str] = {}
        self.clients = {name: Client(_replica(name), []) for name in DEVICES}
        for name in DEVICES:
            self.connect(name)
        self.settle()

    def connect(self, name: str) -> None:
        client = self.clients[name]
        if not client.is_online:
            client.is_online = True
            self.server.connect(name)
            client.outbox = [client.replica.join()]

    def cut(self, name: str) -> None:
        client = self.clients[name]
        client.is_online = False
        client.outbox = []
        self.server.disconnect(name)
        client.replica.disconnected()

    def kill(self, name: str) -> None:
        self.cut(name)
        client = self.clients[name]
        client.replica = _replica(name)
        if client.written is not None:
            client.replica.load(client.written)
        self.check(name)

    def edit(self, name: str, kind: int, place: int) -> None:
        """An edit of one of several kinds, with a mark of its own that nobody else ever touches."""
        client = self.clients[name]
        state = client.replica.state
        mark = f"{name}{len(self.made)}"
        ops: list[dict[str, Any]] = [{"op": "add", "path": f"/made/{mark}", "value": True}]
        items = state["list"]
        if kind == 1:
            ops.append({"op": "replace", "path": "/notes", "value": mark})
        elif kind == 2:
            ops.append({"op": "add", "path": f"/list/{place % (len(items) + 1)}", "value": mark})
        elif kind == 3 and items:
            ops.append({"op": "remove", "path": f"/list/{place % len(items)}"})
        elif kind == 4:
            # Every increment differs from every other, so that a wrong sum cannot come out right by accident.
            increment = 10_000 + 7 * len(self.made) ** 2
            ops.append({"op": "replace", "path": "/totals/breaths", "value": state["totals"]["breaths"] + increment})
            self.breaths += increment
        elif kind == 5:
            ops.append({"op": "add", "path": "/tags/-", "value": mark})
        one = client.replica.edit(ops, "edit", self.now_ms)
        assert one is not None
        self.made.append(mark)
        self.keys[name, one.key] = mark
        client.written = client.replica.dump()
        self.check(name)

    def to_server(self, name: str) -> None:
        client = self.clients[name]
        client.written = client.replica.dump()
        through = None if client.written is None else client.written.revision
        client.outbox += client.replica.outgoing(self.now_ms, through=through)
        if client.outbox:
            message = client.outbox.pop(0)
            if isinstance(message, Join):
                self.server.join(name, message)
            else:
                self.server.push(name, message)

    def to_device(self, name: str) -> bool:
        member, client = self.server.members.get(name), self.clients[name]
        if member is None or not member.unread:
            return False
        message = member.unread.pop(0)
        client.outbox += client.replica.receive(message, self.now_ms)  # type: ignore[arg-type]
        for outcome in client.replica.take_outcomes():
            # After a crash an edit may hear its answer again, and it must be the same one.
            before = self.outcomes[name].setdefault(outcome.key, outcome)
            assert type(before.result) is type(outcome.result)
        self.check(name)
        return True

    def check(self, name: str) -> None:
        """The optimistic state is the confirmed one with the pending edits on top."""
        replica = self.clients[name].replica
        shown = replica.confirmed
        for one in replica.pending:
            if not one.is_assumed:
                shown = apply_patch(shown, one.display)
        assert equal(shown, replica.state)
        assert sum(one.phase is Phase.SENT for one in replica.pending) <= INFLIGHT

    def settle(self) -> None:
        """The network heals; everybody talks until nobody has anything to say."""
        self.server.is_unavailable = False
        for name in DEVICES:
            self.connect(name)
        for _ in range(2_000):
            self.now_ms += 1_000
            is_busy = False
            for name in DEVICES:
                self.to_server(name)
                is_busy = self.to_device(name) or is_busy or bool(self.clients[name].outbox)
            if not is_busy and not any(client.replica.pending for client in self.clients.values()):
                return
        raise AssertionError(f"never quiet: {[client.replica.pending for client in self.clients.values()]}")


def _replica(name: str) -> Replica:
    replica = Replica("s", name)
    replica.inflight_max = INFLIGHT
    return replica


Script = list[tuple[str, str, int, int]]

USUAL = ["edit"] * 6 + ["to_server"] * 8 + ["to_device"] * 8 + ["cut", "connect", "connect", "kill", "down", "up", "up"]


def scripts(actions: list[str]) -> st.SearchStrategy[Script]:
    """Long enough that edits, losses and crashes meet."""
    one = st.tuples(st.sampled_from(actions), st.sampled_from(DEVICES), st.integers(0, 5), st.integers(0, 7))
    return st.lists(one, min_size=30, max_size=120)


def _run(world: World, script: Script) -> None:
    for action, name, kind, place in script:
        world.now_ms += 100
        if action == "edit":
            world.edit(name, kind, place)
        elif action == "to_server":
            if world.clients[name].is_online:
                world.to_server(name)
        elif action == "to_device":
            world.to_device(name)
        elif action == "cut":
            world.cut(name)
        elif action == "connect":
            world.connect(name)
        elif action == "kill":
            world.kill(name)
        elif action == "forget":
            world.server.forget_before(world.server.version - kind)
        elif action == "lose":
            for device in DEVICES:
                world.cut(device)
            world.server.lose_log()
        else:
            world.server.is_unavailable = action == "down"
    world.settle()


def _assert_converged(world: World) -> None:
    digest = state_hash(world.server.state)
    for name, client in world.clients.items():
        position = client.replica.position
        assert position is not None
        assert (position.epoch, position.version) == (world.server.epoch, world.server.version)
        assert state_hash(client.replica.confirmed) == digest
        assert equal(client.replica.state, client.replica.confirmed)
        assert set(world.outcomes[name]) == {key for device, key in world.keys if device == name}


@given(scripts(USUAL))
@settings(max_examples=150)
def test_every_edit_takes_effect_exactly_once_and_all_replicas_converge(
    script: Script,
) -> None:
    world = World()
    _run(world, script)
    _assert_converged(world)
    assert sorted(world.server.state["made"]) == sorted(world.made)
    assert world.server.state["totals"]["breaths"] == world.breaths
    marks = [op["path"] for entry in world.server.entries for op in entry.ops if op["path"].startswith("/made/")]
    assert len(marks) == len(set(marks)) == len(world.made)
    for outcomes in world.outcomes.values():
        assert all(isinstance(outcome.result, Acked) for outcome in outcomes.values())


@given(scripts([*USUAL, "forget"]))
@settings(max_examples=150)
def test_a_log_that_forgets_its_past_loses_and_doubles_no_edit(script: Script) -> None:
    world = World()
    _run(world, script)
    _assert_converged(world)
    assert sorted(world.server.state["made"]) == sorted(world.made)
    marks = [op["path"] for entry in world.server.entries for op in entry.ops if op["path"].startswith("/made/")]
    assert len(marks) == len(set(marks))


@given(scripts(USUAL), scripts(USUAL))
@settings(max_examples=60)
def test_another_log_with_the_same_state_takes_up_what_was_pending(before: Script, after: Script) -> None:
    world = World()
    _run(world, [*before, ("cut", "a", 0, 0), ("edit", "a", 1, 0)])
    _run(world, [("lose", "a", 0, 0), ("edit", "b", 4, 0), *after])
    _assert_converged(world)
    assert sorted(world.server.state["made"]) == sorted(world.made)


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=30)
def test_a_foreign_write_that_an_offline_edit_overrules_is_listed(ours: int, theirs: int) -> None:
    world = World()
    world.cut("a")
    for index in range(ours):
        world.edit("a", 1, index)
    for index in range(theirs):
        world.edit("b", 1, index)
    for _ in range(3 * theirs):
        world.to_server("b")
        world.to_device("b")
    world.settle()
    _assert_converged(world)
    rows = [record.row for record in world.clients["a"].replica.conflicts]
    assert bool(rows) is bool(ours and theirs)
    if rows:
        assert rows[0]["path"] == "/notes"
        assert rows[0]["theirs"] == f"b{ours + theirs - 1}"


def test_the_reference_server_merges_as_the_session_type_says() -> None:
    """The world above would prove nothing if its server let counters overwrite each other."""
    world = World()
    for name in DEVICES:
        world.edit(name, 4, 0)
    world.settle()
    assert world.server.state["totals"] == {"breaths": 10_000 + 10_007 + 10_028}
    assert POLICIES is not None
    assert diff(world.server.state, world.clients["a"].replica.state) == []
