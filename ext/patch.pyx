"""JSON Patch (RFC 6902) and merge patch (RFC 7396), applied; RFC 6901 pointers.

Values are immutable here: nothing given is changed, and results share with what was given. Whoever changes a value
after it was given or got changes the other as well. So the containers that are made here hold nothing younger than
themselves and no cycle, and the search for garbage is not shown them: states are kept by the thousand.

`syncbridge._twin.delta` and `syncbridge._twin.pointer` say the same in plain Python.
"""

cimport cython
from cpython.dict cimport PyDict_Copy
from cpython.list cimport PyList_GetSlice
from cpython.object cimport PyObject

from jsonkind cimport TOO_DEEP, PyDict_GetItemWithError, PyList_GET_ITEM, fits, is_container, is_name, same_value
from jsonsize cimport NAME_NOT_TEXT, NESTED_TOO_DEEP, length_of, sb_text_length

from syncbridge.errors import BadMessage, DepthExceeded, PatchError, PatchTestFailed, StateTooLarge

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(PyObject *container)  # also of one that is not tracked

cdef int DEPTH_MAX = 64
cdef int DEPTH_LIMIT = 256
cdef int INDEX_DIGITS_MAX = 9  # an index with more digits is past the end of any list we could hold
cdef object REQUIRED = object()
cdef str VALUE = "value"


cdef int allowed(object depth_max) except -1:
    if type(depth_max) is not int or not 0 <= depth_max <= DEPTH_LIMIT:
        raise ValueError(f"depth_max is an integer from 0 to {DEPTH_LIMIT}")
    return depth_max


cdef bint same(PyObject *a, PyObject *b, int depth_left) except -1:
    cdef int verdict = same_value(a, b, depth_left)
    if verdict == TOO_DEEP:
        raise DepthExceeded()
    return verdict


cdef Py_ssize_t length(PyObject *value, int depth_left) except -1:
    cdef Py_ssize_t total = length_of(value, depth_left)
    if total == NESTED_TOO_DEEP:
        raise DepthExceeded()
    if total < 0:
        raise BadMessage("a member name is not a string" if total == NAME_NOT_TEXT else "not a JSON value")
    return total


# -- pointers ------------------------------------------------------------------------------------------------------


cdef list tokens_of(object pointer):
    """The pointer's tokens, unescaped; [] is the whole document."""
    cdef list tokens
    cdef Py_ssize_t index
    if type(pointer) is not str:
        raise PatchError("a pointer is a string")
    if not pointer:
        return []
    tokens = (<str>pointer).split("/")
    if <str>tokens[0] != "":
        raise PatchError("a pointer is empty or starts with '/'", None, pointer)
    del tokens[0]
    if "~" in <str>pointer:
        for index in range(len(tokens)):
            tokens[index] = unescaped(<str>tokens[index], pointer)
    return tokens


cdef str unescaped(str token, object pointer):
    cdef str piece
    if "~" not in token:
        return token
    for piece in token.split("~")[1:]:
        if piece[:1] not in ("0", "1"):
            raise PatchError("'~' is followed by 0 or 1", None, pointer)
    return token.replace("~1", "/").replace("~0", "~")


cdef str escaped(str token):
    if "~" in token or "/" in token:
        return token.replace("~", "~0").replace("/", "~1")
    return token


def split_pointer(pointer, /):
    """The pointer's tokens, unescaped; [] is the whole document. Raises PatchError on a malformed pointer."""
    return tokens_of(pointer)


def join_pointer(tokens, /):
    """The pointer of these tokens; a list index may be given as an int."""
    return "".join(["/" + escaped(str(token)) for token in tokens])


