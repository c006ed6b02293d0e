from syncbridge._ext.values import DEPTH_LIMIT, INTEGER_MAX, same
from syncbridge._ext.delta import apply_patch, diff, index_of, join_pointer, resolve, split_pointer
"""Merge policy tables: which policy decides where two writers met.

A table maps JSON Pointers, in which the token ``*`` stands for any one name or index, to a policy name or to
``{"policy": name, "key": member}``. A policy on a path governs the whole subtree unless a deeper path has its own.
Of several matches the deepest wins; of equally deep ones the one with a name where the other has ``*``, leftmost
first. Where nothing matches, ``last`` decides.
"""


from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from syncbridge.errors import PatchError, PolicyError


NAMES = frozenset(
    ("last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual")
)
PATH_TOKENS_MAX = 64


class Rule(NamedTuple):
    """The policy that governs a place, the member that identifies an item, how many tokens its path has."""

    policy: str
    key: str
    depth: int


DEFAULT = Rule("last", "id", 0)


def compile_policies(schema: Mapping[str, Any], /) -> dict[str, Any]:
    """The table as a trie of plain values. Raises PolicyError on an unknown policy or a bad path."""
    if not isinstance(schema, Mapping):
        raise PolicyError("a policy table maps paths to policies")
    root = _node()
    for path, entry in schema.items():
        try:
            tokens = split_pointer(path)
        except PatchError as error:
            raise PolicyError(f"{str(path)[:80]!r}: {error.reason}") from None
        if len(tokens) > PATH_TOKENS_MAX:
            raise PolicyError(f"{path[:80]!r}: a path has at most {PATH_TOKENS_MAX} tokens")
        rule = {"policy": entry} if isinstance(entry, str) else entry
        if not isinstance(rule, Mapping) or not set(rule) <= {"policy", "key"} or "policy" not in rule:
            raise PolicyError(f"{path[:80]!r}: expected a policy name or an object with policy and key")
        name, key = rule["policy"], rule.get("key")
        if not isinstance(name, str) or name not in NAMES:
            raise PolicyError(f"{path[:80]!r}: {str(name)[:40]!r} is none of {', '.join(sorted(NAMES))}")
        if key is not None and (name != "append" or not isinstance(key, str) or not key):
            raise PolicyError(f"{path[:80]!r}: only append takes a key, the name of a member")
        node = root
        for token in tokens:
            if token == "*":
                node["any"] = node["any"] or _node()
                node = node["any"]
            else:
                node = node["exact"].setdefault(token, _node())
        node["policy"], node["key"] = name, key or DEFAULT.key
    return root


def _node() -> dict[str, Any]:
    return {"policy": None, "key": DEFAULT.key, "exact": {}, "any": None}


def rule_at(policies: dict[str, Any] | None, tokens: Sequence[str]) -> Rule:
    """The rule that governs the place `tokens`."""
    if policies is None:
        return DEFAULT
    return _find(policies, tokens, 0) or DEFAULT


def _find(node: dict[str, Any], tokens: Sequence[str], depth: int) -> Rule | None:
    best = Rule(node["policy"], node["key"], depth) if node["policy"] else None
    if depth < len(tokens):
        for child in (node["exact"].get(tokens[depth]), node["any"]):
            found = _find(child, tokens, depth + 1) if child is not None else None
            if found is not None and (best is None or found.depth > best.depth):
                best = found
    return best

"""Where a place goes when somebody else writes: paths as tuples of tokens, followed through writes.

A write adds, removes, replaces or moves one place. Following a path through a write shifts list indexes, moves
along with a moved value, and says how the write touches the path:

    exact    the write is at the path
    above    the write is at an ancestor of it
    below    the write is under it
"""


from dataclasses import dataclass, field, replace
from typing import Any, Literal


Path = tuple[str, ...]
Touch = Literal["exact", "above", "below"]

UNKNOWN: Any = object()  # a value nobody told: no base was given


@dataclass(frozen=True)
class Write:
    """One effect on a document; ``in_list`` says that the last token is a list index, so that add inserts."""

    kind: Literal["add", "remove", "replace", "move"]
    path: Path
    in_list: bool = False
    value: Any = UNKNOWN
    source: Path = ()
    source_in_list: bool = False
    meta: dict[str, Any] = field(default_factory=dict)
    is_undo: bool = False  # stands for our own op that was not taken over

    @property
    def inserts(self) -> bool:
        return self.kind == "add" and self.in_list

    def parts(self) -> list[Write]:
        """A move as its removal and its addition; any other write as itself."""
        if self.kind != "move":
            return [self]
        gone = Write("remove", self.source, self.source_in_list, UNKNOWN, meta=self.meta, is_undo=True)
        return [gone, Write("add", self.path, self.in_list, self.value, meta=self.meta)]


