"""The optimistic state: what is confirmed, with this device's own unsettled edits on top, in order.

Every pending edit knows the document it was shown on (``context``) and the one it led to (``after``). Others' entries
carry the queue over by the same rule as the server's (`core.carrying`), entry by entry, for the server has to know
what stood on the screen when the next edit was made. Where the document below an edit changes otherwise (a snapshot, an
edit that became something else or was refused), it goes over the difference:
``rebase(display, [diff(old context, new context)])``. So what the screen shows is always the confirmed state
plus pending edits, and almost always just what the server is about to answer.

What goes over the wire is a different matter: a body names the base that it was made on, and the server rebases
it from there. A body still unsent is brought to the newest base only where nobody else wrote in the same place;
where somebody did, it keeps its old base, for only then does the log list who lost. Bases along the queue never
decrease: the edits before a contested one keep theirs too.

A snapshot in the place of entries does not say by which way the state came about. Edits that wait then are shown over
the difference, which is a guess where lists are concerned, and go out as they were made. What is made on top of such a
guess waits until they are answered, and goes out as it is shown then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from syncbridge._ext import Committed, apply_patch, diff, rebase
from syncbridge.client.pending import Dump, Pending, Phase, Row
from syncbridge.core.carrying import rebase_each
from syncbridge.core.entry import Entry
from syncbridge.core.ids import JsonObject, Op
from syncbridge.errors import PatchError, SyncBridgeError

_encode = msgspec.json.Encoder().encode


def applied(state: JsonObject, ops: list[Op], *, ops_max: int | None = None) -> JsonObject:
    """The object that `ops` make of `state`. Raises PatchError and its kin, also where it is no object any more."""
    after = apply_patch(state, ops, ops_max=ops_max)
    if not isinstance(after, dict):
        raise PatchError("the state of a session is an object", None, "")
    return after


def rows_of_lost(ops: list[Op], device: str, policy: str) -> list[Row]:
    """A conflict row for each op of an edit that is not taken over; "ours" is the value it carried."""
    rows: list[Row] = []
    for op in ops:
        row: Row = {"path": op.get("path", ""), "policy": policy, "winner": "theirs", "device": device}
        if "value" in op:
            row["ours"] = op["value"]
        rows.append(row)
    return rows


def _is_made_by(entry: Entry, one: Pending) -> bool:
    """Whether the entry is this very edit. A copy of this device, from a backup, may have used its number."""
    is_of_its_time = entry.made_at == one.at if entry.made_at else one.at >= entry.at
    return is_of_its_time and entry.intent == one.intent


class Chain:
    """Confirmed state, position and the pending edits over it.

    Invariants   ``pending[i].context`` is ``pending[i - 1].after`` (the confirmed state for the first), but for
                 assumed edits, which are passed over; ``top`` is the last ``after``;
                 ``apply_patch(context, display)`` equals ``after``;
                 numbers (``seq``) grow along ``pending``, LOOSE edits excepted;
                 ``is_held`` while edits are overtaken: those behind them are not to be sent.
    """

    __slots__ = ("device", "epoch", "is_held", "pending", "policies", "revision", "state", "top", "version")

    def __init__(self, device: str) -> None:
        self.device = device
        self.state: JsonObject = {}
        self.top: JsonObject = {}
        self.epoch = ""
        self.version = 0
        self.policies: dict[str, Any] | None = None
        self.pending: list[Pending] = []
        self.revision = 0
        self.is_held = False

    def __iter__(self) -> Iterator[Pending]:
        return iter(self.pending)

    def load(self, dump: Dump, policies: dict[str, Any] | None) -> None:
        """The chain, unused so far, goes on where the dump was taken."""
        self.state = self.top = dump.state
        self.epoch, self.version, self.revision = dump.epoch, dump.version, dump.revision
        self.policies = policies
        for row in dump.pending:
            try:
                one = Pending.of_row(row, self.top, applied(self.top, row.shown()))
            except SyncBridgeError:  # only the display is lost; the server judges the body by its own base
                one = Pending.of_row(row, self.top, self.top)
                one.display = []
            self.pending.append(one)
            if not one.is_assumed:
                self.top = one.after
        self.is_held = self.has_overtaken()

    def touched(self) -> int:
        """The next revision."""
        self.revision += 1
        return self.revision

    def find(self, seq: int) -> Pending | None:
        """The edit that is on the wire under this number."""
        for one in self.pending:
            if one.seq == seq and one.phase is not Phase.LOOSE:
                return one
        return None

    def confirm(self, state: JsonObject, version: int, *, is_owner: bool) -> None:
        """The confirmed state is this now; every pending edit is carried over to it."""
        self.state = state
        self.version = version
        self.touched()
        self.settle(is_owner=is_owner)

    def settle(self, *, is_owner: bool) -> None:
        """The invariants hold again after edits were removed or the state below them changed."""
        before = self.state
        for one in self.pending:
            if one.is_assumed:
                continue
            if one.context is not before:
                self._carry(one, before, is_owner)
            before = one.after
        self.top = before

    def _carry(self, one: Pending, before: JsonObject, is_owner: bool) -> None:
        change = diff(one.context, before)
        if change:
            try:
                moved = rebase(
                    one.display, [change], self.policies, base=one.context, at=one.at or None, is_owner=is_owner
                )
                display, rows = moved.ops, [Row(row) for row in moved.conflicts]
                after = applied(before, display)
            except SyncBridgeError:
                # A `test` op that no longer holds, or a place that is gone: the server will refuse it and say so.
                display, rows, after = [], rows_of_lost(one.display, self.device, "last"), before
            self._show(one, before, after, display, rows)
            return
        if not one.display:
            one.after = before
        one.context = before

    def _show(self, one: Pending, before: JsonObject, after: JsonObject, display: list[Op], rows: list[Row]) -> None:
        if display != one.display or rows:
            one.display = display
            one.revision = self.touched()
        if rows:
            one.is_contested = True
            one.rows.extend({**row, "device": self.device} for row in rows)
        one.context, one.after = before, after

    def settled_below(self, one: Pending) -> int:
        """The number up to which the device has its answers: what ``one`` was made on top of is not in doubt there."""
        waiting = min((other.seq for other in self.pending if other.phase is not Phase.LOOSE), default=one.seq)
        return min(waiting, one.seq) - 1

    def states_after(self, entries: list[Entry]) -> list[JsonObject] | None:
        """The confirmed state after each of the entries to come; None when one is missing or does not apply."""
        state, version = self.state, self.version
        states: list[JsonObject] = []
        for entry in entries:
            version += 1
            if entry.version != version:
                return None
            try:
                state = applied(state, entry.ops)
            except SyncBridgeError:
                return None
            states.append(state)
        return states

    def follow(self, entries: list[Entry], states: list[JsonObject], *, is_owner: bool) -> list[tuple[Pending, Entry]]:
        """The next entries, which lead to ``states`` one by one, are confirmed; answers whose edits they are.

        Those the chain holds no more; the others have come over what they did not make.
        """
        taken: list[tuple[Pending, Entry]] = []
        run: list[Entry] = []
        before = self.state
        for entry, state in zip(entries, states, strict=True):
            one = self._sent_as(entry)
            if one is None:
                run.append(entry)
            else:
                self._carry_over(run, before, is_owner)
                run = []
                self.pending.remove(one)
                taken.append((one, entry))
                self.state = state
                self.settle(is_owner=is_owner)
            before = state
        self._carry_over(run, before, is_owner)
        if entries:
            self.version = entries[-1].version
            self.touched()
        return taken

    def _sent_as(self, entry: Entry) -> Pending | None:
        """The edit on the wire that this entry is."""
        if not entry.seq or entry.device != self.device:
            return None
        for one in self.pending:
            if one.seq == entry.seq and one.is_on_wire and _is_made_by(entry, one):
                return one
        return None

    def _carry_over(self, run: list[Entry], state: JsonObject, is_owner: bool) -> None:
        """The confirmed state is ``state``, after a run of others' entries; the queue has come over them."""
        base, self.state = self.state, state
        queue = [one for one in self.pending if not one.is_assumed]
        if queue and state is not base:
            # Without their times: each edit has one of its own, and what it loses by that the server says.
            changes: list[list[Op] | Committed] = [
                {"ops": entry.ops, "version": entry.version, "device": entry.device} for entry in run if entry.ops
            ]
            try:
                each = rebase_each([one.display for one in queue], changes, self.policies, base=base, is_owner=is_owner)
                below = state
                for one, moved in zip(queue, each, strict=True):
                    after = applied(below, moved.ops)
                    self._show(one, below, after, moved.ops, [Row(row) for row in moved.conflicts])
                    below = after
            except SyncBridgeError:
                pass  # `settle` carries it, and those behind it, over the difference, or finds that it is lost
        self.settle(is_owner=is_owner)

    def found_in_log(self, last_seq: int, named: set[int]) -> None:
        """The log has this device's numbers up to ``last_seq``; those ``named`` by new entries are not ours to assume.

        What is on the wire is to be sent again for its answer; what is in the log, but in none of the new entries, the
        confirmed state holds already.
        """
        for one in self.pending:
            if one.phase is Phase.LOOSE:
                continue
            is_in_log = one.seq <= last_seq and one.phase is not Phase.FREE
            if is_in_log and not one.is_assumed and one.seq not in named:
                one.is_assumed, one.revision = True, self.touched()
            if one.phase is Phase.SENT or is_in_log:
                one.phase = Phase.AGAIN

    def number(self, first: int, last_seq: int, *, base_is_gone: bool) -> tuple[int, int]:
        """Edits that are certainly not in the log are FREE, numbered from ``first`` without holes.

        Answers  the next number, and the index from which on bodies have to be rewritten, for there an edit's
                 base means nothing any more (all of them with ``base_is_gone``).
        """
        seq, rewritten_from = first, len(self.pending)
        for index, one in enumerate(self.pending):
            one.retry_at = 0
            if one.phase is Phase.AGAIN and one.seq <= last_seq:
                continue
            is_base_gone = base_is_gone or one.is_adrift or one.base > self.version or one.epoch != self.epoch
            if is_base_gone or one.phase is Phase.LOOSE:
                rewritten_from = min(rewritten_from, index)
            was_assumed = one.is_assumed
            one.phase, one.is_assumed, one.is_adrift = Phase.FREE, False, False
            if one.seq != seq or was_assumed:
                one.seq, one.revision = seq, self.touched()
            seq += 1
        return seq, rewritten_from

    def acknowledged(self, one: Pending) -> None:
        """The edit, the first of the queue and shown as it was sent, is confirmed as it was sent."""
        self.state = one.after
        self.version += 1
        self.touched()
        self.pending.remove(one)

    def has_overtaken(self) -> bool:
        """Whether an edit that waits is shown on what only a snapshot told."""
        return any(one.is_overtaken and not one.is_assumed for one in self.pending)

    def overtake(self) -> None:
        """The confirmed state came as a snapshot: edits made on an older one are shown as a guess from here on."""
        if self.is_held:
            return  # those that are held were made on a guess: they do not go out as they were made
        for one in self.pending:
            if one.base != self.version or one.epoch != self.epoch:
                one.is_overtaken, one.revision = True, self.touched()
        self.is_held = self.has_overtaken()

    def freshen(self, bytes_max: int) -> list[Row]:
        """Free edits behind the last contested one are based on the confirmed version, as they are shown.

        None while there are overtaken ones. When the last of those is gone, all are, contested or not; what they met
        comes back as from `rewrite_from`.
        """
        if self.is_held:
            if self.has_overtaken():
                return []
            self.is_held = False
            return self.rewrite_from(0)
        start = 0
        for index, one in enumerate(self.pending):
            if one.is_contested or one.is_assumed or one.phase is not Phase.FREE:
                start = index + 1
        for one in self.pending[start:]:
            if one.base != self.version or one.epoch != self.epoch:
                if one.display is not one.ops and len(_encode(one.display)) > bytes_max:
                    break
                self._rewrite(one)
        return []

    def rewrite_from(self, index: int) -> list[Row]:
        """Free edits from ``index`` on get the body that is shown, on the confirmed version, contested or not.

        For when their old base means nothing any more. The server cannot list what they met on the way, so the
        rows come back to be listed here.
        """
        told: list[Row] = []
        for one in self.pending[index:]:
            if one.phase is Phase.FREE and not one.is_assumed:
                self._rewrite(one)
                told += one.rows
                one.told += one.rows
                one.rows = []
                one.is_contested = False
        return told

    def _rewrite(self, one: Pending) -> None:
        one.ops = one.display
        one.base = self.version
        one.epoch = self.epoch
        one.is_overtaken = False
        one.revision = self.touched()