cdef Py_ssize_t index_of(str token) noexcept:
    """The list index a token spells (RFC 6901: no sign, no leading zero), or -1."""
    cdef Py_ssize_t index = 0, size = len(token)
    cdef Py_UCS4 sign
    if size == 0 or size > INDEX_DIGITS_MAX or (size > 1 and token[0] == u"0"):
        return -1
    for sign in token:
        if sign < u"0" or sign > u"9":
            return -1
        index = index * 10 + (<Py_ssize_t>sign - 48)
    return index


cdef Py_ssize_t existing_index(str token, Py_ssize_t size, object pointer) except -1:
    cdef Py_ssize_t index = index_of(token)
    if index < 0 and not (token.isascii() and token.isdigit() and token[:1] != "0"):
        raise PatchError("an array index is 0 or digits without a leading zero", None, pointer)
    if index < 0 or index >= size:
        raise PatchError("the array index is past the end", None, pointer)
    return index


cdef Py_ssize_t inserting_index(str token, Py_ssize_t size, object pointer) except -1:
    return size if token == "-" else existing_index(token, size + 1, pointer)


cdef object step(object value, str token, object pointer):
    """The child of `value` named `token`; PatchError when there is none."""
    cdef PyObject *child
    if isinstance(value, dict):
        child = PyDict_GetItemWithError(<PyObject *>value, <PyObject *>token)
        if child is NULL:
            raise PatchError("no such member", None, pointer)
        return <object>child
    if isinstance(value, list):
        return (<list>value)[existing_index(token, len(<list>value), pointer)]
    raise PatchError("the pointer goes through a value that is neither object nor array", None, pointer)


def resolve(doc, pointer, default=REQUIRED, /):
    """The value at `pointer`, or `default`; PatchError when it is missing and no default is given."""
    value = doc
    for token in tokens_of(pointer):
        try:
            value = step(value, <str>token, pointer)
        except PatchError:
            if default is REQUIRED:
                raise
            return default
    return value


# -- apply ---------------------------------------------------------------------------------------------------------


def apply_patch(doc, ops, /, *, depth_max=DEPTH_MAX, ops_max=None, size_max=None):
    """`doc` after all of `ops`, or an error and nothing changed.

    Sharing   path copying: `doc` and every op stay valid; what did not change is shared with them.
    Size      with `size_max`, every intermediate state is judged too, before it is built.
    Root      can be replaced, added over and tested, not removed.
    Raises    PatchError (index, pointer, reason), PatchTestFailed, DepthExceeded, StateTooLarge.
    """
    cdef _Patcher run = _Patcher()
    run.doc = doc
    run.depth_max = allowed(depth_max)
    run.size = 0
    run.size_max = -1
    if size_max is not None:
        run.size = length(<PyObject *>doc, run.depth_max)
        run.size_max = size_max
    run.apply(ops, ops_max)
    return run.doc


def apply_measured(doc, Py_ssize_t size, ops, /, *, depth_max=DEPTH_MAX, Py_ssize_t size_max, ops_max=None):
    """As `apply_patch`, and the new state's length: `size` is ``measure(doc)``, kept at the cost of the patch."""
    cdef _Patcher run = _Patcher()
    if size_max < 0:
        raise ValueError("size_max is an integer from 0")
    run.doc = doc
    run.depth_max = allowed(depth_max)
    run.size = size
    run.size_max = size_max
    run.apply(ops, ops_max)
    return run.doc, run.size


