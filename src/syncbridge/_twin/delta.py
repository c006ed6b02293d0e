"""JSON Patch (RFC 6902) and merge patch (RFC 7396): make one, apply one.

Values are immutable here: nothing given is changed, and results share with what was given.
"""

from __future__ import annotations

from typing import Any

from syncbridge._twin.pointer import existing_index, index_of, inserting_index, join_pointer, split_pointer, step
from syncbridge._twin.values import DEPTH_MAX, depth_allowed, length, same, too_deep
from syncbridge.errors import PatchError, PatchTestFailed, StateTooLarge

Op = dict[str, Any]

ALIGN_LISTS_MAX = 8  # lists inside this many lists are compared place by place, which keeps the cost linear
WINDOW = 64  # how far an item is searched for after a mismatch
SEARCHES_MAX = 8  # searches that may fail before the rest of a list is compared place by place


# -- diff ----------------------------------------------------------------------------------------------------------


def diff(a: Any, b: Any, /, *, depth_max: int = DEPTH_MAX) -> list[Op]:
    """Ops that turn `a` into `b`; empty when they are equal.

    Shape    RFC 6902 add, remove and replace; values are those of `b`, not copies.
    Order    members in the order of `a`, then those only `b` has; items from low to high, of several removed
             side by side the highest first.
    Lists    one run of items appended, inserted or deleted, or one item changed, costs just that; further
             edits are found when items reappear within a window. Two objects whose ``id`` differ are two items.
    Kinds    true, 1 and 1.0 differ.
    Cost     a bounded number of looks at each node; allocates for changed paths only.
    Raises   DepthExceeded.
    Law      apply_patch(a, diff(a, b)) equals b
    """
    ops: list[Op] = []
    _diff(a, b, "", depth_allowed(depth_max), 0, ops)
    return ops


def _diff(a: Any, b: Any, path: str, depth_left: int, lists: int, ops: list[Op]) -> None:
    if a is b:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        if depth_left <= 0:
            raise too_deep()
        for key in a:
            here = path + join_pointer([_name(key)])
            if key in b:
                _diff(a[key], b[key], here, depth_left - 1, lists, ops)
            else:
                ops.append({"op": "remove", "path": here})
        ops.extend(
            {"op": "add", "path": path + join_pointer([_name(key)]), "value": b[key]} for key in b if key not in a
        )
    elif isinstance(a, list) and isinstance(b, list):
        if depth_left <= 0:
            raise too_deep()
        _diff_lists(a, b, path, depth_left - 1, lists + 1, ops)
    elif not same(a, b, depth_left):
        ops.append({"op": "replace", "path": path, "value": b})


def _name(key: Any) -> str:
    if type(key) is not str:
        raise PatchError("a member name is not a string")
    return key


def _diff_lists(a: list[Any], b: list[Any], path: str, depth_left: int, lists: int, ops: list[Op]) -> None:
    def gap(i: int, j: int, removed: int, added: int) -> None:
        """`removed` items of a from i become `added` items of b from j; all before b[j] is in place."""
        pairs = min(removed, added)
        for k in range(pairs):
            x, y, here = a[i + k], b[j + k], f"{path}/{j + k}"
            if _are_two_items(x, y):
                ops.append({"op": "replace", "path": here, "value": y})
            else:
                _diff(x, y, here, depth_left, lists, ops)
        ops.extend({"op": "remove", "path": f"{path}/{j + k}"} for k in range(removed - 1, pairs - 1, -1))
        ops.extend({"op": "add", "path": f"{path}/{j + k}", "value": b[j + k]} for k in range(pairs, added))

    if lists > ALIGN_LISTS_MAX:
        gap(0, 0, len(a), len(b))
        return
    start, shorter = 0, min(len(a), len(b))
    while start < shorter and same(a[start], b[start], depth_left):
        start += 1
    end = 0
    while end < shorter - start and same(a[-1 - end], b[-1 - end], depth_left):
        end += 1
    a_end, b_end = len(a) - end, len(b) - end
    i = j = start
    searches_left = SEARCHES_MAX
    while i < a_end and j < b_end:
        if same(a[i], b[j], depth_left):
            i, j = i + 1, j + 1
            continue
        removed = added = 0
        if searches_left:
            removed, added = _resync(a, b, i, j, a_end, b_end, depth_left)
        if not removed and not added:
            searches_left -= searches_left > 0
            removed = added = 1
        gap(i, j, removed, added)
        i, j = i + removed, j + added
    gap(i, j, a_end - i, b_end - j)


def _are_two_items(x: Any, y: Any) -> bool:
    if not isinstance(x, dict) or not isinstance(y, dict) or "id" not in x or "id" not in y:
        return False
    return not same(x["id"], y["id"], DEPTH_MAX)


def _resync(a: list[Any], b: list[Any], i: int, j: int, a_end: int, b_end: int, depth_left: int) -> tuple[int, int]:
    """The nearest (removed, added) after which items match again; (0, 0) when none within the window."""
    longer = (b_end - j) - (a_end - i)
    for k in range(1, WINDOW + 1):
        if i + k >= a_end and j + k >= b_end:
            break
        if longer == 0 and i + k < a_end and same(a[i + k], b[j + k], depth_left):
            return k, k
        if j + k < b_end and same(a[i], b[j + k], depth_left):
            return 0, k
        if i + k < a_end and same(a[i + k], b[j], depth_left):
            return k, 0
        if longer != 0 and i + k < a_end and j + k < b_end and same(a[i + k], b[j + k], depth_left):
            return k, k
    return 0, 0


# -- apply ---------------------------------------------------------------------------------------------------------


