"""Bugs planted on purpose: a checker that catches none of them proves nothing.

Each is a small wrong in the real code, put in by replacing one function for the time of a run, and names the checkers
that have to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from syncbridge._ext import Rebased, apply_patch, diff, rebase
from syncbridge.client.kept import Kept
from syncbridge.client.replica import Replica
from syncbridge.core import admission, conflicts, context, handoffs, outcomes, recovery, session, work, work_conflicts
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.batch import Batch
from syncbridge.core.connection import ConnectionMachine
from syncbridge.core.entry import Entry
from syncbridge.core.ledger import Ledger
from syncbridge.core.log import SessionLog
from syncbridge.core.members import Members
from syncbridge.core.messages import Reject
from syncbridge.core.session import SessionMachine
from syncbridge.ports import Held, StoreFault
from tests.sim.mesh import SimMesh
from tests.sim.simulation import Result, Simulation
from tests.sim.store import SimStore
from tests.sim.truth import Truth

SEEDS_MAX = 100


@dataclass(frozen=True, slots=True)
class Bug:
    """``target.attribute`` (of a module, a class or a table) is replaced by what ``plant`` makes of the real one.

    Rare ones say near which seed to begin, to save time.
    """

    name: str
    checkers: tuple[str, ...]
    target: Any
    attribute: Any
    plant: Callable[[Any], Any]
    first_seed: int = 0


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug is in the code."""
    place = bug.target if isinstance(bug.target, dict) else vars(bug.target)
    real = place[bug.attribute]
    put = bug.target.__setitem__ if isinstance(bug.target, dict) else partial(setattr, bug.target)
    put(bug.attribute, bug.plant(real))
    try:
        yield
    finally:
        put(bug.attribute, real)


def hunt(bug: Bug) -> Result | None:
    """The first seed at which one of the bug's own checkers sees it; None within `SEEDS_MAX`."""
    with planted(bug):
        for seed in range(bug.first_seed, bug.first_seed + SEEDS_MAX):
            result = Simulation(seed).run()
            if result.checker in bug.checkers:
                return result
    return None


# -- the service ------------------------------------------------------------------------------------------------


def _dedupe_off(real: Any) -> Any:
    """Every number is the next one: a repeat is judged anew."""

    def push(batch: Batch, event: Any) -> None:
        expected = Ledger.expected
        Ledger.expected = lambda self, device, last_seq: event.message.seq  # type: ignore[method-assign]
        try:
            real(batch, event)
        finally:
            Ledger.expected = expected  # type: ignore[method-assign]

    return push


def _ack_before_commit(real: Any) -> Any:
    def commit(self: SessionMachine, batch: Batch, now_ms: int) -> list[Any]:
        acks = [effect for effect in batch.effects if isinstance(effect, do.Send)]
        batch.effects[:] = [effect for effect in batch.effects if not isinstance(effect, do.Send)]
        return [*acks, *real(self, batch, now_ms)]

    return commit


def _fence_unchecked(real: Any) -> Any:
    def check(log: SessionLog, change: Any, limits: Any) -> None:
        real(log, msgspec.structs.replace(change, fence=None), limits)

    return check


def _no_check(real: Any) -> Any:
    return lambda *_args, **_kwargs: None


def _base_taken_as_current(real: Any) -> Any:
    return lambda log, change, ops, *_: (ops, [])


def _index_shift_wrong(real: Any) -> Any:
    """List indexes come out one too far whenever a push was brought over."""

    def brought_over(log: SessionLog, *args: Any) -> Any:
        ops, conflicts = real(log, *args)
        last = len(log.state["list"]) - 1
        return [_one_further(op, last) for op in ops], conflicts

    return brought_over


def _one_further(op: dict[str, Any], last: int) -> dict[str, Any]:
    head, _, index = op["path"].rpartition("/")
    return {**op, "path": f"{head}/{int(index) + 1}"} if head == "/list" and int(index) < last else op


def _carried_by_difference(real: Any) -> Any:
    """What lies below a queue is carried along it as the difference of two states, not entry by entry."""

    def rebase_each(queue: Any, committed: Any, policies: Any, *, base: Any, **kwargs: Any) -> Any:
        before, now, each = base, base, list[Rebased]()
        for change in committed:
            now = apply_patch(now, change["ops"] if isinstance(change, dict) else change)
        for ops in queue:
            each.append(rebase(ops, [diff(before, now)], policies, base=before, **kwargs))
            before = apply_patch(before, [op for op in ops if op["op"] != "test"])
            now = apply_patch(now, [op for op in each[-1].ops if op["op"] != "test"])
        return each

    return rebase_each