@dataclass(frozen=True)
class Hit:
    """A write that touches a path, and where the touched place was at that moment."""

    touch: Touch
    write: Write
    at: Path


def follow(path: Path, inserting: bool, write: Write, goes_first: bool = False) -> tuple[Path | None, Hit | None]:
    """`path` after `write` (not a move); None when the list item it names or lies in was removed.

    `inserting` says that the path is where an item will be inserted; of two inserts at one index, the path's
    comes first when `goes_first`.
    """
    depth = len(write.path)
    if depth == 0:
        return path, Hit("above" if path else "exact", write, path)
    parent = write.path[:-1]
    if path[: depth - 1] != parent:
        below = len(path) < depth and write.path[: len(path)] == path
        return path, Hit("below", write, path) if below else None
    if len(path) < depth:
        return path, Hit("below", write, path)
    ends_here = len(path) == depth
    touch: Touch = "exact" if ends_here else "above"
    if not write.in_list:
        return path, Hit(touch, write, path) if path[depth - 1] == write.path[-1] else None
    mine, theirs = index_of(path[depth - 1]), index_of(write.path[-1])
    if mine < 0 or theirs < 0:  # '-' is the end, wherever that is
        return path, None
    insert_here = inserting and ends_here
    if write.kind == "add":
        stays = mine < theirs or (mine == theirs and insert_here and goes_first)
        return path if stays else _shifted(path, depth, mine + 1), None
    if mine == theirs and not insert_here:
        return None if write.kind == "remove" else path, Hit(touch, write, path)
    if write.kind == "remove" and mine > theirs:
        return _shifted(path, depth, mine - 1), None
    return path, None


def _shifted(path: Path, depth: int, index: int) -> Path:
    return (*path[: depth - 1], str(index), *path[depth:])


def trace(path: Path, inserting: bool, writes: list[Write]) -> tuple[Path | None, Path, list[Hit]]:
    """`path` after all `writes` (None when it is gone), the last place it had, and what touched it."""
    hits: list[Hit] = []
    for write in writes:
        moved = _moved_along(path, inserting, write)
        if moved is not None:
            path = moved
            continue
        for part in write.parts():
            after, hit = follow(path, inserting, part)
            if hit is not None:
                hits.append(hit)
            if after is None:
                return None, path, hits
            path = after
    return path, path, hits


def _moved_along(path: Path, inserting: bool, write: Write) -> Path | None:
    depth = len(write.source)
    if write.kind != "move" or path[:depth] != write.source or (inserting and len(path) == depth):
        return None
    return write.path + path[depth:]


def carry(writes: list[Write], own: Write) -> list[Write]:
    """`writes` as they look to somebody who has done `own` first; what `own` overwrites is left out."""
    after: list[Write] = []
    mine: Write | None = own
    for write in writes:
        if mine is None:
            after.append(write)
            continue
        if write.kind != "move":
            path, hit = follow(write.path, write.inserts, mine, goes_first=True)
            if path is not None and not _covers(hit):
                after.append(replace(write, path=path))
        else:
            after.extend(_carry_move(write, mine))
        mine = _own_after(mine, write)
    return after


def _covers(hit: Hit | None) -> bool:
    return hit is not None and hit.touch != "below"


def _carry_move(write: Write, own: Write) -> list[Write]:
    gone, added = write.parts()
    source, source_hit = follow(write.source, False, own, goes_first=True)
    between = _own_after(own, gone)
    path: Path | None = write.path
    path_hit: Hit | None = None
    if between is not None:
        path, path_hit = follow(write.path, write.in_list, between, goes_first=True)
    has_source = source is not None and not _covers(source_hit)
    has_path = path is not None and not _covers(path_hit)
    if has_source and has_path:
        assert source is not None and path is not None
        return [replace(write, source=source, path=path)]
    if has_source:
        assert source is not None
        return [replace(gone, path=source)]
    if has_path:
        assert path is not None
        return [replace(added, path=path)]
    return []


def _own_after(own: Write, write: Write) -> Write | None:
    moved = _moved_along(own.path, own.inserts, write)
    if moved is not None:
        return replace(own, path=moved)
    path: Path | None = own.path
    for part in write.parts():
        if path is None:
            return None
        path, _ = follow(path, own.inserts, part)
    return None if path is None else replace(own, path=path)

"""What becomes of one write of the push that met committed writes: the policies, place by place."""


from typing import Any, NamedTuple


Row = tuple[Path, dict[str, Any]]


