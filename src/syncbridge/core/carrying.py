"""A device's queue over what others commit below it: one rule, for the device that shows it and for the service.

A device writes on without waiting. Its unanswered pushes are a queue: the first is made on the confirmed state, each
other one on top of those before it. When somebody else's change is committed below them, the first push has to come
over that change, the second over what the change looks like on top of the first, and so on. Jupiter carries the change
along the queue in this way (Nichols, Curtis, Dixon, Lamping: "High-latency, low-bandwidth windowing in the Jupiter
collaboration system", UIST 1995); Google Wave, ShareJS and ot.js call what is carried the *bridge*.

`rebase` does just that within a patch: what leads from the pusher's state to the committed one goes over each of the
patch's ops, with all that follows from the policies, before it meets the next op. So a queue is rebased as one patch,
its seams marked, and taken apart again.

The difference of two states in the bridge's place would lead to the same state, but not by the same way: it cannot tell
an item that was inserted before another from items that were changed, and an index goes astray by that. Device and
service have to go the same way, for what the device shows is what its next push is made on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from syncbridge._ext import Committed, Rebased, rebase
from syncbridge.core.ids import JsonObject, Op

_MARK: Final = object()
_SEAM: Final[Op] = {"op": "test", "path": "/seam", "value": _MARK}
"""A `test` comes through `rebase` whatever it meets, in its place. It is known again by its value."""


def rebase_each(
    queue: Sequence[list[Op]],
    committed: Sequence[list[Op] | Committed],
    policies: dict[str, Any] | None,
    *,
    base: JsonObject,
    at: int | None = None,
    is_owner: bool = True,
) -> list[Rebased]:
    """Each patch of ``queue``, the first made on ``base`` and each other on top of those before it, over ``committed``.

    Shape    one answer a patch, in step; what `rebase` says of its ``at`` and ``is_owner`` is said of every patch.
    Raises   PatchError, as `rebase` of all of them in one.
    Cost     one `rebase` of all ops; where there were conflicts, a few more to tell whose they are.
    """
    if len(queue) == 1:
        return [rebase(queue[0], committed, policies, base=base, at=at, is_owner=is_owner)]
    joint: list[Op] = []
    ends = [0]
    for ops in queue:
        joint += ops
        joint.append(_SEAM)
        ends.append(len(joint))

    def rows_of_first(count: int) -> list[Any]:
        return rebase(joint[: ends[count]], committed, policies, base=base, at=at, is_owner=is_owner).conflicts

    whole = rebase(joint, committed, policies, base=base, at=at, is_owner=is_owner)
    each = [Rebased([], []) for _ in queue]
    index = 0
    for op in whole.ops:
        if op.get("value") is _MARK:
            index += 1
        else:
            each[index].ops.append(op)
    # Whose a row is, nobody says: it is there from its patch on. Halves in which nothing is added are left aside.
    spans = [(0, len(queue), list[Any](), whole.conflicts)] if whole.conflicts else []
    while spans:
        first, end, before, after = spans.pop()
        if end - first == 1:
            each[first].conflicts.extend(row for row in after if row not in before)
            continue
        middle = (first + end) // 2
        rows = rows_of_first(middle)
        if rows != before:
            spans.append((first, middle, before, rows))
        if rows != after:
            spans.append((middle, end, rows, after))
    return each
