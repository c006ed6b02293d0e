"""The difference of two JSON values as a JSON Patch (RFC 6902).

Values are immutable here: nothing given is changed, and the ops share with what was given.

`syncbridge._twin.delta` says the same in plain Python.
"""

from cpython.object cimport PyObject

from jsonkind cimport (
    TOO_DEEP, PyDict_Check, PyDict_GET_SIZE, PyDict_GetItemWithError, PyDict_Next, PyList_Check, PyList_GET_ITEM,
    PyList_GET_SIZE, is_name, same_name, same_scalar, same_value,
)

from syncbridge.errors import DepthExceeded, PatchError

cdef int DEPTH_MAX = 64
cdef int DEPTH_LIMIT = 256
cdef int ALIGN_LISTS_MAX = 8  # lists inside this many lists are compared place by place, which keeps the cost linear
cdef Py_ssize_t WINDOW = 64  # how far an item is searched for after a mismatch
cdef int SEARCHES_MAX = 8  # searches that may fail before the rest of a list is compared place by place
cdef int ID_DEPTH_MAX = 64
cdef str ID = "id"


cdef int allowed(object depth_max) except -1:
    if type(depth_max) is not int or not 0 <= depth_max <= DEPTH_LIMIT:
        raise ValueError(f"depth_max is an integer from 0 to {DEPTH_LIMIT}")
    return depth_max


cdef bint same(PyObject *a, PyObject *b, int depth_left) except -1:
    cdef int verdict = same_value(a, b, depth_left)
    if verdict == TOO_DEEP:
        raise DepthExceeded()
    return verdict


cdef str escaped(str token):
    if "~" in token or "/" in token:
        return token.replace("~", "~0").replace("/", "~1")
    return token


cdef struct Place:
    # One step of the way to the values being compared; it becomes a pointer only when an op is written.
    Place *up
    PyObject *key  # NULL: an index
    Py_ssize_t index


cdef extern from "Python.h":
    """
    /* Writes the escaped ASCII `name` so that it ends at `end`; its start, or NULL: not ASCII, or no room. */
    static inline char *sb_name_before(PyObject *name, char *start, char *end) {
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(name) < 0) { PyErr_Clear(); return NULL; }
    #endif
        if (!PyUnicode_IS_ASCII(name)) return NULL;
        const Py_ssize_t length = PyUnicode_GET_LENGTH(name);
        const char *data = (const char *)PyUnicode_1BYTE_DATA(name);
        if (end - start < 2 * length + 1) return NULL;
        for (Py_ssize_t i = length; i-- > 0;) {
            if (data[i] == '~') { *--end = '0'; *--end = '~'; }
            else if (data[i] == '/') { *--end = '1'; *--end = '~'; }
            else *--end = data[i];
        }
        return end;
    }

    /* Writes the decimal digits of `index` so that they end at `end`; their start, or NULL: no room. */
    static inline char *sb_index_before(Py_ssize_t index, char *start, char *end) {
        if (end - start < 24) return NULL;
        do { *--end = (char)('0' + index % 10); index /= 10; } while (index);
        return end;
    }
    """
    char *sb_name_before(PyObject *name, char *start, char *end) noexcept
    char *sb_index_before(Py_ssize_t index, char *start, char *end) noexcept
    object PyUnicode_FromStringAndSize(const char *data, Py_ssize_t size)


cdef str pointer_of(Place *here):
    """The pointer of a place, written backwards into a buffer; long or not ASCII ones are joined from pieces."""
    cdef char room[512]
    cdef char *end = room + 512
    cdef char *at = end
    cdef Place *place = here
    while place is not NULL:
        if place.key is NULL:
            at = sb_index_before(place.index, room, at)
        elif is_name(place.key):
            at = sb_name_before(place.key, room, at)
        else:
            raise PatchError("a member name is not a string")
        if at is NULL or at == room:
            return joined_pointer_of(here)
        at -= 1
        at[0] = b"/"
        place = place.up
    return PyUnicode_FromStringAndSize(at, <Py_ssize_t>(<size_t>end - <size_t>at))


