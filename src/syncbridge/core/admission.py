"""Judging a change: what a push made on an old state means on the state as it is now.

A push's ops were made in a *context*: the state at its ``base`` with the device's own unanswered pushes on top. What
came between the context and the head decides how the ops are brought over:

========================== ===================================================================================
came between               how
========================== ===================================================================================
nothing                    the ops apply as they are
only the device's own      as they are: its own pushes are its context
only others'               `rebase` over their ops, entry by entry, so that list indexes shift exactly
both                       the same, with the device's unanswered pushes in front (`core.context`)
========================== ===================================================================================

The playhead has rules of its own (`judge_playhead`), because there a stale write does harm that no merge mends:
the person's place is lost. `progress` is taken from the fence holder alone and never goes back; `seek` is a
person's act and wins, unless it is old news; `open` never writes; `finish` ends the session where it stands.
"""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from syncbridge import errors
from syncbridge._ext import apply_measured, apply_patch, equal, rebase, resolve
from syncbridge.core.context import Own, counts_on_guess, is_head, over_to_head, queue_at, sees_head
from syncbridge.core.entry import Conflict, Entry, Intent, Status
from syncbridge.core.ids import JsonObject, Op
from syncbridge.core.log import SessionLog
from syncbridge.core.playhead import KEY, POINTER, Anchor, of_state, parse
from syncbridge.core.session_types import Range, SessionType, touched
from syncbridge.limits import Limits

_POINTER_BELOW = POINTER + "/"
_MISSING = object()


class Change(Struct, frozen=True, gc=False):
    """A change somebody asks for; ``base`` is the version its ops were made on, ``device`` "" for none.

    ``here_since`` is since when (ms) the device has followed without a break; None: it does not follow.
    """

    device: str
    seq: int
    base: int
    ops: list[Op]
    intent: Intent
    at: int | None
    fence: int | None
    here_since: int | None = None


class Verdict(Struct, frozen=True, gc=False):
    """An accepted change: its entry, and the state it leads to.

    ``is_as_made``: it was made on the head, and all but the playhead (whose anchor we may clamp) is committed as sent.
    ``queue`` are the device's pushes that it was made on top of; for `work_of`.
    """

    entry: Entry
    state: JsonObject
    size: int
    is_as_made: bool
    queue: list[Own]


def admit(log: SessionLog, change: Change, kind: SessionType, limits: Limits, now_ms: int) -> Verdict:
    """The entry that ``change`` becomes at the head of ``log``; nothing of ``log`` is touched.

    Raises a `ClientFault` naming why it cannot be: session_ended, base_in_future, base_too_old, context_refused,
    stale_owner, stale_fence, stale_position, playhead_intent, bad_patch, patch_test_failed, state_too_large,
    depth_exceeded, validation_failed.
    """
    _check_standing(log, change, limits)
    ops: list[Op] = change.ops
    conflicts: list[Conflict] = []
    heads = touched(ops)
    moves = [op for op in ops if _moves_playhead(op)] if KEY in heads else []
    if moves or change.intent not in ("edit", "open"):
        ops = [op for op in ops if op not in moves] if moves else ops
        anchor, status, overtaken = judge_playhead(log, change, moves, limits, now_ms)
    else:
        anchor, status, overtaken = None, None, None
    queue: list[Own] = []
    is_on_head = change.base >= log.version or sees_head(log, change.device, change.base)
    if not is_on_head:
        is_owner = bool(change.device) and change.device == log.active
        queue = queue_at(log, change.device, change.base, kind.policies, is_owner=is_owner)
        if counts_on_guess(log, change.base, queue, ops):
            raise errors.ContextRefused(
                "an index counts on pushes that this server has not seen being made, in a list where others wrote;"
                " make it again on what is there now"
            )
        is_on_head = is_head(log, change.base, queue)
    if ops and not (is_on_head and (not kind.may_own(heads) or (change.device == log.active and change.device))):
        made_on = None if is_on_head else queue
        ops, conflicts = _brought_over(log, change, ops, made_on, kind, now_ms)
    is_as_made = is_on_head and not conflicts
    if overtaken is not None:
        conflicts = [*conflicts, overtaken]
    if anchor is not None:
        ops = [*ops, {"op": "replace" if KEY in log.state else "add", "path": POINTER, "value": anchor.as_json()}]
    if ops:
        state, size = apply_measured(
            log.state,
            log.size,
            ops,
            depth_max=limits.state_depth_max,
            size_max=limits.state_bytes_max,
            ops_max=None,
        )
        _check_result(log, state, heads, kind, is_moved=anchor is not None)
    else:
        state, size = log.state, log.size
    if conflicts:
        conflicts = [_signed(row, change) for row in conflicts]
    made_at = change.at if change.at is not None and change.at < now_ms else 0
    entry = Entry(
        version=log.version + 1,
        kind="patch",
        at=now_ms,
        device=change.device,
        seq=change.seq,
        ops=ops,
        intent=change.intent,
        status=status if status != log.status else None,
        conflicts=conflicts or (),
        made_at=made_at,
    )
    return Verdict(entry, state, size, is_as_made, queue)


