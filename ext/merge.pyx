"""Merging two writers: an old patch over what was committed since (``rebase``), and three states (``merge3``).

`syncbridge._twin.merge` states the rules in plain Python; this is the same in the order of cost:

1. A committed op that can neither touch nor shift any op of the push is left aside by comparing pointers as text.
   When none is left the push is its own answer.
2. What is left is followed token by token. The states of both sides are built only when a rule asks for a value.
"""

from collections import namedtuple
from collections.abc import Mapping

cimport cython
from cpython.object cimport PyObject

from jsonkind cimport PyDict_GetItemWithError, is_name, same_value, sb_same_text as same_text
from pointertext cimport ends_in_index, may_meet

from syncbridge._ext.delta import apply_patch, diff, split_pointer
from syncbridge._ext.policies import compile_policies, merge_items, rule_at, unite
from syncbridge.errors import PatchError

cdef int DEPTH_LIMIT = 256
cdef object INTEGER_MAX = 2**53 - 1
cdef object UNKNOWN = object()  # a value nobody told: no base was given
cdef dict NO_META = {}
cdef str END = "-"
cdef tuple DEFAULT_RULE = ("last", "id", 0)

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


@cython.final
@cython.freelist(64)
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

    cdef _Write copy(self):
        cdef _Write other = write(self.kind, self.path, self.in_list, self.value, self.meta)
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


@cython.final
@cython.freelist(64)
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
    cdef list tokens = list(path)
    tokens[place] = str(index)
    return tuple(tokens)


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
        if not same_text(<PyObject *>path[k], <PyObject *>at[k]):
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
        if same_text(<PyObject *>path[k], <PyObject *>at[k]):
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


cdef bint go_on(_Write own, _Write by) except -1:
    """Makes `own` what it looks like after `by`; False when `by` removed the list item it was about."""
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
    if path is None:
        return False
    own.path = path
    return True


cdef list carry(list writes, _Write done):
    """`writes` as they look to somebody who has done `done` first; what it overwrites is left out.

    Danger: the writes themselves are changed, so nothing may still lean on where they were.
    """
    cdef list after = []
    cdef _Write by
    cdef _Write own = done.copy()
    cdef tuple path
    cdef Touch touch
    cdef bint is_there = True
    for by in writes:
        if not is_there:
            after.append(by)
        elif by.kind == "move":
            carry_move(by, own, after)
            is_there = go_on(own, by)
        else:
            path = follow(by.path, by.inserts(), own, True, None, &touch)
            is_there = go_on(own, by)
            if path is not None and (touch == NONE or touch == BELOW):
                by.path = path
                after.append(by)
    return after


cdef int carry_move(_Write by, _Write own, list after) except -1:
    cdef _Write gone = by.removal(), moved
    cdef _Write between = own.copy()
    cdef Touch touch
    cdef tuple source = follow(by.source, False, own, True, None, &touch)
    cdef tuple path = by.path
    if touch == EXACT and own.kind == "remove":
        return 0  # our op went along with the value and removed it over there
    if touch == ABOVE:
        source = None
    if go_on(between, gone):
        path = follow(by.path, by.in_list, between, True, None, &touch)
        if touch == EXACT or touch == ABOVE:
            path = None
    if source is not None and path is not None:
        moved = by.copy()
        moved.source, moved.path = source, path
        after.append(moved)
    elif source is not None:
        gone.path = source
        after.append(gone)
    elif path is not None:
        moved = by.addition()
        moved.path = path
        after.append(moved)
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


cdef tuple tokens(str pointer):
    cdef list pieces
    if not pointer or pointer[0] != u"/" or "~" in pointer:
        return tuple(split_pointer(pointer))
    pieces = pointer.split("/")
    del pieces[0]
    return tuple(pieces)


cdef str pointer_of(tuple path):
    cdef list pieces = [""]
    cdef str token
    for token in path:
        if "~" in token or "/" in token:
            token = token.replace("~", "~0").replace("/", "~1")
        pieces.append(token)
    return "/".join(pieces)


cdef dict an_op(str kind, tuple path, object value):
    if value is UNKNOWN:
        return {"op": kind, "path": pointer_of(path)}
    return {"op": kind, "path": pointer_of(path), "value": value}


cdef dict a_row(str winner, object ours, object theirs):
    cdef dict row = {"winner": winner}
    if ours is not UNKNOWN:
        row["ours"] = ours
    if theirs is not UNKNOWN:
        row["theirs"] = theirs
    return row


