"""Merging two writers: an old patch over what was committed since (``rebase``), and three states (``merge3``).

`syncbridge._twin.merge` states the rules in plain Python; this is the same in the order of cost:

1. A committed op that can neither touch nor shift any op of the push is left aside by comparing pointers as text.
   When none is left the push is its own answer.
2. What is left is followed token by token. The states of both sides are built only when a rule asks for a value.
"""

from collections import namedtuple
from collections.abc import Mapping

from cpython.object cimport PyObject

from jsonkind cimport same_value

from syncbridge._ext.delta import apply_patch, diff, join_pointer, resolve, split_pointer
from syncbridge._ext.policies import compile_policies, merge_items, rule_at, unite
from syncbridge.errors import PatchError

cdef int DEPTH_LIMIT = 256
cdef object INTEGER_MAX = 2**53 - 1
cdef object UNKNOWN = object()  # a value nobody told: no base was given
cdef dict NO_META = {}
cdef str END = "-"

Rebased = namedtuple("Rebased", ("ops", "conflicts"))
Merged = namedtuple("Merged", ("state", "ops", "conflicts"))

cdef enum Touch:
    NONE, EXACT, ABOVE, BELOW


def merge3(base, ours, theirs, policies=None, /, *, at=None, bint is_owner=True):
    """The three-way merge: ``rebase(diff(base, ours), [diff(base, theirs)], base=base)`` applied to `theirs`."""
    rebased = rebase(diff(base, ours), [diff(base, theirs)], policies, base=base, at=at, is_owner=is_owner)
    return Merged(apply_patch(theirs, rebased.ops), rebased.ops, rebased.conflicts)


def rebase(ops, committed, policies=None, /, *, base=None, at=None, bint is_owner=True):
    """`ops`, made on `base`, as they apply after `committed`.

    committed   changes since base, oldest first: ``{"ops": [...], "version", "device", "at"}`` or a list of ops
    at          the push's time in the server's domain, for ``latest``; unknown times decide as ``last``
    is_owner    whether the pushing device holds the fence, for ``owner``
    Rows        see ``Conflict``; a removed value has no key. Rows of merged values have winner "both".
    Raises      PatchError when `ops` are no patch; one that does not apply to `base` is refused here or when applied.
    """
    cdef _Rebase run = _Rebase.__new__(_Rebase)
    cdef Py_ssize_t index = 0
    run.policies, run.at, run.is_owner = policies, at, is_owner
    run.ours = run.merged = UNKNOWN if base is None else base
    run.is_known = base is not None
    run.ours_behind, run.merged_behind = [], []
    run.writes, run.ops, run.conflicts = [], [], []
    try:
        run.take_push(ops)
        run.take_committed(committed)
        if not run.writes and (is_owner or policies is None):
            run.ops = list(<list>ops)
        else:
            for index in range(len(run.read)):
                run.push(<dict>(<list>ops)[index], <tuple>run.read[index])
    except PatchError as error:
        raise type(error)(error.reason, index if error.index is None else error.index, error.pointer) from None
    return Rebased._make((run.ops, run.conflicts))


# -- places and writes ---------------------------------------------------------------------------------------------


cdef class _Write:
    """One effect on a document; `in_list` says that the last token is a list index, so that add inserts."""

    cdef str kind  # add, remove, replace, move
    cdef tuple path
    cdef tuple source  # of a move
    cdef bint in_list
    cdef bint source_in_list
    cdef bint is_undo  # stands for our own op that was not taken over
    cdef object value
    cdef dict meta
    cdef tuple merge  # a list being merged: before, theirs, its rows

    cdef bint inserts(self) noexcept:
        return self.in_list and self.kind == "add"

    cdef _Write moved_to(self, tuple path):
        cdef _Write other
        if path is self.path:
            return self
        other = write(self.kind, path, self.in_list, self.value, self.meta)
        other.source, other.source_in_list = self.source, self.source_in_list
        other.is_undo, other.merge = self.is_undo, self.merge
        return other

    cdef _Write removal(self):
        """Of a move: that its source goes away."""
        cdef _Write gone = write("remove", self.source, self.source_in_list, UNKNOWN, self.meta)
        gone.is_undo = True
        return gone

    cdef _Write addition(self):
        """Of a move: that its value arrives."""
        return write("add", self.path, self.in_list, self.value, self.meta)