class Decision(NamedTuple):
    """What to emit at the target (``kind`` None: nothing) and to list, row by row, under it.

    ``is_undone``   ours did not take effect, although the pushing device believes so
    ``is_merged``   what is emitted is neither side's value
    """

    kind: str | None
    value: Any = UNKNOWN
    rows: tuple[Row, ...] = ()
    is_undone: bool = False
    is_merged: bool = False


def _row(winner: str, ours: Any, theirs: Any) -> Row:
    row = {"winner": winner}
    if ours is not UNKNOWN:
        row["ours"] = ours
    if theirs is not UNKNOWN:
        row["theirs"] = theirs
    return (), row


def decide(
    own: Write,
    target: Path | None,
    hits: list[Hit],
    rule: Rule,
    before: Any,
    current: Any,
    parent: Any,
    is_known: bool,
    at: int | None,
    is_owner: bool,
) -> Decision:
    """The verdict on `own`, which lands at `target` (None: its list item is gone) where `hits` met it.

    `before` is what it replaced, `current` what is at the target now, `parent` what holds the target; UNKNOWN
    where there is none, or, unless `is_known`, where it cannot be told.
    """
    ours = own.value
    if rule.policy == "owner" and not is_owner:
        return _lost("theirs", ours, current)
    if not hits:
        return Decision(own.kind, ours)
    over = [hit for hit in hits if hit.touch != "below"]
    if target is None:
        return Decision(None) if own.kind == "remove" else _lost("theirs", ours, UNKNOWN)
    if own.kind != "remove" and current is not UNKNOWN and same(ours, current, DEPTH_LIMIT):
        return Decision(None)
    winner = _later_loses(rule, hits, at)
    if not over:
        return _lost(winner, ours, current) if winner else _over_edits(own, hits)
    if not is_known:
        current, parent = _told(over[-1], target, current)
    if not own.in_list or any(hit.touch == "above" for hit in over):
        if target and not isinstance(parent, dict):
            return Decision(None) if own.kind == "remove" else _lost("theirs", ours, current)
    if own.kind == "remove":
        if current is UNKNOWN and (is_known or over[-1].write.kind == "remove"):
            return Decision(None)
        return _lost(winner, ours, current) if winner else Decision("remove", rows=(_row("ours", ours, current),))
    if current is not UNKNOWN and same(ours, current, DEPTH_LIMIT):
        return Decision(None)
    if winner:
        return _lost(winner, ours, current)
    kind = own.kind if own.in_list else "add" if current is UNKNOWN else "replace"
    if not target:
        kind = "replace"
    if _is_number(ours) and _is_number(current):
        if rule.policy == "max" and current >= ours or rule.policy == "min" and current <= ours:
            return _lost("theirs", ours, current)
        if rule.policy == "counter" and is_known and _is_number(before):
            total = current + (ours - before)
            if abs(total) <= INTEGER_MAX:
                return Decision(kind, total, (_row("both", ours, current),), is_merged=True)
    return Decision(kind, ours, (_row("ours", ours, current),))


def _lost(winner: str, ours: Any, theirs: Any) -> Decision:
    return Decision(None, rows=(_row(winner, ours, theirs),), is_undone=True)


def _later_loses(rule: Rule, hits: list[Hit], at: int | None) -> str:
    """Who wins against the later write by policy alone; "" when the later write wins."""
    if rule.policy == "manual":
        return "manual"
    if rule.policy == "playhead":
        return "theirs"
    if rule.policy == "latest":
        theirs_at = hits[-1].write.meta.get("at")
        if at is not None and theirs_at is not None and theirs_at > at:
            return "theirs"
    return ""


def _over_edits(own: Write, hits: list[Hit]) -> Decision:
    """Ours removes or overwrites what theirs edited below: ours applies, what it covers is listed."""
    rows: dict[Path, Row] = {}
    for hit in hits:
        write = hit.write
        rest = write.path[len(hit.at) :]
        kept = _inside(own.value, rest)
        rows.pop(rest, None)
        if write.is_undo or (write.kind == "remove" and kept is UNKNOWN):
            continue
        if kept is not UNKNOWN and write.value is not UNKNOWN and same(kept, write.value, DEPTH_LIMIT):
            continue
        rows[rest] = (rest, _row("ours", kept, write.value)[1])
    return Decision(own.kind, own.value, tuple(rows.values()))


def _told(hit: Hit, target: Path, current: Any) -> tuple[Any, Any]:
    """What is at the target and what holds it, as far as the last write at or above it tells."""
    if hit.touch == "exact":
        return hit.write.value, {}
    rest = target[len(hit.write.path) :]
    return _inside(hit.write.value, rest), _inside(hit.write.value, rest[:-1])


def _inside(value: Any, path: Path) -> Any:
    for token in path:
        if not isinstance(value, dict) or token not in value:
            return UNKNOWN
        value = value[token]
    return value