def _check_standing(log: SessionLog, change: Change, limits: Limits) -> None:
    if log.status == "archived" or (log.status == "completed" and change.intent != "edit"):
        raise errors.SessionEnded(f"the session is {log.status}; start a new one, or edit without moving the playhead")
    if len(change.ops) > limits.ops_max:
        raise errors.PatchError(f"{len(change.ops)} ops; at most {limits.ops_max} in one patch")
    if change.base > log.version:
        raise errors.BaseInFuture(f"base {change.base} does not exist yet; the log ends at {log.version}")
    if change.fence is not None and change.fence != log.fence:
        if change.intent in ("progress", "finish") and change.device != log.active:
            raise errors.StaleOwner
        raise errors.StaleFence(f"fence {change.fence} is not the current one, which is {log.fence}")
    if change.base < log.floor:
        raise errors.BaseTooOld(f"the log reaches back to version {log.floor}, not to {change.base}")


# -- bringing ops over ------------------------------------------------------------------------------------------


def _brought_over(
    log: SessionLog, change: Change, ops: list[Op], queue: list[Own] | None, kind: SessionType, now_ms: int
) -> tuple[list[Op], list[Conflict]]:
    """The ops as they apply to the head; they were made on ``queue`` at the base, or on the head itself (None)."""
    is_owner = bool(change.device) and change.device == log.active
    at = now_ms if change.at is None else min(change.at, now_ms)
    if queue is None:
        brought = rebase(ops, (), kind.policies, base=log.state, at=at, is_owner=is_owner)
        return brought.ops, [dict(row) for row in brought.conflicts]
    return over_to_head(log, change.device, change.base, queue, ops, kind.policies, at=at, is_owner=is_owner)


def _signed(row: Conflict, change: Change) -> Conflict:
    return {**row, "device": change.device, "base": change.base}


# -- the playhead -----------------------------------------------------------------------------------------------


def _moves_playhead(op: Op) -> bool:
    path = op.get("path")
    if type(path) is str and (path == POINTER or path.startswith(_POINTER_BELOW)):
        return op.get("op") != "test"
    if op.get("op") == "move":
        source = op.get("from")
        return type(source) is str and (source == POINTER or source.startswith(_POINTER_BELOW))
    return False


def judge_playhead(
    log: SessionLog, change: Change, moves: list[Op], limits: Limits, now_ms: int
) -> tuple[Anchor | None, Status | None, Conflict | None]:
    """The anchor the change leads to (None: it stays), the session's status then, and a conflict if it lost.

    Raises PlayheadIntent (an `edit` that moves it, or a bad anchor), StaleOwner, StalePosition.
    """
    intent = change.intent
    if intent == "edit":
        raise errors.PlayheadIntent("an edit does not move the playhead: use intent `seek`, or `progress`")
    current = of_state(log.state, rate_max=limits.rate_max)
    if intent in ("progress", "finish"):
        _check_ownership(log, change)
    if moves:
        wanted = _wanted(log, change, moves, limits)
        at = min(wanted.at, now_ms) if wanted.at else now_ms
        if intent == "seek" or current is None:
            # Nobody played a session before it was made: a clock that says so was never set.
            at = max(at, log.created_at)
        wanted = Anchor(wanted.position, wanted.rate, at, wanted.duration)
        if wanted.duration is None and current is not None and current.duration is not None:
            wanted = Anchor(wanted.position, wanted.rate, at, current.duration)
    elif intent == "finish":
        if current is None:
            return None, "completed", None
        wanted = current.re_anchored(now_ms, rate=0.0)
    else:
        return None, None, None
    if intent == "seek":
        if current is not None and _is_old_news(log, change, wanted, current, limits, now_ms):
            row: Conflict = {
                "path": POINTER,
                "policy": "playhead",
                "winner": "theirs",
                "ours": wanted.as_json(),
                "theirs": current.as_json(),
                "theirs_version": log.playhead_version,
            }
            return None, None, row
        return wanted, _status_for(wanted), None
    if current is not None:
        wanted = _forward(log, change, wanted, current, limits)
    if intent == "finish":
        return Anchor(wanted.position, 0.0, wanted.at, wanted.duration), "completed", None
    return wanted, _status_for(wanted), None