cdef _Write write(str kind, tuple path, bint in_list, object value, dict meta):
    cdef _Write made = _Write.__new__(_Write)
    made.kind, made.path, made.in_list, made.value, made.meta = kind, path, in_list, value, meta
    made.source_in_list = made.is_undo = False
    return made


cdef class _Hit:
    """A write that touches a path, and how long the path's tokens were at that moment."""

    cdef Touch touch
    cdef _Write write
    cdef Py_ssize_t depth


cdef int hit(list hits, Touch touch, _Write by, tuple path) except -1:
    cdef _Hit made
    if hits is not None:
        made = _Hit.__new__(_Hit)
        made.touch, made.write, made.depth = touch, by, len(path)
        hits.append(made)
    return 0


cdef Py_ssize_t index_of(str token) noexcept:
    """The list index a token spells, or -1."""
    cdef Py_ssize_t index = 0, size = len(token)
    cdef Py_UCS4 sign
    if size == 0 or size > 9 or (size > 1 and token[0] == u"0"):
        return -1
    for sign in token:
        if sign < u"0" or sign > u"9":
            return -1
        index = index * 10 + (<Py_ssize_t>sign - 48)
    return index


cdef tuple shifted(tuple path, Py_ssize_t place, Py_ssize_t index):
    return path[:place] + (str(index),) + path[place + 1 :]


cdef tuple follow(tuple path, bint inserting, _Write by, bint goes_first, list hits, Touch *touch):
    """`path` after the write `by` (not a move); None when the list item it names or lies in was removed.

    `inserting`: the path is where an item will be inserted; of two inserts at one index the path's comes first when
    `goes_first`. How `by` touches the path goes to `touch` and, unless None, to `hits`.
    """
    cdef tuple at = by.path
    cdef Py_ssize_t depth = len(at), count = len(path), k, mine, theirs
    cdef bint insert_here
    touch[0] = NONE
    for k in range(min(count, depth - 1)):
        if <str>path[k] != <str>at[k]:
            return path
    if count < depth:
        touch[0] = BELOW
        hit(hits, BELOW, by, path)
        return path
    if depth == 0:
        touch[0] = ABOVE if count else EXACT
        hit(hits, touch[0], by, path)
        return path
    k = depth - 1
    if not by.in_list:
        if <str>path[k] == <str>at[k]:
            touch[0] = EXACT if count == depth else ABOVE
            hit(hits, touch[0], by, path)
        return path
    mine, theirs = index_of(<str>path[k]), index_of(<str>at[k])
    if mine < 0 or theirs < 0:  # '-' is the end, wherever that is
        return path
    insert_here = inserting and count == depth
    if by.kind == "add":
        if mine < theirs or (mine == theirs and insert_here and goes_first):
            return path
        return shifted(path, k, mine + 1)
    if mine == theirs and not insert_here:
        touch[0] = EXACT if count == depth else ABOVE
        hit(hits, touch[0], by, path)
        return None if by.kind == "remove" else path
    if by.kind == "remove" and mine > theirs:
        return shifted(path, k, mine - 1)
    return path


cdef tuple moved_along(tuple path, bint inserting, _Write by):
    """Where a move takes the path, or None when it does not."""
    cdef Py_ssize_t depth = len(by.source)
    if path[:depth] != by.source or (inserting and len(path) == depth):
        return None
    return by.path + path[depth:]


cdef _Write own_after(_Write own, _Write by):
    """`own` as it looks after `by`; None when `by` removed the list item it was about."""
    cdef Touch touch
    cdef tuple path
    if by.kind != "move":
        path = follow(own.path, own.inserts(), by, False, None, &touch)
    else:
        path = moved_along(own.path, own.inserts(), by)
        if path is None:
            path = follow(own.path, own.inserts(), by.removal(), False, None, &touch)
            if path is not None:
                path = follow(path, own.inserts(), by.addition(), False, None, &touch)
    return None if path is None else own.moved_to(path)