@cython.final
@cython.freelist(4)
cdef class _Patcher:
    """One patch being applied: the state so far, and which of its containers are this run's own copies.

    A container is copied once, however many ops change it. `copy` puts one value in two places, so after it nothing
    counts as our own any more.
    """

    cdef object doc
    cdef dict own  # id -> container; kept alive here, so that an id is never used anew. None: one op copies anyway
    cdef Py_ssize_t size
    cdef Py_ssize_t size_max  # -1: not measured
    cdef int depth_max

    cdef int apply(self, object ops, object ops_max) except -1:
        cdef Py_ssize_t index = 0
        if not isinstance(ops, list):
            raise PatchError("a patch is an array of operations")
        if ops_max is not None and len(<list>ops) > ops_max:
            raise PatchError(f"a patch has at most {ops_max} operations, this one has {len(<list>ops)}")
        self.own = {} if len(<list>ops) > 1 else None
        try:
            for op in <list>ops:
                self.apply_one(op, index)
                index += 1
        except PatchError as error:
            raise type(error)(error.reason, index, error.pointer) from None
        return 0

    cdef int apply_one(self, object op, Py_ssize_t number) except -1:
        cdef list tokens, source_tokens
        cdef PyObject *given
        if not isinstance(op, dict):
            raise PatchError("an operation is an object")
        name = field(<dict>op, "op")
        path = field(<dict>op, "path")
        if name == "replace" or name == "add" or name == "test":
            given = PyDict_GetItemWithError(<PyObject *>op, <PyObject *>VALUE)
            if given is NULL:
                raise PatchError("'value' is missing", None, path)
            tokens = tokens_of(path)
            if name == "test":
                return self.test(tokens, path, given)
            return self.put(tokens, path, <object>given, name == "add", 0, number)
        if name == "remove":
            self.size += self.remove(tokens_of(path), path)
            return self.judge(self.size, number)
        if name != "move" and name != "copy":
            raise PatchError("'op' is none of add, remove, replace, move, copy, test")
        tokens = tokens_of(path)
        source = field(<dict>op, "from")
        source_tokens = tokens_of(source)
        value = self.doc
        for token in source_tokens:
            value = step(value, <str>token, source)
        if name == "copy":
            if self.own is not None and is_container(<PyObject *>value):
                self.own.clear()  # before the copy is put in: it may be put into itself
            return self.put(tokens, path, value, True, 0, number)
        if source_tokens == tokens:
            return self.judge(self.size, number)
        if tokens[: len(source_tokens)] == source_tokens:
            raise PatchError("a value cannot be moved into itself", None, path)
        return self.put(tokens, path, value, True, self.remove(source_tokens, source), number)

    cdef int judge(self, Py_ssize_t size, Py_ssize_t number) except -1:
        if self.size_max >= 0 and size > self.size_max:
            raise StateTooLarge(f"op {number}: the state would have {size} bytes, the limit is {self.size_max}")
        return 0

    cdef int test(self, list tokens, object path, PyObject *expected) except -1:
        value = self.doc
        for token in tokens:
            try:
                value = step(value, <str>token, path)
            except PatchError as error:
                raise PatchTestFailed(error.reason, None, path) from None
        if not same(<PyObject *>value, expected, self.depth_max):
            raise PatchTestFailed("the value is another one", None, path)
        return 0

    cdef object owned(self, object container, object path):
        """`container` if it is this run's own copy, else a copy of it."""
        cdef object key
        if self.own is not None:
            key = <size_t><PyObject *>container
            if key in self.own:
                return container
        if isinstance(container, dict):
            container = PyDict_Copy(container)
        elif isinstance(container, list):
            container = PyList_GetSlice(container, 0, len(<list>container))
        else:
            raise PatchError("the pointer goes through a value that is neither object nor array", None, path)
        PyObject_GC_UnTrack(<PyObject *>container)
        if self.own is not None:
            self.own[<size_t><PyObject *>container] = container
        return container

    cdef object parent(self, list tokens, object path):
        """The container of the last token, with everything on the way to it our own."""
        cdef Py_ssize_t depth, index
        cdef str token
        cdef object child, here
        here = self.doc = self.owned(self.doc, path)
        for depth in range(len(tokens) - 1):
            token = <str>tokens[depth]
            child = self.owned(step(here, token, path), path)
            if isinstance(here, dict):
                (<dict>here)[token] = child
                PyObject_GC_UnTrack(<PyObject *>here)  # a dict that is given a container is tracked anew
            else:
                index = index_of(token)  # step found it there
                (<list>here)[index] = child
            here = child
        return here

    cdef int put(
        self, list tokens, object path, object value, bint is_add, Py_ssize_t change, Py_ssize_t number
    ) except -1:
        """Add or replace; the new length, with `change` from what the op did before, is judged first."""
        cdef Py_ssize_t index, count
        cdef int depth_left = self.depth_max - <int>min(len(tokens), <Py_ssize_t>DEPTH_LIMIT + 1)
        cdef PyObject *old = NULL
        cdef str token
        cdef object here
        if not tokens:
            self.check_depth(value, depth_left)
            if self.size_max >= 0:
                change = length(<PyObject *>value, depth_left)
                self.judge(change, number)
                self.size = change
            self.doc = value
            return 0
        here = self.parent(tokens, path)
        token = <str>tokens[len(tokens) - 1]
        if isinstance(here, dict):
            old = PyDict_GetItemWithError(<PyObject *>here, <PyObject *>token)
            if old is NULL and not is_add:
                raise PatchError("no such member", None, path)
            index, count = -1, len(<dict>here)
        else:
            count = len(<list>here)
            if is_add:
                index = inserting_index(token, count, path)
            else:
                index = existing_index(token, count, path)
                old = PyList_GET_ITEM(<PyObject *>here, index)
        self.check_depth(value, depth_left)
        if self.size_max >= 0:
            change += length(<PyObject *>value, depth_left)
            if old is not NULL:
                change -= length(old, depth_left)
            else:
                change += (count > 0) + (sb_text_length(<PyObject *>token) + 1 if index < 0 else 0)
            self.judge(self.size + change, number)
            self.size += change
        if index < 0:
            (<dict>here)[token] = value
            PyObject_GC_UnTrack(<PyObject *>here)
        elif is_add:
            (<list>here).insert(index, value)
        else:
            (<list>here)[index] = value
        return 0

    cdef int check_depth(self, object value, int depth_left) except -1:
        if is_container(<PyObject *>value) and not fits(<PyObject *>value, depth_left):
            raise DepthExceeded()
        return 0

    cdef Py_ssize_t remove(self, list tokens, object path) except? 1:
        """Removes, and tells by how much the length changes (0 when it is not measured)."""
        cdef Py_ssize_t index, change = 0
        cdef str token
        cdef object here, old
        if not tokens:
            raise PatchError("the whole document cannot be removed", None, path)
        here = self.parent(tokens, path)
        token = <str>tokens[len(tokens) - 1]
        old = step(here, token, path)
        if self.size_max >= 0:
            change = -length(<PyObject *>old, self.depth_max)
        if isinstance(here, dict):
            if self.size_max >= 0:
                change -= (len(<dict>here) > 1) + sb_text_length(<PyObject *>token) + 1
            del (<dict>here)[token]
        else:
            if self.size_max >= 0:
                change -= len(<list>here) > 1
            index = index_of(token)  # step found it there
            del (<list>here)[index]
        return change


cdef str field(dict op, str name):
    cdef PyObject *value = PyDict_GetItemWithError(<PyObject *>op, <PyObject *>name)
    if value is NULL or not is_name(value):
        raise PatchError(f"'{name}' is missing or not a string")
    return <str>value


def merge_patch(doc, patch, /, *, depth_max=DEPTH_MAX):
    """`doc` after an RFC 7396 merge patch; both stay valid. Raises DepthExceeded."""
    return merged(doc, patch, allowed(depth_max))


cdef object merged(object doc, object patch, int depth_left):
    cdef dict after
    if not isinstance(patch, dict):
        if not fits(<PyObject *>patch, depth_left):
            raise DepthExceeded()
        return patch
    if depth_left <= 0:
        raise DepthExceeded()
    after = PyDict_Copy(doc) if isinstance(doc, dict) else {}
    for key, value in (<dict>patch).items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = merged(after.get(key), value, depth_left - 1)
    return after
