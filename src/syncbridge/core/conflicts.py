"""Taking a conflict back: where its place is by now, what stands there, and the ops that bring the lost value back.

A row names its place as it was when the push was merged. What came since is followed op by op (`rebase`), so that
the value comes back to the same list item, not to the same index; where that is too much, the item is known by its id,
or as the only one of its value. Then what stands there decides:

============================= =================================================================================
there stands                  undoing it
============================= =================================================================================
what won                      the chosen value takes its place
the chosen value already      nothing is written; the conflict counts as taken back
anything else                 refused (`conflict_moved_on`), unless the caller has seen it: it is newer
no place (list item removed)  refused (`conflict_place_gone`): the value has nowhere to go
============================= =================================================================================

Three kinds of places differ. A *counter* is never overwritten: the difference between the value chosen and what the
merge came to is added to what it is now. An *item that was removed* from a list while another device edited it comes
back whole, beside what is there. The *playhead* is sought to where the lost anchor was, from now on and at the rate of
now: a clock that ran then does not run on.

What is replaced is listed in the undoing entry's own row, so an undo can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from msgspec import Struct

from syncbridge import errors
from syncbridge._ext import Committed, apply_patch, diff, equal, join_pointer, rebase, resolve, split_pointer
from syncbridge.core.entry import Conflict, Entry, Side, Undoing
from syncbridge.core.ids import Json, JsonObject, Op
from syncbridge.core.playhead import POINTER, Anchor, of_state, parse
from syncbridge.limits import INTEGER_SAFE_MAX

MISSING: Any = object()
"""No value: the side removed it, or nothing stands there."""
_MARK = "\0the value that comes back\0"
"""Written by nobody (a NUL is refused at the door): follows a place through what came since."""


class PastConflict(Struct, frozen=True):
    """A row of the log and what it takes to undo it: the entry, the state before it, and what came since.

    ``since`` are the entries after it up to version ``head``, or None where they are too many to be followed one by
    one: then what leads from the state after it to the state of now is followed. ``undoings`` are all entries up to
    ``head`` that took something back, oldest first.
    """

    epoch: str
    index: int
    before: JsonObject
    entry: Entry
    head: int
    since: list[Entry] | None
    undoings: list[tuple[int, Undoing]]

    @property
    def row(self) -> Conflict:
        """The conflict itself."""
        return self.entry.conflicts[self.index]


class Return(NamedTuple):
    """How a value comes back: ``ops`` write it, ``row`` says what they replace (None: nothing to do).

    ``has_moved_on``: at ``path`` stands ``present``, which is newer than the conflict.
    """

    ops: list[Op]
    row: Conflict | None
    path: str
    present: Json
    has_moved_on: bool = False


class _Place(NamedTuple):
    """Where the value goes in ``frame``, a state of the past; ``after`` are the ops of the same entry that follow it.

    ``standing`` is what stands there, ``wanted`` what shall. ``is_inserted``: a list item comes back beside others.
    """

    path: str
    frame: JsonObject
    after: list[Op]
    standing: Json
    wanted: Json
    is_inserted: bool = False


def loser(row: Conflict) -> Side | None:
    """The side whose value does not stand; None where both were merged."""
    winner = row.get("winner")
    if winner == "both":
        return None
    return "theirs" if winner == "ours" else "ours"


def value_of(row: Conflict, side: Side) -> Json:
    """What the side wanted there; MISSING where it removed."""
    return row.get(side, MISSING)


def standing_undo(undoings: Sequence[tuple[int, Undoing]], version: int, index: int) -> tuple[int, Undoing] | None:
    """The entry that took the conflict back, with its version; None where none did, or that was taken back itself."""
    latest = {(undoing.version, undoing.index): (at, undoing) for at, undoing in undoings}
    first = found = latest.get((version, index))
    count = 0
    while found is not None:
        count += 1
        found = latest.get((found[0], 0))
    return first if count % 2 else None


def undoings_in(entries: Iterable[Entry]) -> list[tuple[int, Undoing]]:
    """Those of the entries that took something back, with their versions."""
    return [(entry.version, entry.undoes) for entry in entries if entry.undoes is not None]


def way_back(
    past: PastConflict,
    since: list[Entry] | None,
    state: JsonObject,
    chosen: Side,
    *,
    already: Side | None = None,
    now_ms: int,
    rate_max: float = 4.0,
) -> Return:
    """How the ``chosen`` value comes back into ``state``; ``since``: the entries between, None as in `PastConflict`.

    ``already`` is the side that an undo chose before: then its value is what is left behind, not the winner's.
    Raises ConflictPlaceGone, ValidationFailed.
    """
    row = past.row
    if row.get("path") == POINTER and row.get("policy") == "playhead":
        return _seek_back(past, state, chosen, now_ms, rate_max)
    place = _place(past, chosen)
    path = _now(place, past, since, state)
    present = MISSING if place.is_inserted else resolve(state, path, MISSING)
    wanted = place.wanted
    standing = place.standing if already is None else value_of(row, already)
    has_moved_on = not place.is_inserted and not _same(present, standing)
    if row.get("policy") == "counter" and _are_numbers(present, standing, wanted):
        wanted, has_moved_on = _counted(present + (wanted - standing)), False
    if _same(present, wanted):
        return Return([], None, path, present)
    if wanted is MISSING:
        op: Op = {"op": "remove", "path": path}
    else:
        op = {"op": "add" if present is MISSING else "replace", "path": path, "value": wanted}
    is_winners = not has_moved_on and already is None
    return Return([op], _row(past, path, wanted, present, is_winners=is_winners), path, present, has_moved_on)


def _row(past: PastConflict, path: str, wanted: Json, present: Json, *, is_winners: bool) -> Conflict:
    """What is replaced; by whom it was written is said where that is the winner of the conflict itself."""
    row, made = past.row, Conflict(path=path, policy=past.row.get("policy", "last"), winner="ours")
    if wanted is not MISSING:
        made["ours"] = wanted
    if present is not MISSING:
        made["theirs"] = present
    if not is_winners:
        return made
    if row.get("winner") in ("ours", "both"):
        made["theirs_version"], made["theirs_device"] = past.entry.version, past.entry.device
    else:
        made.update({name: row[name] for name in ("theirs_version", "theirs_device") if name in row})
    return made


# -- where it was -----------------------------------------------------------------------------------------------


def _place(past: PastConflict, chosen: Side) -> _Place:
    row, entry = past.row, past.entry
    path = str(row.get("path", ""))
    if not path:
        raise errors.ConflictPlaceGone("the conflict was about the whole state; restore a version of it instead")
    wanted = value_of(row, chosen)
    if row.get("winner") in ("ours", "both"):
        for index in range(len(entry.ops) - 1, -1, -1):
            op = entry.ops[index]
            if op["op"] in ("add", "replace", "remove") and (path + "/").startswith(op["path"] + "/"):
                frame = _apply(past.before, entry.ops[:index])
                return _written(frame, op, entry.ops[index + 1 :], path, wanted)
    frame = _apply(past.before, entry.ops)
    if row.get("winner") == "both":
        return _Place(path, frame, [], _known(frame, path), wanted)
    standing = value_of(row, "theirs" if loser(row) == "ours" else "ours")
    if standing is MISSING:
        return _removed(frame, path, wanted)
    if not _same(resolve(frame, path, MISSING), standing) and _goes_through_list(frame, path):
        # A later op of the same push moved it, or wrote over it: at this index lies something else.
        raise errors.ConflictPlaceGone
    return _Place(path, frame, [], standing, wanted)


def _written(before: JsonObject, op: Op, after: list[Op], path: str, wanted: Json) -> _Place:
    """The place is in what this op of the push wrote or removed."""
    target = str(op["path"])
    frame = _apply(before, [op])
    if op["op"] == "remove" and _is_item(before, target):
        item = resolve(before, target)
        if wanted is not MISSING and path != target:
            item = _put(item, path[len(target) :], wanted)
        elif wanted is not MISSING:
            item = wanted
        return _Place(target, frame, after, MISSING, item, is_inserted=True)
    standing = resolve(frame, path, MISSING)
    if standing is not MISSING:
        return _Place(path, frame, after, standing, wanted)
    # A member that is gone with what held it comes back with the deepest of them that is missing.
    tokens = split_pointer(path)
    for depth in range(1, len(tokens) + 1):
        pointer = join_pointer(tokens[:depth])
        if resolve(frame, pointer, MISSING) is MISSING:
            if type(resolve(frame, join_pointer(tokens[: depth - 1]))) is not dict:
                break
            if depth < len(tokens):
                wanted = _put(resolve(before, pointer, {}), join_pointer(tokens[depth:]), wanted)
            return _Place(pointer, frame, after, MISSING, wanted)
    raise errors.ConflictPlaceGone


def _removed(frame: JsonObject, path: str, wanted: Json) -> _Place:
    """Theirs had removed it, so nothing of it stands: what is at this pointer, if anything, is something else."""
    tokens = split_pointer(path)
    parent = resolve(frame, join_pointer(tokens[:-1]), MISSING)
    if _goes_through_list(frame, join_pointer(tokens[:-1])):
        raise errors.ConflictPlaceGone("the list item that held the value was removed; write it where it belongs now")
    if type(parent) is list and wanted is not MISSING:
        last = min(int(tokens[-1]), len(parent)) if tokens[-1].isdigit() else len(parent)
        return _Place(join_pointer([*tokens[:-1], last]), frame, [], MISSING, wanted, is_inserted=True)
    if type(parent) is not dict:
        raise errors.ConflictPlaceGone
    return _Place(path, frame, [], MISSING, wanted)


def _put(value: Json, rest: str, wanted: Json) -> Json:
    """`value` with `wanted` at the pointer `rest` inside. Raises ConflictPlaceGone where it does not go there."""
    if wanted is MISSING:
        return value
    try:
        return apply_patch({"value": value}, [{"op": "add", "path": f"/value{rest}", "value": wanted}])["value"]
    except errors.PatchError:
        raise errors.ConflictPlaceGone from None


# -- where it is ------------------------------------------------------------------------------------------------


def _now(place: _Place, past: PastConflict, since: list[Entry] | None, state: JsonObject) -> str:
    """The place in `state`. Raises ConflictPlaceGone."""
    if since is None and _goes_through_list(place.frame, place.path):
        return _among_items(place, state)
    committed: list[list[Op] | Committed] = [place.after]
    if since is None:
        committed = [diff(place.frame, state)]
    else:
        committed += [entry.ops for entry in since if entry.ops]
    kind = "add" if place.is_inserted or place.standing is MISSING else "replace"
    marked: list[Op] = [{"op": kind, "path": place.path, "value": _MARK}]
    try:
        carried = rebase(marked, committed, None, base=place.frame).ops
    except errors.PatchError:
        raise errors.ConflictPlaceGone from None
    if len(carried) != 1:
        raise errors.ConflictPlaceGone
    return str(carried[0]["path"])


def _among_items(place: _Place, state: JsonObject) -> str:
    """The same by the two states alone: each list item on the way is the one that is known to be it, or it is gone.

    What leads from one state to the other tells where the items may have gone, not where they went.
    """
    there: Json = place.frame
    now: Json = state
    tokens = split_pointer(place.path)
    for depth, token in enumerate(tokens):
        if type(now) is not type(there):
            raise errors.ConflictPlaceGone
        is_last = depth == len(tokens) - 1
        if type(there) is not list:
            there, now = there.get(token, MISSING), now.get(token, MISSING)
        elif is_last and place.is_inserted:
            tokens[depth] = str(min(int(token), len(now)))
        else:
            there = there[int(token)]
            index = _index_of(there, now)
            tokens[depth], now = str(index), now[index]
    return join_pointer(tokens)


def _index_of(item: Json, items: list[Json]) -> int:
    """Where it is: by its id, or as the only one of its value. Raises ConflictPlaceGone."""

    def is_it(other: Json) -> bool:
        if type(item) is dict and type(other) is dict and "id" in item:
            return "id" in other and equal(item["id"], other["id"])
        return equal(item, other)

    found = [index for index, other in enumerate(items) if is_it(other)]
    if len(found) != 1:
        raise errors.ConflictPlaceGone
    return found[0]


def _known(frame: JsonObject, path: str) -> Json:
    value = resolve(frame, path, MISSING)
    if value is MISSING:
        raise errors.ConflictPlaceGone
    return value


def _apply(state: JsonObject, ops: list[Op]) -> JsonObject:
    return cast(JsonObject, apply_patch(state, ops)) if ops else state


def _is_item(state: JsonObject, path: str) -> bool:
    return type(resolve(state, join_pointer(split_pointer(path)[:-1]), MISSING)) is list


def _goes_through_list(state: JsonObject, path: str) -> bool:
    """Whether any token of `path` is an index."""
    tokens = split_pointer(path)
    return any(type(resolve(state, join_pointer(tokens[:depth]), MISSING)) is list for depth in range(len(tokens)))


def _same(one: Json, other: Json) -> bool:
    if one is MISSING or other is MISSING:
        return one is other
    return equal(one, other)


def _are_numbers(*values: Json) -> bool:
    return all(type(value) in (int, float) for value in values)


def _counted(total: float) -> float:
    if abs(total) > INTEGER_SAFE_MAX:
        raise errors.ValidationFailed("the counter would leave the numbers that every device can hold")
    return total


# -- the playhead -----------------------------------------------------------------------------------------------


def _seek_back(past: PastConflict, state: JsonObject, chosen: Side, now_ms: int, rate_max: float) -> Return:
    lost = parse(value_of(past.row, chosen), rate_max=rate_max)
    current = of_state(state, rate_max=rate_max)
    if not isinstance(lost, Anchor):
        raise errors.ConflictPlaceGone("the conflict holds no playhead to seek to")
    stood = resolve(_apply(past.before, past.entry.ops), POINTER, MISSING)
    present = resolve(state, POINTER, MISSING)
    sought = Anchor(
        lost.position,
        current.rate if current is not None else 0.0,
        now_ms,
        lost.duration if current is None else current.duration,
    ).as_json()
    op: Op = {"op": "add" if present is MISSING else "replace", "path": POINTER, "value": sought}
    row: Conflict = {"path": POINTER, "policy": "playhead", "winner": "ours", "ours": sought}
    if current is not None:
        # Where it stands at this moment: that is what an undo of this seeks back to.
        row["theirs"] = current.re_anchored(now_ms).as_json()
    return Return([op], row, POINTER, present, has_moved_on=not _same(present, stood))