cdef list carry(list writes, _Write own):
    """`writes` as they look to somebody who has done `own` first; what `own` overwrites is left out."""
    cdef list after = []
    cdef _Write by
    cdef tuple path
    cdef Touch touch
    for by in writes:
        if own is None:
            after.append(by)
            continue
        if by.kind == "move":
            carry_move(by, own, after)
        else:
            path = follow(by.path, by.inserts(), own, True, None, &touch)
            if path is not None and (touch == NONE or touch == BELOW):
                after.append(by.moved_to(path))
        own = own_after(own, by)
    return after


cdef int carry_move(_Write by, _Write own, list after) except -1:
    cdef _Write gone = by.removal()
    cdef _Write moved
    cdef _Write between = own_after(own, gone)
    cdef Touch touch
    cdef tuple source = follow(by.source, False, own, True, None, &touch)
    cdef tuple path = by.path
    if touch == EXACT and own.kind == "remove":
        return 0  # our op went along with the value and removed it over there
    if touch == ABOVE:
        source = None
    if between is not None:
        path = follow(by.path, by.in_list, between, True, None, &touch)
        if touch == EXACT or touch == ABOVE:
            path = None
    if source is not None and path is not None:
        moved = by.moved_to(path)
        if moved is by:
            moved = by.moved_to(tuple(list(path)))
        moved.source = source
        after.append(moved)
    elif source is not None:
        after.append(gone.moved_to(source))
    elif path is not None:
        after.append(by.addition().moved_to(path))
    return 0


# -- values --------------------------------------------------------------------------------------------------------


cdef bint same(object a, object b) except -1:
    return same_value(<PyObject *>a, <PyObject *>b, DEPTH_LIMIT) == 1


cdef object get(object state, tuple path):
    cdef Py_ssize_t index
    if state is UNKNOWN:
        return UNKNOWN
    for token in path:
        if isinstance(state, dict):
            state = (<dict>state).get(token, UNKNOWN)
        elif isinstance(state, list):
            index = index_of(<str>token)
            if index < 0 or index >= len(<list>state):
                return UNKNOWN
            state = (<list>state)[index]
        else:
            return UNKNOWN
        if state is UNKNOWN:
            return UNKNOWN
    return state


cdef object inside(object value, tuple path):
    """The value at a path of member names alone: an index into a list written anew means nothing."""
    for token in path:
        if not isinstance(value, dict):
            return UNKNOWN
        value = (<dict>value).get(token, UNKNOWN)
    return value


cdef bint is_number(object value) except -1:
    """A number safe to reckon with: finite, and an integer only as far as every peer holds it."""
    return (type(value) is int or type(value) is float) and -INTEGER_MAX <= value <= INTEGER_MAX


cdef bint is_whole_rewrite(object old, object new, bint in_list) except -1:
    """Whether writing `new` over `old` is better read as the edits between them."""
    if isinstance(old, list) and isinstance(new, list):
        return True
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    if not in_list or "id" not in <dict>old or "id" not in <dict>new:
        return True
    return same(old["id"], new["id"])


cdef dict an_op(str kind, tuple path, object value):
    if value is UNKNOWN:
        return {"op": kind, "path": join_pointer(path)}
    return {"op": kind, "path": join_pointer(path), "value": value}


cdef dict a_row(str winner, object ours, object theirs):
    cdef dict row = {"winner": winner}
    if ours is not UNKNOWN:
        row["ours"] = ours
    if theirs is not UNKNOWN:
        row["theirs"] = theirs
    return row


cdef tuple read_op(object op):
    """Kind, pointer and source pointer of one op, or PatchError; the same checks as applying it makes."""
    if not isinstance(op, dict):
        raise PatchError("an operation is an object")
    kind, path = (<dict>op).get("op"), (<dict>op).get("path")
    if type(kind) is not str:
        raise PatchError("'op' is missing or not a string")
    if type(path) is not str:
        raise PatchError("'path' is missing or not a string")
    if kind == "replace" or kind == "add" or kind == "test":
        if "value" not in <dict>op:
            raise PatchError("'value' is missing", None, path)
        return kind, path, None
    if kind == "remove":
        return kind, path, None
    if kind != "move" and kind != "copy":
        raise PatchError("'op' is none of add, remove, replace, move, copy, test")
    source = (<dict>op).get("from")
    if type(source) is not str:
        split_pointer(path)
        raise PatchError("'from' is missing or not a string")
    return kind, path, source


