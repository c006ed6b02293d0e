# What becomes of a write of the push that met committed writes: the policies, place by place. Part of merge.pyx.
# `syncbridge._twin.decide` says the same in plain Python.


cdef int decide(
    _Rebase run, _Write own, tuple target, tuple last_place, list hits, tuple rule
) except -1:
    """What becomes of `own`, which lands at `target` (None: its list item is gone) where `hits` met it."""
    cdef object ours = own.value, current = UNKNOWN, parent = UNKNOWN, total
    cdef str policy = <str>rule[0], winner, kind
    cdef _Hit last = None
    cdef _Hit one
    cdef bint is_anew = False, is_below = False, is_told, is_count, is_removal = own.kind == "remove"
    for one in hits:
        is_below = one.touch == BELOW
        if not is_below:
            last = one
            is_anew = is_anew or one.touch == ABOVE
    # the last write tells what is there now, when it was at this very place; else the state does
    is_told = last is not None and last.touch == EXACT and not is_below and not last.write.is_undo
    if is_told and target is not None:
        current, parent = last.write.value, {}
    elif target is not None and not own.inserts():
        current = get(run.state_at(target, True), target)
    if policy == "owner" and not run.is_owner:
        return lose(run, own, last_place, hits, rule, "theirs", current)
    if target is None:
        if is_removal:
            return settle(run, own)
        return lose(run, own, last_place, hits, rule, "theirs", UNKNOWN)
    # two who counted to the same number counted twice: agreeing is then no reason to leave one out
    is_count = last is not None and not is_removal and policy == "counter" and run.is_known and adds_to_count(run, own)
    if not is_removal and current is not UNKNOWN and same(ours, current) and not is_count:
        return settle(run, own)
    winner = by_policy(run, policy, hits)
    if last is None:
        if winner:
            return lose(run, own, target, hits, rule, winner, current)
        return cover(run, own, target, hits, rule)
    if is_told or (not run.is_known and last.touch == EXACT):
        current, parent = last.write.value, {}
    elif run.is_known:
        parent = get(run.state_at(target, True), target[:-1]) if target else UNKNOWN
    else:
        rest = target[len(last.write.path) :]
        current, parent = inside(last.write.value, rest), inside(last.write.value, rest[:-1])
    if is_anew if own.in_list else len(target) > 0 and not isinstance(parent, dict):
        # an index into a list that theirs wrote anew means nothing; nor does a member of what is no object now
        if is_removal:
            return settle(run, own)
        return lose(run, own, target, hits, rule, "theirs", current)
    if is_removal:
        if current is UNKNOWN and (run.is_known or last.write.kind == "remove"):
            return settle(run, own)
        if winner:
            return lose(run, own, target, hits, rule, winner, current)
        run.emit(an_op("remove", target, UNKNOWN))
        report(run, target, rule, hits, a_row("ours", ours, current))
        return settle(run, own)
    if current is not UNKNOWN and same(ours, current) and not is_count:
        return settle(run, own)
    if winner:
        return lose(run, own, target, hits, rule, winner, current)
    kind = own.kind if own.in_list else "add" if current is UNKNOWN and target else "replace"
    if (policy == "max" or policy == "min" or policy == "counter") and is_number(ours) and is_number(current):
        if (policy == "max" and current >= ours) or (policy == "min" and current <= ours):
            return lose(run, own, target, hits, rule, "theirs", current)
        before = run.before(own) if policy == "counter" and run.is_known else None
        before = 0 if before is UNKNOWN else before  # both sides began to count: from nothing
        if is_number(before):
            total = current + (ours - before)
            if abs(total) <= INTEGER_MAX:
                report(run, target, rule, hits, a_row("both", ours, current))
                run.emit(an_op(kind, target, total))
                settle(run, own)
                run.writes.insert(0, write("replace", own.path, own.in_list, total, (<_Hit>hits[-1]).write.meta))
                return 0
    report(run, target, rule, hits, a_row("ours", ours, current))
    run.emit(an_op(kind, target, ours))
    return settle(run, own)


cdef bint adds_to_count(_Rebase run, _Write own) except -1:
    """Whether `own`, at a counter, adds to it."""
    cdef object before = run.before(own)
    if not is_number(own.value):
        return False
    return before is UNKNOWN or (is_number(before) and before != own.value)


cdef str by_policy(_Rebase run, str policy, list hits):
    """Who wins against the later write by policy alone; "" when the later write wins."""
    if policy == "manual":
        return "manual"
    if policy == "playhead":
        return "theirs"
    if policy == "latest" and run.at is not None:
        theirs_at = (<_Hit>hits[-1]).write.meta.get("at")
        if theirs_at is not None and theirs_at > run.at:
            return "theirs"
    return ""