def _progress_goes_back(real: Any) -> Any:
    return lambda log, change, wanted, current, limits: wanted


def _refused_but_applied(real: Any) -> Any:
    """Every fifth push is answered with a refusal, though it is in the log."""

    def ack(event: Any, entry: Entry) -> Any:
        if event.message.seq % 5:
            return real(event, entry)
        return Reject(event.message.session, event.message.seq, "bad_patch", "never", "planted", entry.version)

    return ack


def _join_one_short(real: Any) -> Any:
    def joined(self: Batch, *args: Any) -> Any:
        message = real(self, *args)
        return msgspec.structs.replace(message, entries=message.entries[:-1]) if message.entries else message

    return joined


def _snapshot_claims_resumed(real: Any) -> Any:
    def joined(self: Batch, *args: Any) -> Any:
        message = real(self, *args)
        return msgspec.structs.replace(message, mode="resumed", reason="", entries=[])

    return joined


def _members_not_rewound(real: Any) -> Any:
    def undo(self: Batch) -> None:
        self.machine.ledger.undo()

    return undo


def _offer_survives(real: Any) -> Any:
    def append(self: SessionLog, entry: Entry, *args: Any, **kwargs: Any) -> None:
        offer = self.offer
        real(self, entry, *args, **kwargs)
        if entry.kind == "handoff":
            self.offer = offer

    return append


def _failed_handoff_moves(real: Any) -> Any:
    def withdraw(log: SessionLog, note: Any, **kwargs: Any) -> Entry:
        entry: Entry = real(log, note, **kwargs)
        return msgspec.structs.replace(entry, fence=log.fence + 1, active=note.target)

    return withdraw


def _fence_stands_still(real: Any) -> Any:
    def transfer(log: SessionLog, *args: Any, **kwargs: Any) -> Entry:
        entry: Entry = real(log, *args, **kwargs)
        return msgspec.structs.replace(entry, fence=max(1, log.fence))

    return transfer


def _playhead_restarts(real: Any) -> Any:
    """The playhead of a live source is anchored anew without having moved on."""

    def transfer(log: SessionLog, *args: Any, now_ms: int, **kwargs: Any) -> Entry:
        entry: Entry = real(log, *args, now_ms=now_ms, **kwargs)
        playhead = log.state.get("playhead")
        if not entry.ops or not playhead:
            return entry
        return msgspec.structs.replace(
            entry, ops=[{"op": "replace", "path": "/playhead", "value": {**playhead, "at": now_ms}}]
        )

    return transfer


def _counter_twice(real: Any) -> Any:
    def brought_over(*args: Any) -> Any:
        ops, conflicts = real(*args)
        twice = [
            {**op, "value": op["value"] + 1} if any(row.get("policy") == "counter" for row in conflicts) else op
            for op in ops
            if isinstance(op.get("value"), int) or not conflicts
        ]
        return (twice or ops), conflicts

    return brought_over