cdef list operations(object ops):
    if not isinstance(ops, list):
        raise PatchError("a patch is an array of operations")
    return <list>ops


# -- step 1: what cannot touch -------------------------------------------------------------------------------------


cdef bint ends_in_index(str pointer) noexcept:
    cdef Py_ssize_t at = len(pointer) - 1
    if at < 0 or (not u"0" <= pointer[at] <= u"9" and pointer[at] != u"-"):
        return False
    while at >= 0 and u"0" <= pointer[at] <= u"9":
        at -= 1
    return at >= 0 and (pointer[at] == u"/" or pointer[at] == u"-")


cdef bint may_meet(str a, str b, bint fuzzy) noexcept:
    """Whether one of two places can lie in, or be shifted by a change at, the other.

    `fuzzy`: some op inserts, removes or moves list items, so any index may stand for any other.
    """
    cdef Py_ssize_t i = 0, j = 0, a_size = len(a), b_size = len(b)
    cdef Py_UCS4 x, y
    while i < a_size and j < b_size:
        x, y = a[i], b[j]
        if x == y:
            i += 1
            j += 1
            continue
        if not fuzzy:
            return False
        # back to the start of both tokens: two indexes count as one
        while i > 0 and a[i - 1] != u"/":
            i -= 1
        while j > 0 and b[j - 1] != u"/":
            j -= 1
        while i < a_size and (u"0" <= a[i] <= u"9" or a[i] == u"-"):
            i += 1
        while j < b_size and (u"0" <= b[j] <= u"9" or b[j] == u"-"):
            j += 1
        if (i < a_size and a[i] != u"/") or (j < b_size and b[j] != u"/"):
            return False
    if fuzzy and ((i < a_size and a[i] != u"/") or (j < b_size and b[j] != u"/")):
        # one ends inside the other's token: still two indexes, 1 and 12
        while i < a_size and (u"0" <= a[i] <= u"9"):
            i += 1
        while j < b_size and (u"0" <= b[j] <= u"9"):
            j += 1
    return (i == a_size or a[i] == u"/") and (j == b_size or b[j] == u"/")


# -- step 2: following ---------------------------------------------------------------------------------------------