cdef str joined_pointer_of(Place *here):
    cdef list pieces = []
    while here is not NULL:
        if here.key is NULL:
            pieces.append(str(here.index))
        elif is_name(here.key):
            pieces.append(escaped(<str>here.key))
        else:
            raise PatchError("a member name is not a string")
        here = here.up
    pieces.append("")
    pieces.reverse()
    return "/".join(pieces)


def diff(a, b, /, *, depth_max=DEPTH_MAX):
    """Ops that turn `a` into `b`; empty when they are equal.

    Shape    RFC 6902 add, remove and replace; values are those of `b`, not copies.
    Order    members in the order of `a`, then those only `b` has; items from low to high, of several removed
             side by side the highest first.
    Lists    one run of items appended, inserted or deleted, or one item changed, costs just that; further
             edits are found when items reappear within a window. Two objects whose ``id`` differ are two items.
    Kinds    true, 1 and 1.0 differ.
    Cost     a bounded number of looks at each node; allocates for changed paths only.
    Raises   DepthExceeded.
    Law      apply_patch(a, diff(a, b)) equals b   (tests/property/test_delta_laws.py)
    """
    cdef list ops = []
    diff_values(<PyObject *>a, <PyObject *>b, NULL, allowed(depth_max), 0, ops)
    return ops


cdef int diff_values(PyObject *a, PyObject *b, Place *here, int depth_left, int lists, list ops) except -1:
    if a is b:
        return 0
    if PyDict_Check(a) and PyDict_Check(b):
        if depth_left <= 0:
            raise DepthExceeded()
        return diff_objects(a, b, here, depth_left - 1, lists, ops)
    if PyList_Check(a) and PyList_Check(b):
        if depth_left <= 0:
            raise DepthExceeded()
        return diff_lists(a, b, here, depth_left - 1, lists + 1, ops)
    if not same_scalar(a, b):
        ops.append({"op": "replace", "path": pointer_of(here), "value": <object>b})
    return 0


cdef int diff_objects(PyObject *a, PyObject *b, Place *here, int depth_left, int lists, list ops) except -1:
    # In step while the names come in one order, as in two parses of one document; by look-up from the first that
    # does not. Borrowed pointers: see jsonkind.pxd.
    cdef Py_ssize_t a_position = 0, b_position = 0, shared = 0
    cdef PyObject *a_key = NULL
    cdef PyObject *b_key = NULL
    cdef PyObject *a_item = NULL
    cdef PyObject *b_item = NULL
    cdef bint in_step = True
    cdef Place place
    place.up, place.index = here, 0
    while PyDict_Next(a, &a_position, &a_key, &a_item):
        if in_step:
            in_step = PyDict_Next(b, &b_position, &b_key, &b_item) and same_name(a_key, b_key)
        if not in_step:
            b_item = PyDict_GetItemWithError(b, a_key)
        place.key = a_key
        if b_item is NULL:
            ops.append({"op": "remove", "path": pointer_of(&place)})
            continue
        shared += 1
        if a_item is not b_item:
            diff_values(a_item, b_item, &place, depth_left, lists, ops)
    if shared == PyDict_GET_SIZE(b):
        return 0
    b_position = 0
    while PyDict_Next(b, &b_position, &b_key, &b_item):
        if PyDict_GetItemWithError(a, b_key) is NULL:
            place.key = b_key
            ops.append({"op": "add", "path": pointer_of(&place), "value": <object>b_item})
    return 0