def _status_for(anchor: Anchor) -> Status:
    return "active" if anchor.rate > 0 else "paused"


def _check_ownership(log: SessionLog, change: Change) -> None:
    if not change.device or change.device != log.active:
        holder = "no device is active; take the session first" if log.active is None else "another device is active"
        raise errors.StaleOwner(f"{change.intent} is taken from the active device alone: {holder}")
    if change.base < log.fence_version:
        raise errors.StaleOwner("this was reported before the device became the active one (again)")


def _wanted(log: SessionLog, change: Change, moves: list[Op], limits: Limits) -> Anchor:
    last = moves[-1]
    if last.get("path") == POINTER and last["op"] in ("add", "replace"):
        value = last.get("value")
    else:
        there = log.state_at(change.base).get(KEY, _MISSING)
        document = {} if there is _MISSING else {KEY: there}
        value = cast(JsonObject, apply_patch(document, moves)).get(KEY)
    anchor = parse(value, rate_max=limits.rate_max)
    if not isinstance(anchor, Anchor):
        raise errors.PlayheadIntent(anchor)
    return anchor


def _is_old_news(log: SessionLog, change: Change, wanted: Anchor, current: Anchor, limits: Limits, now_ms: int) -> bool:
    """A seek made long ago (offline), in ignorance of a playhead that moved after it was made."""
    if change.base >= log.playhead_version:
        return False
    made_at = now_ms if change.at is None else min(change.at, now_ms)
    made_at = min(made_at, wanted.at)
    if now_ms - made_at <= limits.seek_fresh_ms or made_at >= current.at:
        return False
    since = log.after(change.base)
    return any(
        not (entry.seq and entry.device == change.device) and any(_moves_playhead(op) for op in entry.ops)
        for entry in since
    )


def _forward(log: SessionLog, change: Change, wanted: Anchor, current: Anchor, limits: Limits) -> Anchor:
    if change.base < log.seek_version and log.seek_device != change.device:
        raise errors.StalePosition("a person moved the playhead after this was reported")
    if wanted.at < current.at:
        raise errors.StalePosition(
            f"reported for server time {wanted.at}, but the playhead is known as of {current.at}"
        )
    reckoned = current.position_at(_credible_until(log, change, current, wanted.at))
    if reckoned - wanted.position > limits.stall_ms_max / 1000:
        raise errors.StalePosition(
            f"position {wanted.position:g} s lies too far before {reckoned:g} s, which this device had played to;"
            " only a seek goes back"
        )
    if wanted.position >= current.position:
        return wanted
    if current.position - wanted.position > limits.progress_slack_ms / 1000:
        raise errors.StalePosition(
            f"position {wanted.position:g} s lies before the known {current.position:g} s; only a seek goes back"
        )
    # Within a player's own jitter: what is known is not lowered, and the player is not scolded.
    return Anchor(current.position, wanted.rate, wanted.at, wanted.duration)


def _credible_until(log: SessionLog, change: Change, current: Anchor, at: int) -> int:
    """Up to when the reckoned playhead is believed: as long as its device was there to contradict it.

    Of one that was away nobody knows what it played: a phone whose battery died did not play for ten hours.
    """
    if change.here_since is not None and change.here_since <= current.at:
        return at
    return min(at, max(current.at, log.heard.get(change.device, 0)))


# -- the result -------------------------------------------------------------------------------------------------


def _check_result(log: SessionLog, state: JsonObject, heads: set[str], kind: SessionType, *, is_moved: bool) -> None:
    if type(state) is not dict:
        raise errors.PatchError("the state is an object; the patch makes it something else", pointer="")
    if not is_moved and state.get(KEY) is not log.state.get(KEY) and not equal(state.get(KEY), log.state.get(KEY)):
        raise errors.PlayheadIntent("an edit does not move the playhead: use intent `seek`, or `progress`")
    for head, bounds in kind.ranges.items():
        if head in heads or "" in heads:
            for bound in bounds:
                _check_range(log, state, bound, kind)


def _check_range(log: SessionLog, state: JsonObject, bound: Range, kind: SessionType) -> None:
    number = resolve(state, bound.pointer, None)
    if number is None or number is resolve(log.state, bound.pointer, None):
        return
    if type(number) not in (int, float) or not bound.least <= number <= bound.most:
        raise errors.ValidationFailed(
            f"{bound.pointer} is a number from {bound.least:g} to {bound.most:g} in a {kind.name} session"
        )