cdef str field(dict op, str name):
    cdef PyObject *value = PyDict_GetItemWithError(<PyObject *>op, <PyObject *>name)
    if value is NULL or not is_name(value):
        raise PatchError(f"'{name}' is missing or not a string")
    return <str>value


cdef tuple read_op(object op):
    """Kind, pointer and source pointer of one op, or PatchError; the same checks as applying it makes."""
    cdef str kind, path, source
    if not isinstance(op, dict):
        raise PatchError("an operation is an object")
    kind, path = field(<dict>op, "op"), field(<dict>op, "path")
    if kind == "replace" or kind == "add" or kind == "test":
        if "value" not in <dict>op:
            raise PatchError("'value' is missing", None, path)
        return kind, path, None
    if kind == "remove":
        return kind, path, None
    if kind != "move" and kind != "copy":
        raise PatchError("'op' is none of add, remove, replace, move, copy, test")
    split_pointer(path)  # its errors come before those of 'from', as in applying
    source = field(<dict>op, "from")
    return kind, path, source


cdef dict meta_of(object change):
    cdef dict meta = {}
    if isinstance(change, list):
        return NO_META
    for key in ("version", "device", "at"):
        value = change.get(key)
        if value is not None:
            meta[key] = value
    return meta


cdef list operations(object ops):
    if not isinstance(ops, list):
        raise PatchError("a patch is an array of operations")
    return <list>ops


# -- step 2: following ---------------------------------------------------------------------------------------------


