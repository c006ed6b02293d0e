"""What becomes of one write of the push that met committed writes: the policies, place by place."""

from __future__ import annotations

from typing import Any, NamedTuple

from syncbridge._twin.policies import Rule
from syncbridge._twin.trace import UNKNOWN, Hit, Path, Write
from syncbridge._twin.values import DEPTH_LIMIT, INTEGER_MAX, same

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
    counts = bool(over) and is_known and own.kind != "remove" and _counts(rule, before, ours, current)
    if own.kind != "remove" and current is not UNKNOWN and same(ours, current, DEPTH_LIMIT) and not counts:
        return Decision(None)
    winner = _later_loses(rule, hits, at)
    if not over:
        return _lost(winner, ours, current) if winner else _over_edits(own, hits)
    if not is_known:
        current, parent = _told(over[-1], target, current)
    is_anew = any(hit.touch == "above" for hit in over)
    if is_anew if own.in_list else target and not isinstance(parent, dict):
        # an index into a list that theirs wrote anew means nothing; nor does a member of what is no object now
        return Decision(None) if own.kind == "remove" else _lost("theirs", ours, current)
    if own.kind == "remove":
        if current is UNKNOWN and (is_known or over[-1].write.kind == "remove"):
            return Decision(None)
        return _lost(winner, ours, current) if winner else Decision("remove", rows=(_row("ours", ours, current),))
    if current is not UNKNOWN and same(ours, current, DEPTH_LIMIT) and not counts:
        return Decision(None)
    if winner:
        return _lost(winner, ours, current)
    kind = own.kind if own.in_list else "add" if current is UNKNOWN else "replace"
    if not target:
        kind = "replace"
    if _is_number(ours) and _is_number(current):
        if (rule.policy == "max" and current >= ours) or (rule.policy == "min" and current <= ours):
            return _lost("theirs", ours, current)
        before = 0 if before is UNKNOWN else before  # both sides began to count: from nothing
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


def _counts(rule: Rule, before: Any, ours: Any, current: Any) -> bool:
    """Whether ours adds to a counter: that both came to one number does not say that one of them is enough."""
    if rule.policy != "counter" or not _is_number(ours) or not _is_number(current):
        return False
    return before is UNKNOWN or (_is_number(before) and before != ours)


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


def merge_items(before: list[Any], ours: list[Any], theirs: list[Any], key: str) -> tuple[list[Any], list[Row]]:
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
        elif not same(item, merged[name], DEPTH_LIMIT) and not (name in had and same(item, had[name], DEPTH_LIMIT)):
            if name not in had or not same(merged[name], had[name], DEPTH_LIMIT):
                rows.append(((place[name],), _row("ours", item, merged[name])[1]))
            merged[name] = item
    kept = [name for name in had if name not in have and name in merged]
    rows += [((place[name],), _row("theirs", UNKNOWN, merged[name])[1]) for name in kept]
    return list(merged.values()), rows


def _item_name(item: Any, key: str) -> Any:
    if isinstance(item, dict) and key in item:
        return "named", identity(item[key])
    return "itself", identity(item)