cdef int settle(_Rebase run, _Write own) except -1:
    """The push goes on as if `own` had taken effect: it did, or theirs came to the same."""
    run.writes = carry(run.writes, own)
    return 0


cdef int lose(_Rebase run, _Write own, tuple target, list hits, tuple rule, str winner, object theirs
) except -1:
    """`own` is not taken over; to the ops after it that looks as if it had been taken back."""
    cdef dict meta = (<_Hit>hits[-1]).write.meta if hits else NO_META
    cdef str kind = "add" if own.kind == "remove" else "remove"
    cdef object before = run.before(own)
    cdef _Write undo
    report(run, target, rule, hits, a_row(winner, own.value, theirs))
    if own.kind == "replace" or (own.kind == "add" and not own.in_list and (before is not UNKNOWN or hits)):
        kind = "replace"
    undo = write(kind, own.path, own.in_list, before, meta)
    undo.is_undo = True
    run.writes.insert(0, undo)
    return 0


cdef int cover(_Rebase run, _Write own, tuple target, list hits, tuple rule) except -1:
    """Ours removes or overwrites what theirs edited below: ours applies, what it covers is listed."""
    cdef dict rows = {}
    cdef _Hit one
    cdef tuple rest
    for one in hits:
        rest = one.write.path[one.depth :]
        kept = inside(own.value, rest)
        rows.pop(rest, None)
        if one.write.is_undo or (one.write.kind == "remove" and kept is UNKNOWN):
            continue
        if kept is not UNKNOWN and one.write.value is not UNKNOWN and same(kept, one.write.value):
            continue
        rows[rest] = a_row("ours", kept, one.write.value)
    for rest, row in rows.items():
        report(run, target + rest, rule, hits, row)
    run.emit(an_op(own.kind, target, own.value))
    return settle(run, own)


cdef int report(_Rebase run, tuple path, tuple rule, list hits, dict row) except -1:
    cdef dict meta = (<_Hit>hits[-1]).write.meta if hits else NO_META
    row = {"path": pointer_of(path), "policy": rule[0], **row}
    if "version" in meta:
        row["theirs_version"] = meta["version"]
    if "device" in meta:
        row["theirs_device"] = meta["device"]
    if rule[0] == "counter" and row["winner"] == "both":  # counted again by the same push: one row tells it
        run.conflicts = [seen for seen in run.conflicts if seen["path"] != row["path"]]
    run.conflicts.append(row)
    return 0


cdef bint merge_list(_Rebase run, tuple rule, tuple place, dict op) except -1:
    """Merge the whole list a set or append policy governs; False when that is not what this op is about."""
    cdef tuple governed = place[: rule[2]]
    cdef list hits = [], lost = []
    cdef tuple target = run.trace(governed, False, hits)
    cdef _Hit one
    cdef _Write settled
    cdef list rows = []
    if not hits or target is None or not run.is_known:
        return False
    before, theirs = get(run.ours_now(), governed), get(run.merged_now(), target)
    current = theirs
    for one in hits:
        if one.touch == EXACT and one.write.merge is not None:
            # the push may reorder the list in several ops: each merges anew from where the first one began
            before, theirs, rows = one.write.merge
            break
    ours = get(apply_patch(run.ours, [op], depth_max=DEPTH_LIMIT), governed)
    before = [] if before is UNKNOWN else before  # both sides made the list: it began empty
    for each in (before, theirs, ours, current):
        if not isinstance(each, list):
            return False
    run.conflicts = [row for row in run.conflicts if not any([row is old for old in rows])]
    told = len(run.conflicts)
    if rule[0] == "append":
        merged, lost = merge_items(before, ours, theirs, rule[1])
    else:
        merged = unite(before, ours, theirs)
    for edit in diff(current, merged, depth_max=DEPTH_LIMIT):
        edit["path"] = pointer_of(target) + edit["path"]
        run.emit(edit)
    for index, winner, mine, other in lost:
        row = a_row(winner, UNKNOWN if mine is ... else mine, other)
        report(run, target + (str(index),), rule, hits, row)
    if not same(merged, ours):
        report(run, target, rule, hits, a_row("both", ours, theirs))
    in_list = run.is_index(governed, False)
    settled = write("replace", governed, in_list, merged, (<_Hit>hits[-1]).write.meta)
    settled.merge = (before, theirs, run.conflicts[told:])
    run.writes = [settled, *carry(run.writes, write("replace", governed, in_list, ours, NO_META))]
    run.did(op)
    return True
