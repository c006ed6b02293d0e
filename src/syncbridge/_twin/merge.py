"""Merging two writers: an old patch over what was committed since (``rebase``), and three states (``merge3``).

The push comes later than everything committed, so where nothing else is said it wins (``last``). Every op of the
push is followed through the committed writes:

1. List indexes shift. Of two inserts at one index the committed one comes first. An op goes along with a value
   that a committed op moved.
2. What nobody else touched simply applies; a push that nothing committed can meet is its own answer.
3. A removal wins over edits below it, and of a list item over any edit of it. Removing what is gone, or writing
   what is already there, is no conflict and needs no op.
4. Where both wrote one place its policy decides (docs/protocol.md lists them), and the loser is listed.

An op that is not taken over is undone in the eyes of the ops after it, so they keep meaning what they meant.

`base` is the state both started from. With it a member named "1" is told from a list index, a whole object or list
that is replaced is read as the edits it makes (so both sides' fields survive), move and copy of the push become
remove and add of the value they moved, and counter, set and append can merge. Without it tokens of digits count as
list indexes, counter, set and append decide as ``last`` (with a row), and a move or copy that meets a committed
write is a PatchError. `test` ops pass with shifted pointers and are judged when the patch is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from syncbridge._twin.decide import Decision, decide, merge_items, unite
from syncbridge._twin.delta import apply_patch, diff
from syncbridge._twin.pointer import index_of, join_pointer, resolve, split_pointer
from syncbridge._twin.policies import Rule, rule_at
from syncbridge._twin.trace import UNKNOWN, Hit, Path, Write, carry, trace
from syncbridge._twin.values import DEPTH_LIMIT, same
from syncbridge.errors import PatchError

Op = dict[str, Any]


class Rebased(NamedTuple):
    """`ops` to apply to the committed state, and what did not simply apply."""

    ops: list[Op]
    conflicts: list[dict[str, Any]]


class Merged(NamedTuple):
    """The merged `state`, the `ops` that turn theirs into it, and what did not simply apply."""

    state: Any
    ops: list[Op]
    conflicts: list[dict[str, Any]]


def rebase(
    ops: list[Op],
    committed: Sequence[Any],
    policies: dict[str, Any] | None = None,
    /,
    *,
    base: Any = None,
    at: int | None = None,
    is_owner: bool = True,
) -> Rebased:
    """`ops`, made on `base`, as they apply after `committed`.

    committed   changes since base, oldest first: ``{"ops": [...], "version", "device", "at"}`` or a list of ops
    at          the push's time in the server's domain, for ``latest``; unknown times decide as ``last``
    is_owner    whether the pushing device holds the fence, for ``owner``
    Rows        see ``Conflict``; a removed value has no key. Rows of merged values have winner "both".
    Raises      PatchError when `ops` are no patch; one that does not apply to `base` is refused here or when applied.
    """
    run = _Rebase(policies, UNKNOWN if base is None else base, at, is_owner)
    run.take_committed(committed)
    if not run.writes and (is_owner or policies is None):
        return Rebased(list(_operations(ops)), [])
    for index, op in enumerate(_operations(ops)):
        try:
            run.push(op)
        except PatchError as error:
            raise type(error)(error.reason, index, error.pointer) from None
    return Rebased(run.ops, run.conflicts)


def merge3(
    base: Any,
    ours: Any,
    theirs: Any,
    policies: dict[str, Any] | None = None,
    /,
    *,
    at: int | None = None,
    is_owner: bool = True,
) -> Merged:
    """The three-way merge: ``rebase(diff(base, ours), [diff(base, theirs)], base=base)`` applied to `theirs`."""
    rebased = rebase(diff(base, ours), [diff(base, theirs)], policies, base=base, at=at, is_owner=is_owner)
    return Merged(apply_patch(theirs, rebased.ops), rebased.ops, rebased.conflicts)


def _operations(ops: Any) -> list[Op]:
    if not isinstance(ops, list):
        raise PatchError("a patch is an array of operations")
    return ops


def _read_change(change: Any) -> tuple[list[Op], dict[str, Any]]:
    if isinstance(change, Mapping):
        meta = {key: change[key] for key in ("version", "device", "at") if change.get(key) is not None}
        return _operations(change.get("ops")), meta
    return _operations(change), {}


def _get(state: Any, path: Path) -> Any:
    return UNKNOWN if state is UNKNOWN else resolve(state, join_pointer(path), UNKNOWN)


def _apply(state: Any, ops: list[Op]) -> Any:
    return state if state is UNKNOWN else apply_patch(state, ops, depth_max=DEPTH_LIMIT)


def _op(kind: str, path: Path, value: Any = UNKNOWN) -> Op:
    op = {"op": kind, "path": join_pointer(path)}
    return op if value is UNKNOWN else {**op, "value": value}


def _is_whole_rewrite(old: Any, new: Any, in_list: bool) -> bool:
    """Whether writing `new` over `old` is better read as the edits between them."""
    if isinstance(old, list) and isinstance(new, list):
        return True
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    return not (in_list and "id" in old and "id" in new and not same(old["id"], new["id"], DEPTH_LIMIT))


class _Rebase:
    """One rebase under way.

    ours      the state after the ops of the push read so far (as the pushing device saw it)
    merged    the state after everything committed and the ops emitted so far
    writes    what leads from `ours` to `merged`
    """

    def __init__(self, policies: dict[str, Any] | None, base: Any, at: int | None, is_owner: bool) -> None:
        self.policies = policies
        self.ours = base
        self.merged = base
        self.at = at
        self.is_owner = is_owner
        self.writes: list[Write] = []
        self.ops: list[Op] = []
        self.conflicts: list[dict[str, Any]] = []

    # -- what was committed ----------------------------------------------------------------------------------------

    def take_committed(self, committed: Sequence[Any]) -> None:
        for change in committed:
            ops, meta = _read_change(change)
            for op in ops:
                self._take(op, meta)

    def _take(self, op: Op, meta: dict[str, Any]) -> None:
        kind, path, source, value = _read_op(op)
        if kind == "test" or (kind == "move" and source == path):
            return
        if kind in ("copy", "move"):
            value = _get(self.merged, source)
        if kind == "move":
            source_in_list = self._is_index(self.merged, source)
            between = _apply(self.merged, [_op("remove", source)])
            path, in_list = self._placed(between, path)
            overwrites = not in_list and _get(between, path) is not UNKNOWN
            write = Write("move", path, in_list, value, source, source_in_list, meta, overwrites=overwrites)
            self.writes.append(write)
        else:
            path, in_list = self._placed(self.merged, path)
            old = UNKNOWN if kind == "remove" or (kind != "replace" and in_list) else _get(self.merged, path)
            if _is_whole_rewrite(old, value, in_list):
                for edit in diff(old, value, depth_max=DEPTH_LIMIT):
                    self._take({**edit, "path": join_pointer(path) + edit["path"]}, meta)
                return
            self.writes.append(Write("add" if kind == "copy" else kind, path, in_list, value, meta=meta))
        self.merged = _apply(self.merged, [op])

    @staticmethod
    def _is_index(state: Any, path: Path) -> bool:
        if not path:
            return False
        if state is UNKNOWN:
            return path[-1] == "-" or index_of(path[-1]) >= 0
        return isinstance(_get(state, path[:-1]), list)

    def _placed(self, state: Any, path: Path) -> tuple[Path, bool]:
        """`path` with '-' made an index where the state tells, and whether its last token is an index."""
        in_list = self._is_index(state, path)
        if in_list and path[-1] == "-" and state is not UNKNOWN:
            path = (*path[:-1], str(len(_get(state, path[:-1]))))
        return path, in_list

    # -- the push --------------------------------------------------------------------------------------------------

    def push(self, op: Op) -> None:
        kind, path, source, value = _read_op(op)
        if kind == "test":
            target, last_place, _ = trace(path, False, self.writes)
            self.ops.append({**op, "path": join_pointer(target if target is not None else last_place)})
        elif kind in ("move", "copy"):
            if self.ours is UNKNOWN:
                self._push_blind(op, kind, path, source)
            elif source != path or kind == "copy":
                value = _get(self.ours, source)
                _apply(self.ours, [op])  # refuses what cannot be done, before half of it is
                if kind == "move":
                    self._write("remove", source, UNKNOWN)
                self._write("add", path, value)
        else:
            self._write(kind, path, value)

    def _push_blind(self, op: Op, kind: str, path: Path, source: Path) -> None:
        """A move or copy without base: its pointers shift; meeting a committed write is an error."""
        new_source, _, hits = trace(source, False, self.writes)
        if kind == "move":
            self.writes = carry(self.writes, Write("remove", source, self._is_index(UNKNOWN, source)))
        own = Write("add", path, self._is_index(UNKNOWN, path))
        new_path, _, more = trace(path, own.inserts, self.writes)
        if new_source is None or new_path is None or hits or more:
            raise PatchError("a move or copy met a committed write; rebase it with its base", None, op["path"])
        self.writes = carry(self.writes, own)
        self.ops.append({**op, "from": join_pointer(new_source), "path": join_pointer(new_path)})

    def _write(self, kind: str, path: Path, value: Any) -> None:
        """One add, remove or replace of the push: emit it, change it or leave it out, and go on from there."""
        place, in_list = self._placed(self.ours, path)
        own = Write(kind, place, in_list, value)  # type: ignore[arg-type]
        before = UNKNOWN if own.inserts else _get(self.ours, place)
        after = _apply(self.ours, [_op(kind, path, value)])
        rule = rule_at(self.policies, place)
        target, last_place, hits = trace(path, own.inserts, self.writes)
        if rule.policy in ("set", "append") and self._merge_list(rule, place, after, own):
            return
        if rule.policy == "playhead" and not hits:
            hits = [hit for hit in trace(place[: rule.depth], False, self.writes)[2] if not hit.write.is_undo]
        below = any(hit.touch == "below" for hit in hits) and rule.policy != "playhead"
        if kind != "remove" and below and _is_whole_rewrite(before, value, in_list):
            for edit in diff(before, value, depth_max=DEPTH_LIMIT):
                tokens = (*place, *split_pointer(edit["path"]))
                self._write(edit["op"], tokens, edit.get("value", UNKNOWN))
            return
        current = UNKNOWN if target is None or own.inserts else _get(self.merged, target)
        parent = UNKNOWN if not target else _get(self.merged, target[:-1])
        is_known = self.merged is not UNKNOWN
        decision = decide(own, target, hits, rule, before, current, parent, is_known, self.at, self.is_owner)
        self._carry_out(decision, own, target if target is not None else last_place, hits, rule, before)
        self.ours = after

    def _carry_out(
        self, decision: Decision, own: Write, target: Path, hits: list[Hit], rule: Rule, before: Any
    ) -> None:
        for rest, row in decision.rows:
            self._report(target + rest, rule, hits, row)
        if decision.kind is not None:
            self._emit(_op(decision.kind, target, decision.value))
        if decision.is_undone:
            self.writes = [_undo(own, before, hits), *self.writes]
            return
        self.writes = carry(self.writes, own)
        if decision.is_merged:
            meta = hits[-1].write.meta
            self.writes.insert(0, Write("replace", own.path, own.in_list, decision.value, meta=meta))

    def _emit(self, op: Op) -> None:
        self.ops.append(op)
        self.merged = _apply(self.merged, [op])

    def _report(self, path: Path, rule: Rule, hits: list[Hit], row: dict[str, Any]) -> None:
        row = {"path": join_pointer(path), "policy": rule.policy, **row}
        meta = hits[-1].write.meta if hits else {}
        for key in ("version", "device"):
            if key in meta:
                row[f"theirs_{key}"] = meta[key]
        if rule.policy == "counter" and row["winner"] == "both":  # counted again by the same push: one row tells it
            self.conflicts = [seen for seen in self.conflicts if seen["path"] != row["path"]]
        self.conflicts.append(row)

    def _merge_list(self, rule: Rule, place: Path, after: Any, own: Write) -> bool:
        """Merge the whole list a set or append policy governs; False when that is not what this op is about."""
        governed = place[: rule.depth]
        target, _, hits = trace(governed, False, self.writes)
        if not hits or target is None or self.merged is UNKNOWN:
            return False
        # the push may reorder the list in several ops: each merges anew from where the first one began
        before, theirs, rows = next(
            (hit.write.merge for hit in hits if hit.touch == "exact" and hit.write.merge),
            (_get(self.ours, governed), _get(self.merged, target), []),
        )
        ours, current = _get(after, governed), _get(self.merged, target)
        before = [] if before is UNKNOWN else before  # both sides made the list: it began empty
        if not all(isinstance(value, list) for value in (before, theirs, ours, current)):
            return False
        self.conflicts = [row for row in self.conflicts if not any(row is old for old in rows)]
        told = len(self.conflicts)
        lost: list[tuple[Path, dict[str, Any]]] = []
        merged = unite(before, ours, theirs)
        if rule.policy == "append":
            merged, lost = merge_items(before, ours, theirs, rule.key)
        for edit in diff(current, merged, depth_max=DEPTH_LIMIT):
            self._emit({**edit, "path": join_pointer(target) + edit["path"]})
        for rest, row in lost:
            self._report(target + rest, rule, hits, row)
        if not same(merged, ours, DEPTH_LIMIT):
            self._report(target, rule, hits, {"winner": "both", "ours": ours, "theirs": theirs})
        in_list = self._is_index(self.ours, governed)
        merge = (before, theirs, self.conflicts[told:])
        settled = Write("replace", governed, in_list, merged, meta=hits[-1].write.meta, merge=merge)
        self.writes = [settled, *carry(self.writes, Write("replace", governed, in_list, ours))]
        self.ours = after
        return True


def _undo(own: Write, before: Any, hits: list[Hit]) -> Write:
    """The write that takes `own` back, for the ops of the push that come after it."""
    meta = hits[-1].write.meta if hits else {}
    if own.kind == "replace" or (own.kind == "add" and not own.in_list and (before is not UNKNOWN or hits)):
        return Write("replace", own.path, own.in_list, before, meta=meta, is_undo=True)
    kind = "remove" if own.kind == "add" else "add"
    return Write(kind, own.path, own.in_list, before, meta=meta, is_undo=True)  # type: ignore[arg-type]


def _read_op(op: Any) -> tuple[Any, Path, Path, Any]:
    """Kind, path, source and value of one op, or PatchError; the same checks as applying it makes."""
    if not isinstance(op, dict):
        raise PatchError("an operation is an object")
    for name in ("op", "path"):
        if type(op.get(name)) is not str:
            raise PatchError(f"'{name}' is missing or not a string")
    kind, path = op["op"], op["path"]
    if kind not in ("add", "remove", "replace", "move", "copy", "test"):
        raise PatchError("'op' is none of add, remove, replace, move, copy, test")
    if kind in ("add", "replace", "test"):
        if "value" not in op:
            raise PatchError("'value' is missing", None, path)
        return kind, tuple(split_pointer(path)), (), op["value"]
    if kind == "remove":
        return kind, tuple(split_pointer(path)), (), UNKNOWN
    if type(op.get("from")) is not str:
        raise PatchError("'from' is missing or not a string")
    return kind, tuple(split_pointer(path)), tuple(split_pointer(op["from"])), UNKNOWN