@cython.final
@cython.freelist(1)
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
    cdef dict rules  # of the places of the push, as far as asked for
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

    cdef object state_at(self, tuple path, bint is_merged):
        """A state that is up to date at and around `path`, as cheaply as can be."""
        cdef list behind = self.merged_behind if is_merged else self.ours_behind
        cdef str pointer
        if behind:
            pointer = pointer_of(path)
            for op in behind:
                if "from" in <dict>op or may_meet(<PyObject *>pointer, <PyObject *>(<dict>op)["path"], True):
                    return self.merged_now() if is_merged else self.ours_now()
        return self.merged if is_merged else self.ours

    cdef object before(self, _Write own):
        """What an op of the push is about to replace or remove."""
        return UNKNOWN if own.inserts() else get(self.state_at(own.path, False), own.path)

    cdef int did(self, dict op) except -1:
        """The push went one op on."""
        if self.is_known:
            self.ours_behind.append(op)
        return 0

    cdef int take_push(self, object ops) except -1:
        cdef tuple one
        cdef Py_ssize_t index = 0
        self.read = []
        self.rules = {}
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
                    self.fuzzy = self.fuzzy or (one[0] != "replace" and ends_in_index(<PyObject *>one[1]))
        except PatchError as error:
            raise PatchError(error.reason, index if isinstance(ops, list) else None, error.pointer) from None
        return 0

    cdef str governed(self, str pointer):
        """The pointer, or the place whose policy makes all below it one."""
        cdef tuple rule, path
        if self.policies is None:
            return pointer
        path = tokens(pointer)
        rule = self.rules[path] = rule_at(self.policies, path)
        if rule[0] == "set" or rule[0] == "append" or rule[0] == "playhead":
            return pointer_of(path[: rule[2]])
        return pointer

    cdef tuple rule(self, tuple place):
        if self.policies is None:
            return DEFAULT_RULE
        found = self.rules.get(place)
        return rule_at(self.policies, place) if found is None else <tuple>found

    cdef int take_committed(self, object committed) except -1:
        cdef list changes = []
        cdef list read = []
        cdef list ops
        cdef tuple one
        cdef dict meta
        cdef Py_ssize_t at = 0, index
        for change in committed:
            if isinstance(change, list):
                ops = <list>change
            elif isinstance(change, (dict, Mapping)):  # dict first: asking an ABC costs more than all else here
                ops = operations(change.get("ops"))
            else:
                raise PatchError("a committed change is an object with ops, or an array of operations")
            changes.append((ops, change))
            for op in ops:
                one = read_op(op)
                read.append(one)
                if one[2] is not None:
                    self.reach = None
                elif not self.fuzzy and ends_in_index(<PyObject *>one[1]) and <str>one[0] != "replace":
                    self.fuzzy = True
        for ops, change in changes:
            meta = None
            for index in range(len(ops)):
                one = <tuple>read[at]
                at += 1
                if self.matters(one):
                    if meta is None:
                        meta = meta_of(change)
                    self.take(<dict>ops[index], one, meta)
        return 0

    cdef bint matters(self, tuple read) noexcept:
        """Whether a committed op can meet the push. What cannot is not even needed for the states: whatever it
        depends on or makes possible lies on other paths than every value asked for."""
        cdef Py_ssize_t index
        if self.reach is None:
            return True
        for index in range(len(self.reach)):
            if may_meet(<PyObject *>self.reach[index], <PyObject *>read[1], self.fuzzy):
                return True
        return False

    cdef int take(self, dict op, tuple read, dict meta) except -1:
        cdef str kind = <str>read[0]
        cdef tuple path = tokens(<str>read[1])
        cdef tuple source = () if read[2] is None else tokens(<str>read[2])
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
                path = placed(self.state_at(path, True), path, in_list)
            if isinstance(value, (dict, list)) and not (in_list and kind != "replace") and self.is_known:
                old = get(self.merged_now(), path)
                if is_whole_rewrite(old, value, in_list):
                    for edit in diff(old, value, depth_max=DEPTH_LIMIT):
                        edit["path"] = pointer_of(path) + edit["path"]
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
        return isinstance(get(self.state_at(path, is_merged), path[:-1]), list)

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
        cdef tuple path = tokens(<str>read[1]), source
        if kind == "test":
            self.trace(path, False, None)
            pointer = pointer_of(self.last_place)
            self.ops.append(op if pointer == read[1] else {**op, "path": pointer})
        elif kind == "move" or kind == "copy":
            source = tokens(<str>read[2])
            if not self.is_known:
                self.push_blind(op, kind, path, source)
            elif source != path or kind == "copy":
                value = get(self.ours_now(), source)
                apply_patch(self.ours, [op], depth_max=DEPTH_LIMIT)  # refuses what cannot be done, before half of it is
                if kind == "move":
                    self.write("remove", source, UNKNOWN, an_op("remove", source, UNKNOWN))
                self.write("add", path, value, an_op("add", path, value))
        else:
            self.write(kind, path, UNKNOWN if kind == "remove" else op["value"], op)
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
        self.ops.append({**op, "from": pointer_of(new_source), "path": pointer_of(new_path)})
        return 0

    cdef int write(self, str kind, tuple path, object value, dict op) except -1:
        """One add, remove or replace of the push: emit it, change it or leave it out, and go on from there."""
        cdef bint in_list = self.is_index(path, False)
        cdef tuple place = placed(self.state_at(path, False), path, in_list) if in_list and path[-1] == END else path
        cdef _Write own = write(kind, place, in_list, value, NO_META)
        cdef tuple rule = self.rule(place)
        cdef list hits = []
        cdef tuple target = self.trace(path, own.inserts(), hits), last_place = self.last_place
        cdef object before
        cdef _Hit one
        cdef bint below = False
        if (rule[0] == "set" or rule[0] == "append") and self.merge_list(rule, place, op):
            return 0
        if rule[0] == "playhead" and not hits:
            self.trace(place[: rule[2]], False, hits)
            hits = [one for one in hits if not one.write.is_undo]
        if not hits and (self.is_owner or rule[0] != "owner"):
            self.emit(op if target is path else an_op(kind, target, value))
            self.did(op)
            if in_list or target is not path:  # else it neither covers nor shifts nor rides on any write
                self.writes = carry(self.writes, own)
            return 0
        for one in hits:
            below = below or one.touch == BELOW
        before = self.before(own) if below and kind != "remove" and <str>rule[0] != "playhead" else UNKNOWN
        if before is not UNKNOWN and is_whole_rewrite(before, value, in_list):
            for edit in diff(before, value, depth_max=DEPTH_LIMIT):
                edit_path = place + tuple(split_pointer(edit["path"]))
                edit["path"] = pointer_of(edit_path)
                self.write(edit["op"], edit_path, edit.get("value", UNKNOWN), edit)
            return 0
        self.decide(own, target, last_place, hits, rule)
        self.did(op)
        return 0

    cdef int decide(
        self, _Write own, tuple target, tuple last_place, list hits, tuple rule
    ) except -1:
        """What becomes of `own`, which lands at `target` (None: its list item is gone) where `hits` met it."""
        cdef object ours = own.value, current = UNKNOWN, parent = UNKNOWN, total
        cdef str policy = <str>rule[0], winner, kind
        cdef _Hit last = None
        cdef _Hit one
        cdef bint is_anew = False, is_below = False, is_told, counts, is_removal = own.kind == "remove"
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
            current = get(self.state_at(target, True), target)
        if policy == "owner" and not self.is_owner:
            return self.lose(own, last_place, hits, rule, "theirs", current)
        if target is None:
            if is_removal:
                return self.settle(own)
            return self.lose(own, last_place, hits, rule, "theirs", UNKNOWN)
        # two who counted to the same number counted twice: agreeing is then no reason to leave one out
        counts = last is not None and not is_removal and policy == "counter" and self.is_known and self.counts(own)
        if not is_removal and current is not UNKNOWN and same(ours, current) and not counts:
            return self.settle(own)
        winner = self.by_policy(policy, hits)
        if last is None:
            if winner:
                return self.lose(own, target, hits, rule, winner, current)
            return self.cover(own, target, hits, rule)
        if is_told or (not self.is_known and last.touch == EXACT):
            current, parent = last.write.value, {}
        elif self.is_known:
            parent = get(self.state_at(target, True), target[:-1]) if target else UNKNOWN
        else:
            rest = target[len(last.write.path) :]
            current, parent = inside(last.write.value, rest), inside(last.write.value, rest[:-1])
        if is_anew if own.in_list else len(target) > 0 and not isinstance(parent, dict):
            # an index into a list that theirs wrote anew means nothing; nor does a member of what is no object now
            if is_removal:
                return self.settle(own)
            return self.lose(own, target, hits, rule, "theirs", current)
        if is_removal:
            if current is UNKNOWN and (self.is_known or last.write.kind == "remove"):
                return self.settle(own)
            if winner:
                return self.lose(own, target, hits, rule, winner, current)
            self.emit(an_op("remove", target, UNKNOWN))
            self.report(target, rule, hits, a_row("ours", ours, current))
            return self.settle(own)
        if current is not UNKNOWN and same(ours, current) and not counts:
            return self.settle(own)
        if winner:
            return self.lose(own, target, hits, rule, winner, current)
        kind = own.kind if own.in_list else "add" if current is UNKNOWN and target else "replace"
        if (policy == "max" or policy == "min" or policy == "counter") and is_number(ours) and is_number(current):
            if (policy == "max" and current >= ours) or (policy == "min" and current <= ours):
                return self.lose(own, target, hits, rule, "theirs", current)
            before = self.before(own) if policy == "counter" and self.is_known else None
            before = 0 if before is UNKNOWN else before  # both sides began to count: from nothing
            if is_number(before):
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

    cdef bint counts(self, _Write own) except -1:
        """Whether `own`, at a counter, adds to it."""
        cdef object before = self.before(own)
        if not is_number(own.value):
            return False
        return before is UNKNOWN or (is_number(before) and before != own.value)

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
        self, _Write own, tuple target, list hits, tuple rule, str winner, object theirs
    ) except -1:
        """`own` is not taken over; to the ops after it that looks as if it had been taken back."""
        cdef dict meta = (<_Hit>hits[-1]).write.meta if hits else NO_META
        cdef str kind = "add" if own.kind == "remove" else "remove"
        cdef object before = self.before(own)
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
        row = {"path": pointer_of(path), "policy": rule[0], **row}
        if "version" in meta:
            row["theirs_version"] = meta["version"]
        if "device" in meta:
            row["theirs_device"] = meta["device"]
        if rule[0] == "counter" and row["winner"] == "both":  # counted again by the same push: one row tells it
            self.conflicts = [seen for seen in self.conflicts if seen["path"] != row["path"]]
        self.conflicts.append(row)
        return 0

    cdef bint merge_list(self, tuple rule, tuple place, dict op) except -1:
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
        ours = get(apply_patch(self.ours, [op], depth_max=DEPTH_LIMIT), governed)
        before = [] if before is UNKNOWN else before  # both sides made the list: it began empty
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
            edit["path"] = pointer_of(target) + edit["path"]
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
        self.did(op)
        return True


cdef tuple placed(object state, tuple path, bint in_list):
    """`path` with '-' made an index where the state tells."""
    if in_list and path[-1] == END and state is not UNKNOWN:
        return path[:-1] + (str(len(<list>get(state, path[:-1]))),)
    return path