def _is_number(value: Any) -> bool:
    """A number safe to reckon with: finite, and an integer only as far as every peer holds it."""
    return type(value) in (int, float) and -INTEGER_MAX <= value <= INTEGER_MAX


# -- lists of items ------------------------------------------------------------------------------------------------


def identity(value: Any) -> Any:
    """A hashable stand-in: equal for equal values of equal kinds."""
    if isinstance(value, dict):
        return dict, frozenset((key, identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return list, tuple(identity(item) for item in value)
    return type(value), value


def unite(before: list[Any], ours: list[Any], theirs: list[Any]) -> list[Any]:
    """The ``set`` merge: theirs in its order without what we removed, then what we added in our order."""
    had = {identity(item) for item in before}
    have = {identity(item) for item in ours}
    merged: dict[Any, Any] = {}
    for item in theirs:
        name = identity(item)
        if name in have or name not in had:
            merged.setdefault(name, item)
    for item in ours:
        name = identity(item)
        if name not in had:
            merged.setdefault(name, item)
    return list(merged.values())


def merge_items(
    before: list[Any], ours: list[Any], theirs: list[Any], key: str
) -> tuple[list[Any], list[Row]]:
    """The ``append`` merge: every item of theirs in its order, then those we added; one of each name.

    An item is named by its `key` member, else by its value. Where both changed one item, ours stays and theirs is
    listed; an item we removed stays, and that is listed.
    """
    had = {_item_name(item, key): item for item in before}
    have = {_item_name(item, key): item for item in ours}
    merged: dict[Any, Any] = {}
    rows: list[Row] = []
    for item in theirs:
        merged.setdefault(_item_name(item, key), item)
    place = {name: str(index) for index, name in enumerate(merged)}
    for name, item in have.items():
        if name not in merged:
            if name not in had or not same(item, had[name], DEPTH_LIMIT):
                merged[name] = item
        elif not same(item, merged[name], DEPTH_LIMIT) and not (
            name in had and same(item, had[name], DEPTH_LIMIT)
        ):
            if name not in had or not same(merged[name], had[name], DEPTH_LIMIT):
                rows.append(((place[name],), _row("ours", item, merged[name])[1]))
            merged[name] = item
    for name in had:
        if name not in have and name in merged:
            rows.append(((place[name],), _row("theirs", UNKNOWN, merged[name])[1]))
    return list(merged.values()), rows


def _item_name(item: Any, key: str) -> Any:
    if isinstance(item, dict) and key in item:
        return "named", identity(item[key])
    return "itself", identity(item)

"""Merging two writers: an old patch over what was committed since (``rebase``), and three states (``merge3``).

The push comes later than everything committed, so where nothing else is said it wins (``last``). Every op of the
push is followed through the committed writes:

1. List indexes shift. Of two inserts at one index the committed one comes first. An op goes along with a value
   that a committed op moved.
2. What nobody else touched simply applies.
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


from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    Raises      PatchError when `ops` are no patch, or do not apply to `base`.
    """
    run = _Rebase(policies, UNKNOWN if base is None else base, at, is_owner)
    run.take_committed(committed)
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
            self.writes.append(Write("move", path, in_list, value, source, source_in_list, meta))
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
        if row["winner"] == "both":  # a later op of the push merged the same place again: one row tells it
            rows = [seen for seen in self.conflicts if (seen["path"], seen["winner"]) != (row["path"], "both")]
            self.conflicts = rows
        self.conflicts.append(row)

    def _merge_list(self, rule: Rule, place: Path, after: Any, own: Write) -> bool:
        """Merge the whole list a set or append policy governs; False when that is not what this op is about."""
        governed = place[: rule.depth]
        target, _, hits = trace(governed, False, self.writes)
        if not hits or target is None or self.merged is UNKNOWN:
            return False
        before, ours, theirs = _get(self.ours, governed), _get(after, governed), _get(self.merged, target)
        if not (isinstance(before, list) and isinstance(ours, list) and isinstance(theirs, list)):
            return False
        rows: list[tuple[Path, dict[str, Any]]] = []
        if rule.policy == "set":
            merged = unite(before, ours, theirs)
        else:
            merged, rows = merge_items(before, ours, theirs, rule.key)
        for edit in diff(theirs, merged, depth_max=DEPTH_LIMIT):
            self._emit({**edit, "path": join_pointer(target) + edit["path"]})
        for rest, row in rows:
            self._report(target + rest, rule, hits, row)
        if not same(merged, ours, DEPTH_LIMIT):
            self._report(target, rule, hits, {"winner": "both", "ours": ours, "theirs": theirs})
        in_list = self._is_index(self.ours, governed)
        settled = Write("replace", governed, in_list, merged, meta=hits[-1].write.meta)
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
