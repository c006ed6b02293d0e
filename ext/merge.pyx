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

from syncbridge._ext.delta import diff
from syncbridge._ext.patch import apply_patch, split_pointer
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


include "trace.pxi"


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
                if one[2] is not None:
                    self.reach = None
                elif self.reach is not None:
                    self.reach.append(self.governed(<str>one[1]))
                    self.fuzzy = self.fuzzy or (one[0] != "replace" and ends_in_index(<PyObject *>one[1]))
                index += 1
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
        cdef bint in_list
        cdef _Write made
        if kind == "test" or (kind == "move" and source == path):
            return 0
        if kind == "copy" or kind == "move":
            value = get(self.merged_now(), source)
        if kind == "move":
            between = self.merged_now()
            if self.is_known:
                between = apply_patch(between, [{"op": "remove", "path": read[2]}], depth_max=DEPTH_LIMIT)
            in_list = self.is_index_of(between, path)
            made = write(kind, placed(between, path, in_list), in_list, value, meta)
            made.source, made.source_in_list = source, self.is_index(source, True)
            made.overwrites = self.is_known and not in_list and get(between, made.path) is not UNKNOWN
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
        if (rule[0] == "set" or rule[0] == "append") and merge_list(self, rule, place, op):
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
        decide(self, own, target, last_place, hits, rule)
        self.did(op)
        return 0

    cdef int emit(self, dict op) except -1:
        self.ops.append(op)
        if self.is_known:
            self.merged_behind.append(op)
        return 0


cdef tuple placed(object state, tuple path, bint in_list):
    """`path` with '-' made an index where the state tells."""
    if in_list and path[-1] == END and state is not UNKNOWN:
        return path[:-1] + (str(len(<list>get(state, path[:-1]))),)
    return path


include "verdict.pxi"
