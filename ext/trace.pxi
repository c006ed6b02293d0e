# Where a place goes when somebody else writes: paths as tuples of tokens, followed through writes. Part of merge.pyx:
# a cdef class must not cross the border of a module. `syncbridge._twin.trace` says the same in plain Python.

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
    cdef bint overwrites  # of a move: something stood where it arrived
    cdef object value
    cdef dict meta
    cdef tuple merge  # a list being merged: before, theirs, its rows

    cdef bint inserts(self) noexcept:
        return self.in_list and self.kind == "add"

    cdef _Write copy(self):
        cdef _Write other = write(self.kind, self.path, self.in_list, self.value, self.meta)
        other.source, other.source_in_list = self.source, self.source_in_list
        other.is_undo, other.merge, other.overwrites = self.is_undo, self.merge, self.overwrites
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
    made.source_in_list = made.is_undo = made.overwrites = False
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
        # Our op went along with the value and removed it over there; what had stood there is gone all the same.
        if by.overwrites:
            after.append(write("remove", by.path, False, UNKNOWN, by.meta))
        return 0
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