def _told_twice(real: Any) -> Any:
    def append(self: Batch, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        last = self.effects[-1] if self.effects else None
        if isinstance(last, do.Deliver):
            self._run = None
            self.effects.append(last)

    return append


def _conflicts_unlisted(real: Any) -> Any:
    return lambda *args: (real(*args)[0], [])


def _ghost_members(real: Any) -> Any:
    return lambda self, connection: self.by_connection[connection].device if connection in self.by_connection else None


def _log_never_trimmed(real: Any) -> Any:
    return lambda self: None


def _ghost_after_refusal(real: Any) -> Any:
    def refuse(self: SessionMachine, event: Any, fault: Any) -> list[Any]:
        member = self.members.copy(event.connection) if isinstance(event, on.MemberJoined) else None
        said: list[Any] = real(self, event, fault)
        if member is not None:
            self.members.by_connection[event.connection] = member
        return said

    return refuse


def _ack_without_status(real: Any) -> Any:
    return lambda *args: msgspec.structs.replace(real(*args), status=None)


def _anybodys_word(real: Any) -> Any:
    return lambda log, device: log.updated_at


def _refused_ground_forgotten(real: Any) -> Any:
    return lambda self, *args: False


def _told_nothing(real: Any) -> Any:
    """A push past its device's rate is dropped without a word."""

    def on_push(self: ConnectionMachine, message: Any, *args: Any) -> list[Any]:
        said: list[Any] = real(self, message, *args)
        return [effect for effect in said if getattr(getattr(effect, "message", None), "code", "") != "rate_limited"]

    return on_push


def _rest_seek_is_a_push(real: Any) -> Any:
    def append(self: SessionLog, entry: Entry, *args: Any, **kwargs: Any) -> None:
        before = self.seek_version
        real(self, entry, *args, **kwargs)
        if self.seek_version != before:
            self.seek_device = entry.device

    return append


def _never_undone(real: Any) -> Any:
    return lambda *args: None


def _replaced_unlisted(real: Any) -> Any:
    """What an undo replaces is not in the row of its entry."""

    def row(*args: Any, **kwargs: Any) -> Any:
        return {name: value for name, value in real(*args, **kwargs).items() if name != "theirs"}

    return row


# -- many nodes -------------------------------------------------------------------------------------------------


def _join_unclaimed(real: Any) -> Any:
    """A join is answered without the store's word."""
    return property(lambda self: bool(self.entries))


def _never_gone(real: Any) -> Any:
    """Who was seen elsewhere once is there for ever."""

    def on_seen(machine: SessionMachine, event: Any, now_ms: int) -> list[Any]:
        seen = {**machine.members.elsewhere, **event.devices}
        return list(real(machine, on.SeenElsewhere(seen), now_ms))

    return on_seen


def _gap_of_a_node_ignored(real: Any) -> Any:
    """Entries past the next one are taken for the next."""

    def adopt(machine: SessionMachine, entries: list[Entry], *args: Any) -> list[Any]:
        assert machine.log is not None
        if entries and entries[0].version > machine.log.version + 1:
            machine.log.version = entries[0].version - 1
        return list(real(machine, entries, *args))

    return adopt


def _no_news(real: Any) -> Any:
    return lambda *_args: []


def _put_back_never(real: Any) -> Any:
    return lambda self, held, done: done(StoreFault("unavailable"))


def _acked_before_replicated(real: Any) -> Any:
    """A commit is told as soon as the primary has it: the store's level `local`."""
    return lambda self, done, txn, term, outcome: done(outcome)


# -- a store that fails over ------------------------------------------------------------------------------------


def _never(real: Any) -> Any:
    return lambda *_args: False


def _newest_kept_back(real: Any) -> Any:
    """A node gives back what it holds, but for the newest entry."""

    def put_back(self: SimStore, held: Held, done: Any) -> None:
        snapshot = msgspec.structs.replace(held.snapshot, version=held.snapshot.version - 1)
        real(self, Held(snapshot, held.entries[:-1], held.digests[:-1], held.txns[:-1]), done)

    return put_back


def _newer_head_cut(real: Any) -> Any:
    """What is given back is all that stands then, also where the log had gone on."""

    def put_back(self: Truth, held: Held) -> Any:
        log = self.logs[held.snapshot.session]
        if held.snapshot.epoch == log.epoch:
            log.cut(min(log.version, held.snapshot.version))
        return real(self, held)

    return put_back


def _epoch_goes_on(real: Any) -> Any:
    return lambda self, log: log.epoch


def _nobody_told(real: Any) -> Any:
    """The log is another one, and members hear the entries that follow as if it were theirs."""

    def replace(machine: SessionMachine, log: SessionLog, now_ms: int) -> list[Any]:
        real(machine, log, now_ms)
        return []

    return replace


# -- the device -------------------------------------------------------------------------------------------------


def _pending_dropped(real: Any) -> Any:
    def disconnected(self: Replica) -> None:
        real(self)
        self._chain.pending.clear()
        self._chain.top = self._chain.state

    return disconnected


def _seq_reused(real: Any) -> Any:
    def dump(self: Replica) -> Any:
        kept = real(self)
        return None if kept is None else msgspec.structs.replace(kept, pending=[], next_seq=max(1, kept.next_seq - 2))

    return dump


def _gap_ignored(real: Any) -> Any:
    """An ack that lies past entries which were held back is taken for the next entry."""

    def on_ack(self: Replica, message: Any, now_ms: int) -> Any:
        if self._chain.find(message.seq) is not None:
            self._chain.version = max(self._chain.version, message.version - 1)
        return real(self, message, now_ms)

    return on_ack


def _nothing_missing(real: Any) -> Any:
    """What was acknowledged is taken to be safe for ever."""
    return lambda self, *_: []


def _content_in_incident(_real: Any) -> Any:
    state: Any = {"a": 1}
    return lambda kind, device, code, detail: do.Noted(kind, device, code, {**detail, "state": state})


BUGS = (
    Bug("dedupe off", ("P5",), work.WORKERS, on.PushReceived, _dedupe_off),
    Bug("ack before commit", ("durable",), SessionMachine, "_commit", _ack_before_commit),
    Bug("fence unchecked", ("P7",), admission, "_check_standing", _fence_unchecked),
    Bug("progress from non-owner accepted", ("P7",), admission, "_check_ownership", _no_check),
    Bug("progress goes back", ("P10",), admission, "_forward", _progress_goes_back),
    Bug("stale base taken as current", ("P5", "P6"), admission, "_brought_over", _base_taken_as_current),
    Bug("wrong index shift", ("P6",), admission, "_brought_over", _index_shift_wrong),
    Bug("queue carried by the difference", ("P6",), context, "rebase_each", _carried_by_difference, 750),
    Bug("conflicts not listed", ("P6",), admission, "_brought_over", _conflicts_unlisted),
    Bug("counter adds twice on rebase", ("P5",), admission, "_brought_over", _counter_twice),
    Bug("refused, but applied", ("P3", "P5", "P6"), work, "_ack", _refused_but_applied),
    Bug("join answers one entry short", ("P4",), Batch, "joined", _join_one_short),
    Bug("snapshot claims resumed", ("P4",), Batch, "joined", _snapshot_claims_resumed),
    Bug("rollback forgets members' positions", ("P4",), Batch, "undo", _members_not_rewound),
    Bug("entries delivered twice", ("P4",), Batch, "append", _told_twice),
    Bug("offer survives handoff", ("P7",), SessionLog, "append", _offer_survives),
    Bug("failed handoff moves ownership", ("P7",), handoffs, "withdraw", _failed_handoff_moves),
    Bug("fence stands still", ("P7",), handoffs, "transfer", _fence_stands_still),
    Bug("playhead anchored anew in place", ("P9",), handoffs, "transfer", _playhead_restarts),
    Bug("refused join leaves a member", ("memory",), SessionMachine, "refuse", _ghost_after_refusal, 2_180),
    Bug("ack tells no status", ("P7",), work, "_ack", _ack_without_status),
    Bug("anybody's word for the source's", ("P9",), handoffs, "_last_word", _anybodys_word, 1_872),
    Bug("push on top of a refused one", ("P5",), Ledger, "has_refused", _refused_ground_forgotten, 452),
    Bug("push too fast is dropped", ("P3",), ConnectionMachine, "_on_push", _told_nothing),
    Bug("members are never forgotten", ("memory",), Members, "leave", _ghost_members),
    Bug("log never trimmed", ("memory",), SessionLog, "trim", _log_never_trimmed),
    Bug("seek over REST taken for a push", ("P10",), SessionLog, "append", _rest_seek_is_a_push, 640),
    Bug("conflict undone twice", ("P5",), work_conflicts, "standing_undo", _never_undone, 40),
    Bug("undo forgets what it replaced", ("P6",), conflicts, "_row", _replaced_unlisted, 35),
    Bug("an incident tells the state", ("P26",), work, "Noted", _content_in_incident),
    Bug("join without a claim", ("P1", "P3", "P5", "P6"), Batch, "is_for_store", _join_unclaimed),
    Bug("who went elsewhere never goes", ("presence",), session._HANDLERS, on.SeenElsewhere, _never_gone),
    Bug("nobody says who left", ("presence",), SimMesh, "absent", _no_news),
    Bug("gap between nodes ignored", ("P3", "P4", "memory"), recovery, "adopt", _gap_of_a_node_ignored),
    Bug("head not looked at", ("P3",), session._HANDLERS, on.HeadSeen, _no_news),
    Bug("what was lost is never put back", ("P3",), SimStore, "put_back", _put_back_never),
    Bug("told before replicas have it", ("P1", "P3", "P5", "P6"), SimStore, "_tell", _acked_before_replicated, 51),
    Bug("store forgets repeats", ("P5",), Truth, "is_repeat", _never),
    Bug(
        "put back without the newest", ("P1", "P3", "P5", "P6", "liveness"), SimStore, "put_back", _newest_kept_back, 31
    ),
    Bug("put back over a newer head", ("P1", "P3", "P4", "P5", "P6"), Truth, "put_back", _newer_head_cut, 73),
    Bug("rebuilt under the old epoch", ("P1", "P3", "P4", "P5", "P6"), Truth, "epoch_after", _epoch_goes_on, 21),
    Bug("nobody told of another log", ("P3", "P4"), outcomes, "_replace", _nobody_told, 57),
    Bug("replica drops pending on cut", ("P5", "P6"), Replica, "disconnected", _pending_dropped),
    Bug("replica reuses numbers", ("P1", "P5", "P6"), Replica, "dump", _seq_reused),
    Bug("what a log lost is not made again", ("P1", "P3", "P5", "P6"), Kept, "missing", _nothing_missing),
    Bug("replica takes an ack over a gap", ("P3", "P9"), Replica, "_on_ack", _gap_ignored),
)