def apply_patch(
    doc: Any, ops: list[Op], /, *, depth_max: int = DEPTH_MAX, ops_max: int | None = None, size_max: int | None = None
) -> Any:
    """`doc` after all of `ops`, or an error and nothing changed.

    Sharing   path copying: `doc` and every op stay valid; what did not change is shared with them.
    Size      with `size_max`, every intermediate state is judged too, before it is built.
    Root      can be replaced, added over and tested, not removed.
    Raises    PatchError (index, pointer, reason), PatchTestFailed, DepthExceeded, StateTooLarge.
    """
    if size_max is None:
        return _apply(doc, 0, ops, depth_allowed(depth_max), ops_max, None)[0]
    return _apply(doc, length(doc, depth_allowed(depth_max)), ops, depth_max, ops_max, size_max)[0]


def apply_measured(
    doc: Any, size: int, ops: list[Op], /, *, depth_max: int = DEPTH_MAX, size_max: int, ops_max: int | None = None
) -> tuple[Any, int]:
    """As `apply_patch`, and the new state's length: `size` is ``measure(doc)``, kept at the cost of the patch."""
    return _apply(doc, size, ops, depth_allowed(depth_max), ops_max, size_max)


def _apply(
    doc: Any, size: int, ops: list[Op], depth_max: int, ops_max: int | None, size_max: int | None
) -> tuple[Any, int]:
    if not isinstance(ops, list):
        raise PatchError("a patch is an array of operations")
    if ops_max is not None and len(ops) > ops_max:
        raise PatchError(f"a patch has at most {ops_max} operations, this one has {len(ops)}")
    for index, op in enumerate(ops):
        try:
            after = _apply_one(doc, op, depth_max)
            if size_max is not None:
                size += length(after, depth_max) - length(doc, depth_max)
        except PatchError as error:
            raise type(error)(error.reason, index, error.pointer) from None
        if size_max is not None and op["op"] != "test" and size > size_max:
            raise StateTooLarge(f"op {index}: the state would have {size} bytes, the limit is {size_max}")
        doc = after
    return doc, size


def _field(op: Op, name: str) -> str:
    value = op.get(name)
    if type(value) is not str:
        raise PatchError(f"'{name}' is missing or not a string")
    return value


def _apply_one(doc: Any, op: Op, depth_max: int) -> Any:
    if not isinstance(op, dict):
        raise PatchError("an operation is an object")
    name, path = _field(op, "op"), _field(op, "path")
    if name not in ("add", "remove", "replace", "move", "copy", "test"):
        raise PatchError("'op' is none of add, remove, replace, move, copy, test")
    if name in ("add", "replace", "test") and "value" not in op:
        raise PatchError("'value' is missing", None, path)
    tokens = split_pointer(path)
    if name == "test":
        return _test(doc, tokens, path, op["value"], depth_max)
    if name == "remove":
        return _put(doc, tokens, path, "remove", None)
    if name in ("add", "replace"):
        after = _put(doc, tokens, path, name, op["value"])
        length(op["value"], depth_max - len(tokens))
        return after
    source = _field(op, "from")
    source_tokens = split_pointer(source)
    value = doc
    for token in source_tokens:
        value = step(value, token, source)
    if name == "copy":
        after = _put(doc, tokens, path, "add", value)
    else:
        if source_tokens == tokens:
            return doc
        if tokens[: len(source_tokens)] == source_tokens:
            raise PatchError("a value cannot be moved into itself", None, path)
        after = _put(_put(doc, source_tokens, source, "remove", None), tokens, path, "add", value)
    length(value, depth_max - len(tokens))
    return after


def _test(doc: Any, tokens: list[str], path: str, expected: Any, depth_max: int) -> Any:
    value = doc
    for token in tokens:
        try:
            value = step(value, token, path)
        except PatchError as error:
            raise PatchTestFailed(error.reason, None, path) from None
    if not same(value, expected, depth_max):
        raise PatchTestFailed("the value is another one", None, path)
    return doc


def _put(doc: Any, tokens: list[str], path: str, how: str, value: Any) -> Any:
    """`doc` with the place named by `tokens` added, replaced or removed; containers on the way are copied."""
    if not tokens:
        if how == "remove":
            raise PatchError("the whole document cannot be removed", None, path)
        return value
    token, rest = tokens[0], tokens[1:]
    if rest:
        child = _put(step(doc, token, path), rest, path, how, value)
        if isinstance(doc, dict):
            return {**doc, token: child}
        index = index_of(token)
        return [*doc[:index], child, *doc[index + 1 :]]
    if isinstance(doc, dict):
        if how != "add":
            step(doc, token, path)
        if how == "remove":
            return {key: item for key, item in doc.items() if key != token}
        return {**doc, token: value}
    if isinstance(doc, list):
        if how == "add":
            index = inserting_index(token, len(doc), path)
            return [*doc[:index], value, *doc[index:]]
        index = existing_index(token, len(doc), path)
        return [*doc[:index], *([] if how == "remove" else [value]), *doc[index + 1 :]]
    raise PatchError("the pointer goes through a value that is neither object nor array", None, path)


def merge_patch(doc: Any, patch: Any, /, *, depth_max: int = DEPTH_MAX) -> Any:
    """`doc` after an RFC 7396 merge patch; both stay valid. Raises DepthExceeded."""
    return _merge_patch(doc, patch, depth_allowed(depth_max))


def _merge_patch(doc: Any, patch: Any, depth_left: int) -> Any:
    if not isinstance(patch, dict):
        length(patch, depth_left)
        return patch
    if depth_left <= 0:
        raise too_deep()
    merged = dict(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_patch(merged.get(key), value, depth_left - 1)
    return merged