cdef class _Rebase:
    """One rebase under way.

    ours      the state after the ops of the push read so far (as the pushing device saw it)
    merged    the state after everything committed and the ops emitted so far
    writes    what leads from `ours` to `merged`

    Both states are brought up to date (by the ops `..._behind`) only when a value is asked for.
    """

    cdef object policies, at, ours, merged
    cdef bint is_owner, is_known
    cdef list ours_behind, merged_behind
    cdef list writes, ops, conflicts
    cdef list read  # of the push: (kind, pointer, source pointer)
    cdef list reach  # the pointers that a committed op must meet to matter; None: all matter
    cdef bint fuzzy
    cdef tuple last_place

    cdef object ours_now(self):
        if self.ours_behind:
            self.ours = apply_patch(self.ours, self.ours_behind, depth_max=DEPTH_LIMIT)
            self.ours_behind = []
        return self.ours

    cdef object merged_now(self):
        if self.merged_behind:
            self.merged = apply_patch(self.merged, self.merged_behind, depth_max=DEPTH_LIMIT)
            self.merged_behind = []
        return self.merged

    cdef int did(self, dict op) except -1:
        """The push went one op on."""
        if self.is_known:
            self.ours_behind.append(op)
        return 0

    cdef int take_push(self, object ops) except -1:
        cdef tuple one
        cdef Py_ssize_t index = 0
        self.read = []
        self.reach = []
        self.fuzzy = False
        try:
            for op in operations(ops):
                one = read_op(op)
                self.read.append(one)
                index += 1
                if one[2] is not None:
                    self.reach = None
                elif self.reach is not None:
                    self.reach.append(self.governed(<str>one[1]))
                    self.fuzzy = self.fuzzy or (one[0] != "replace" and ends_in_index(<str>one[1]))
        except PatchError as error:
            raise PatchError(error.reason, index if isinstance(ops, list) else None, error.pointer) from None
        return 0

    cdef str governed(self, str pointer):
        """The pointer, or the place whose policy makes all below it one."""
        cdef tuple rule, path
        if self.policies is None:
            return pointer
        path = tuple(split_pointer(pointer))
        rule = rule_at(self.policies, path)
        if rule[0] == "set" or rule[0] == "append" or rule[0] == "playhead":
            return join_pointer(path[: rule[2]])
        return pointer

    cdef int take_committed(self, object committed) except -1:
        cdef list changes = [], metas = [], each
        cdef tuple one
        cdef dict meta
        cdef str pointer
        cdef bint matters
        for change in committed:
            if isinstance(change, list):
                changes.append(change)
                metas.append(NO_META)
            elif isinstance(change, Mapping):
                changes.append(operations(change.get("ops")))
                meta = {}
                for key in ("version", "device", "at"):
                    value = change.get(key)
                    if value is not None:
                        meta[key] = value
                metas.append(meta)
            else:
                raise PatchError("a committed change is an object with ops, or an array of operations")
        read = []
        for each in changes:
            for op in each:
                one = read_op(op)
                read.append(one)
                if one[2] is not None:
                    self.reach = None
                elif one[0] != "replace" and ends_in_index(<str>one[1]):
                    self.fuzzy = True
        at = 0
        for each, meta in zip(changes, metas):
            for op in each:
                one = <tuple>read[at]
                at += 1
                pointer = <str>one[1]
                matters = self.reach is None
                if not matters:
                    for mine in <list>self.reach:
                        if may_meet(<str>mine, pointer, self.fuzzy):
                            matters = True
                            break
                if matters:
                    self.take(<dict>op, one, meta)
                elif self.is_known:
                    self.merged_behind.append(op)
        return 0

    cdef int take(self, dict op, tuple read, dict meta) except -1:
        cdef str kind = <str>read[0]
        cdef tuple path = tuple(split_pointer(read[1]))
        cdef tuple source = () if read[2] is None else tuple(split_pointer(read[2]))
        cdef object value = op.get("value", UNKNOWN) if kind == "add" or kind == "replace" else UNKNOWN
        cdef object old = UNKNOWN
        cdef bint in_list, source_in_list
        cdef _Write made
        if kind == "test" or (kind == "move" and source == path):
            return 0
        if kind == "copy" or kind == "move":
            value = get(self.merged_now(), source)
        if kind == "move":
            source_in_list = self.is_index(source, True)
            between = self.merged_now()
            if self.is_known:
                between = apply_patch(between, [{"op": "remove", "path": read[2]}], depth_max=DEPTH_LIMIT)
            in_list = self.is_index_of(between, path)
            made = write(kind, placed(between, path, in_list), in_list, value, meta)
            made.source, made.source_in_list = source, source_in_list
        else:
            in_list = self.is_index(path, True)
            if in_list:
                path = placed(self.merged_now(), path, in_list)
            if isinstance(value, (dict, list)) and not (in_list and kind != "replace") and self.is_known:
                old = get(self.merged_now(), path)
                if is_whole_rewrite(old, value, in_list):
                    for edit in diff(old, value, depth_max=DEPTH_LIMIT):
                        edit["path"] = join_pointer(path) + edit["path"]
                        self.take(edit, read_op(edit), meta)
                    return 0
            made = write("add" if kind == "copy" else kind, path, in_list, value, meta)
        self.writes.append(made)
        if self.is_known:
            self.merged_behind.append(op)
        return 0

    cdef bint is_index(self, tuple path, bint is_merged) except -1:
        """Whether the last token is a list index; told by the state, or by its looks where there is none."""
        if not path or not (path[-1] == END or index_of(<str>path[-1]) >= 0):
            return False
        if not self.is_known:
            return True
        return isinstance(get(self.merged_now() if is_merged else self.ours_now(), path[:-1]), list)

    cdef bint is_index_of(self, object state, tuple path) except -1:
        if not path or not (path[-1] == END or index_of(<str>path[-1]) >= 0):
            return False
        return not self.is_known or isinstance(get(state, path[:-1]), list)

    cdef tuple trace(self, tuple path, bint inserting, list hits):
        """`path` after all writes, or None; `last_place` is the last it had, `hits` get what touched it."""
        cdef _Write by
        cdef tuple after
        cdef Touch touch
        self.last_place = path
        for by in self.writes:
            if by.kind != "move":
                after = follow(path, inserting, by, False, hits, &touch)
            else:
                after = moved_along(path, inserting, by)
                if after is None:
                    after = follow(path, inserting, by.removal(), False, hits, &touch)
                    if after is not None:
                        self.last_place = path = after
                        after = follow(path, inserting, by.addition(), False, hits, &touch)
            if after is None:
                return None
            self.last_place = path = after
        return path

    cdef int push(self, dict op, tuple read) except -1:
        cdef str kind = <str>read[0]
        cdef tuple path = tuple(split_pointer(read[1])), source
        if kind == "test":
            self.trace(path, False, None)
            pointer = join_pointer(self.last_place)
            self.ops.append(op if pointer == read[1] else {**op, "path": pointer})
        elif kind == "move" or kind == "copy":
            source = tuple(split_pointer(read[2]))
            if not self.is_known:
                self.push_blind(op, kind, path, source)
            elif source != path or kind == "copy":
                value = get(self.ours_now(), source)
                apply_patch(self.ours, [op], depth_max=DEPTH_LIMIT)  # refuses what cannot be done, before half of it is
                if kind == "move":
                    self.write("remove", source, UNKNOWN)
                self.write("add", path, value)
        else:
            self.write(kind, path, UNKNOWN if kind == "remove" else op["value"])
        return 0

    cdef int push_blind(self, dict op, str kind, tuple path, tuple source) except -1:
        """A move or copy without base: its pointers shift; meeting a committed write is an error."""
        cdef list hits = []
        cdef tuple new_source = self.trace(source, False, hits), new_path
        cdef _Write own
        if kind == "move":
            self.writes = carry(self.writes, write("remove", source, self.is_index(source, False), UNKNOWN, NO_META))
        own = write("add", path, self.is_index(path, False), UNKNOWN, NO_META)
        new_path = self.trace(path, own.inserts(), hits)
        if new_source is None or new_path is None or hits:
            raise PatchError("a move or copy met a committed write; rebase it with its base", None, op["path"])
        self.writes = carry(self.writes, own)
        self.ops.append({**op, "from": join_pointer(new_source), "path": join_pointer(new_path)})
        return 0

    cdef int write(self, str kind, tuple path, object value) except -1:
        """One add, remove or replace of the push: emit it, change it or leave it out, and go on from there."""
        cdef bint in_list = self.is_index(path, False)
        cdef tuple place = placed(self.ours_now(), path, in_list) if in_list and path[-1] == END else path
        cdef _Write own = write(kind, place, in_list, value, NO_META)
        cdef tuple rule = rule_at(self.policies, place)
        cdef list hits = []
        cdef tuple target = self.trace(path, own.inserts(), hits), last_place = self.last_place
        cdef object before = UNKNOWN
        cdef _Hit one
        cdef bint below = False
        if (rule[0] == "set" or rule[0] == "append") and self.merge_list(rule, place, kind, path, value, own):
            return 0
        if rule[0] == "playhead" and not hits:
            self.trace(place[: rule[2]], False, hits)
            hits = [one for one in hits if not one.write.is_undo]
        if not hits and (self.is_owner or rule[0] != "owner"):
            self.emit(an_op(kind, target, value))
            self.did(an_op(kind, path, value))
            self.writes = carry(self.writes, own)
            return 0
        if not own.inserts():
            before = get(self.ours_now(), place)
        for one in hits:
            below = below or one.touch == BELOW
        if below and kind != "remove" and rule[0] != "playhead" and is_whole_rewrite(before, value, in_list):
            for edit in diff(before, value, depth_max=DEPTH_LIMIT):
                self.write(edit["op"], place + tuple(split_pointer(edit["path"])), edit.get("value", UNKNOWN))
            return 0
        self.decide(own, target, last_place, hits, rule, before)
        self.did(an_op(kind, path, value))
        return 0

    cdef int decide(
        self, _Write own, tuple target, tuple last_place, list hits, tuple rule, object before
    ) except -1:
        """What becomes of `own`, which lands at `target` (None: its list item is gone) where `hits` met it."""
        cdef object ours = own.value, current = UNKNOWN, parent = UNKNOWN, total
        cdef str policy = <str>rule[0], winner, kind
        cdef _Hit last = None
        cdef _Hit one
        cdef bint is_anew = False, is_removal = own.kind == "remove"
        if target is not None and not own.inserts():
            current = get(self.merged_now(), target)
        if policy == "owner" and not self.is_owner:
            return self.lose(own, last_place, hits, rule, before, "theirs", current)
        if target is None:
            if is_removal:
                return self.settle(own)
            return self.lose(own, last_place, hits, rule, before, "theirs", UNKNOWN)
        if not is_removal and current is not UNKNOWN and same(ours, current):
            return self.settle(own)
        winner = self.by_policy(policy, hits)
        for one in hits:
            if one.touch != BELOW:
                last = one
                is_anew = is_anew or one.touch == ABOVE
        if last is None:
            if winner:
                return self.lose(own, target, hits, rule, before, winner, current)
            return self.cover(own, target, hits, rule)
        if self.is_known:
            parent = get(self.merged_now(), target[:-1]) if target else UNKNOWN
        elif last.touch == EXACT:
            current, parent = last.write.value, {}
        else:
            rest = target[len(last.write.path) :]
            current, parent = inside(last.write.value, rest), inside(last.write.value, rest[:-1])
        if is_anew if own.in_list else len(target) > 0 and not isinstance(parent, dict):
            # an index into a list that theirs wrote anew means nothing; nor does a member of what is no object now
            if is_removal:
                return self.settle(own)
            return self.lose(own, target, hits, rule, before, "theirs", current)
        if is_removal:
            if current is UNKNOWN and (self.is_known or last.write.kind == "remove"):
                return self.settle(own)
            if winner:
                return self.lose(own, target, hits, rule, before, winner, current)
            self.emit(an_op("remove", target, UNKNOWN))
            self.report(target, rule, hits, a_row("ours", ours, current))
            return self.settle(own)
        if current is not UNKNOWN and same(ours, current):
            return self.settle(own)
        if winner:
            return self.lose(own, target, hits, rule, before, winner, current)
        kind = own.kind if own.in_list else "add" if current is UNKNOWN and target else "replace"
        if (policy == "max" or policy == "min" or policy == "counter") and is_number(ours) and is_number(current):
            if (policy == "max" and current >= ours) or (policy == "min" and current <= ours):
                return self.lose(own, target, hits, rule, before, "theirs", current)
            if policy == "counter" and self.is_known and is_number(before):
                total = current + (ours - before)
                if abs(total) <= INTEGER_MAX:
                    self.report(target, rule, hits, a_row("both", ours, current))
                    self.emit(an_op(kind, target, total))
                    self.settle(own)
                    self.writes.insert(0, write("replace", own.path, own.in_list, total, (<_Hit>hits[-1]).write.meta))
                    return 0
        self.report(target, rule, hits, a_row("ours", ours, current))
        self.emit(an_op(kind, target, ours))
        return self.settle(own)

    cdef str by_policy(self, str policy, list hits):
        """Who wins against the later write by policy alone; "" when the later write wins."""
        if policy == "manual":
            return "manual"
        if policy == "playhead":
            return "theirs"
        if policy == "latest" and self.at is not None:
            theirs_at = (<_Hit>hits[-1]).write.meta.get("at")
            if theirs_at is not None and theirs_at > self.at:
                return "theirs"
        return ""

    cdef int settle(self, _Write own) except -1:
        """The push goes on as if `own` had taken effect: it did, or theirs came to the same."""
        self.writes = carry(self.writes, own)
        return 0

    cdef int lose(
        self, _Write own, tuple target, list hits, tuple rule, object before, str winner, object theirs
    ) except -1:
        """`own` is not taken over; to the ops after it that looks as if it had been taken back."""
        cdef dict meta = (<_Hit>hits[-1]).write.meta if hits else NO_META
        cdef str kind = "add" if own.kind == "remove" else "remove"
        cdef _Write undo
        self.report(target, rule, hits, a_row(winner, own.value, theirs))
        if own.kind == "replace" or (own.kind == "add" and not own.in_list and (before is not UNKNOWN or hits)):
            kind = "replace"
        undo = write(kind, own.path, own.in_list, before, meta)
        undo.is_undo = True
        self.writes.insert(0, undo)
        return 0

    cdef int cover(self, _Write own, tuple target, list hits, tuple rule) except -1:
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
            self.report(target + rest, rule, hits, row)
        self.emit(an_op(own.kind, target, own.value))
        return self.settle(own)

    cdef int emit(self, dict op) except -1:
        self.ops.append(op)
        if self.is_known:
            self.merged_behind.append(op)
        return 0

    cdef int report(self, tuple path, tuple rule, list hits, dict row) except -1:
        cdef dict meta = (<_Hit>hits[-1]).write.meta if hits else NO_META
        row = {"path": join_pointer(path), "policy": rule[0], **row}
        if "version" in meta:
            row["theirs_version"] = meta["version"]
        if "device" in meta:
            row["theirs_device"] = meta["device"]
        if rule[0] == "counter" and row["winner"] == "both":  # counted again by the same push: one row tells it
            self.conflicts = [seen for seen in self.conflicts if seen["path"] != row["path"]]
        self.conflicts.append(row)
        return 0

    cdef bint merge_list(self, tuple rule, tuple place, str kind, tuple path, object value, _Write own) except -1:
        """Merge the whole list a set or append policy governs; False when that is not what this op is about."""
        cdef tuple governed = place[: rule[2]]
        cdef list hits = [], lost = []
        cdef tuple target = self.trace(governed, False, hits)
        cdef _Hit one
        cdef _Write settled
        cdef list rows = []
        if not hits or target is None or not self.is_known:
            return False
        before, theirs = get(self.ours_now(), governed), get(self.merged_now(), target)
        current = theirs
        for one in hits:
            if one.touch == EXACT and one.write.merge is not None:
                # the push may reorder the list in several ops: each merges anew from where the first one began
                before, theirs, rows = one.write.merge
                break
        ours = get(apply_patch(self.ours, [an_op(kind, path, value)], depth_max=DEPTH_LIMIT), governed)
        for each in (before, theirs, ours, current):
            if not isinstance(each, list):
                return False
        self.conflicts = [row for row in self.conflicts if not any([row is old for old in rows])]
        told = len(self.conflicts)
        if rule[0] == "append":
            merged, lost = merge_items(before, ours, theirs, rule[1])
        else:
            merged = unite(before, ours, theirs)
        for edit in diff(current, merged, depth_max=DEPTH_LIMIT):
            edit["path"] = join_pointer(target) + edit["path"]
            self.emit(edit)
        for index, winner, mine, other in lost:
            row = a_row(winner, UNKNOWN if mine is ... else mine, other)
            self.report(target + (str(index),), rule, hits, row)
        if not same(merged, ours):
            self.report(target, rule, hits, a_row("both", ours, theirs))
        in_list = self.is_index(governed, False)
        settled = write("replace", governed, in_list, merged, (<_Hit>hits[-1]).write.meta)
        settled.merge = (before, theirs, self.conflicts[told:])
        self.writes = [settled, *carry(self.writes, write("replace", governed, in_list, ours, NO_META))]
        self.did(an_op(kind, path, value))
        return True


cdef tuple placed(object state, tuple path, bint in_list):
    """`path` with '-' made an index where the state tells."""
    if in_list and path[-1] == END and state is not UNKNOWN:
        return path[:-1] + (str(len(<list>get(state, path[:-1]))),)
    return path