cdef int diff_lists(PyObject *a, PyObject *b, Place *here, int depth_left, int lists, list ops) except -1:
    cdef Py_ssize_t a_end = PyList_GET_SIZE(a), b_end = PyList_GET_SIZE(b)
    cdef Py_ssize_t i = 0, j, removed, added
    cdef int searches_left = SEARCHES_MAX
    if lists > ALIGN_LISTS_MAX:
        return diff_gap(a, b, 0, 0, a_end, b_end, here, depth_left, lists, ops)
    while i < a_end and i < b_end and same(PyList_GET_ITEM(a, i), PyList_GET_ITEM(b, i), depth_left):
        i += 1
    while a_end > i and b_end > i and same(
        PyList_GET_ITEM(a, a_end - 1), PyList_GET_ITEM(b, b_end - 1), depth_left
    ):
        a_end -= 1
        b_end -= 1
    j = i
    while i < a_end and j < b_end:
        if same(PyList_GET_ITEM(a, i), PyList_GET_ITEM(b, j), depth_left):
            i += 1
            j += 1
            continue
        removed = added = 0
        if searches_left:
            resync(a, b, i, j, a_end, b_end, depth_left, &removed, &added)
        if removed == 0 and added == 0:
            if searches_left:
                searches_left -= 1
            removed = added = 1
        diff_gap(a, b, i, j, removed, added, here, depth_left, lists, ops)
        i += removed
        j += added
    return diff_gap(a, b, i, j, a_end - i, b_end - j, here, depth_left, lists, ops)


cdef int diff_gap(
    PyObject *a, PyObject *b, Py_ssize_t i, Py_ssize_t j, Py_ssize_t removed, Py_ssize_t added,
    Place *here, int depth_left, int lists, list ops,
) except -1:
    """`removed` items of a from i become `added` items of b from j; all before b[j] is in place."""
    cdef Py_ssize_t k, pairs = min(removed, added)
    cdef PyObject *x
    cdef PyObject *y
    cdef Place place
    place.up, place.key, place.index = here, NULL, 0
    for k in range(pairs):
        x, y = PyList_GET_ITEM(a, i + k), PyList_GET_ITEM(b, j + k)
        place.index = j + k
        if are_two_items(x, y):
            ops.append({"op": "replace", "path": pointer_of(&place), "value": <object>y})
        else:
            diff_values(x, y, &place, depth_left, lists, ops)
    for k in range(removed - 1, pairs - 1, -1):
        place.index = j + k
        ops.append({"op": "remove", "path": pointer_of(&place)})
    for k in range(pairs, added):
        place.index = j + k
        ops.append({"op": "add", "path": pointer_of(&place), "value": <object>PyList_GET_ITEM(b, j + k)})
    return 0


cdef bint are_two_items(PyObject *x, PyObject *y) except -1:
    cdef PyObject *x_id
    cdef PyObject *y_id
    if not PyDict_Check(x) or not PyDict_Check(y):
        return False
    x_id = PyDict_GetItemWithError(x, <PyObject *>ID)
    if x_id is NULL:
        return False
    y_id = PyDict_GetItemWithError(y, <PyObject *>ID)
    return y_id is not NULL and not same(x_id, y_id, ID_DEPTH_MAX)


cdef int resync(
    PyObject *a, PyObject *b, Py_ssize_t i, Py_ssize_t j, Py_ssize_t a_end, Py_ssize_t b_end, int depth_left,
    Py_ssize_t *removed, Py_ssize_t *added,
) except -1:
    """The nearest (removed, added) after which items match again; left as they are when none within the window."""
    cdef Py_ssize_t k, longer = (b_end - j) - (a_end - i)
    cdef bint a_has, b_has
    for k in range(1, WINDOW + 1):
        a_has, b_has = i + k < a_end, j + k < b_end
        if not a_has and not b_has:
            return 0
        if longer == 0 and a_has and same(PyList_GET_ITEM(a, i + k), PyList_GET_ITEM(b, j + k), depth_left):
            removed[0], added[0] = k, k
            return 0
        if b_has and same(PyList_GET_ITEM(a, i), PyList_GET_ITEM(b, j + k), depth_left):
            added[0] = k
            return 0
        if a_has and same(PyList_GET_ITEM(a, i + k), PyList_GET_ITEM(b, j), depth_left):
            removed[0] = k
            return 0
        if (
            longer != 0 and a_has and b_has
            and same(PyList_GET_ITEM(a, i + k), PyList_GET_ITEM(b, j + k), depth_left)
        ):
            removed[0], added[0] = k, k
            return 0
    return 0
