# JSON by kind, over borrowed pointers: what delta, merge and values share, inlined into each.
#
# Danger: every PyObject* here is borrowed from a container that the caller keeps alive and nobody changes. Values
# are JSON (dict, list, str, int, float, bool, None), so comparing runs no Python code that could change them.

from cpython.object cimport PyObject

cdef extern from "Python.h":
    """
    #include <string.h>

    /* Whether two str objects hold the same code points. One memcmp; PyUnicode_Compare would also find an order. */
    static inline int sb_same_text(PyObject *a, PyObject *b) {
        if (a == b) return 1;
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(a) < 0 || PyUnicode_READY(b) < 0) { PyErr_Clear(); return 0; }
    #endif
        Py_ssize_t length = PyUnicode_GET_LENGTH(a);
        if (length != PyUnicode_GET_LENGTH(b) || PyUnicode_KIND(a) != PyUnicode_KIND(b)) return 0;
        return memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * (size_t)PyUnicode_KIND(a)) == 0;
    }

    /* 1 or 0 for two values that are not both containers; -1 with an exception set. */
    static inline int sb_same_scalar(PyObject *a, PyObject *b) {
        PyTypeObject *kind = Py_TYPE(a);
        if (kind != Py_TYPE(b)) return 0;
        if (kind == &PyUnicode_Type) return sb_same_text(a, b);
        if (kind == &PyFloat_Type) return PyFloat_AS_DOUBLE(a) == PyFloat_AS_DOUBLE(b);
        if (kind == &PyLong_Type) { /* the type's own slot: no recursion guard, no look-up of the reflected one */
            PyObject *verdict = PyLong_Type.tp_richcompare(a, b, Py_EQ);
            if (verdict == NULL) return -1;
            const int same = verdict == Py_True;
            Py_DECREF(verdict);
            return same;
        }
        return PyObject_RichCompareBool(a, b, Py_EQ);
    }

    static inline PyTypeObject *sb_type(PyObject *value) { return Py_TYPE(value); }
    """
    ctypedef struct PyTypeObject:
        pass

    PyTypeObject PyUnicode_Type, PyFloat_Type

    bint sb_same_text(PyObject *a, PyObject *b) noexcept
    int same_scalar "sb_same_scalar"(PyObject *a, PyObject *b) except -1
    PyTypeObject *sb_type(PyObject *value) noexcept

    bint PyDict_Check(PyObject *value) noexcept
    bint PyList_Check(PyObject *value) noexcept
    double PyFloat_AS_DOUBLE(PyObject *value) noexcept
    Py_ssize_t PyDict_GET_SIZE(PyObject *value) noexcept
    bint PyDict_Next(PyObject *value, Py_ssize_t *position, PyObject **key, PyObject **item) noexcept
    PyObject *PyDict_GetItemWithError(PyObject *value, PyObject *key) except? NULL
    Py_ssize_t PyList_GET_SIZE(PyObject *value) noexcept
    PyObject *PyList_GET_ITEM(PyObject *value, Py_ssize_t index) noexcept


cdef enum:
    TOO_DEEP = 2  # an answer of same_value: neither yes nor no, and no exception yet


cdef inline bint is_container(PyObject *value) noexcept:
    return PyDict_Check(value) or PyList_Check(value)


cdef inline bint is_name(PyObject *key) noexcept:
    return sb_type(key) is &PyUnicode_Type


cdef inline bint same_name(PyObject *a, PyObject *b) noexcept:
    """Whether two member names are the same str; other hashables are left to the look-up."""
    return a is b or (is_name(a) and is_name(b) and sb_same_text(a, b))


cdef inline int same_value(PyObject *a, PyObject *b, int depth_left) except -1:
    """1 when equal by kind, 0 when not, TOO_DEEP when containers nest deeper than `depth_left`."""
    if a is b:
        return 1
    if PyDict_Check(a):
        return same_objects(a, b, depth_left) if PyDict_Check(b) else 0
    if PyList_Check(a):
        return same_lists(a, b, depth_left) if PyList_Check(b) else 0
    return same_scalar(a, b)


cdef inline int same_lists(PyObject *a, PyObject *b, int depth_left) except -1:
    cdef Py_ssize_t index, length = PyList_GET_SIZE(a)
    cdef int verdict
    if length != PyList_GET_SIZE(b):
        return 0
    if depth_left <= 0:
        return TOO_DEEP
    for index in range(length):
        if PyList_GET_ITEM(a, index) is not PyList_GET_ITEM(b, index):
            verdict = same_value(PyList_GET_ITEM(a, index), PyList_GET_ITEM(b, index), depth_left - 1)
            if verdict != 1:
                return verdict
    return 1


cdef inline int same_objects(PyObject *a, PyObject *b, int depth_left) except -1:
    # Two parses of one document have their names in one order: walk both in step, and hash only after a difference.
    cdef Py_ssize_t a_position = 0, b_position = 0
    cdef PyObject *a_key = NULL
    cdef PyObject *b_key = NULL
    cdef PyObject *a_item = NULL
    cdef PyObject *b_item = NULL
    cdef bint in_step = True
    cdef int verdict
    if PyDict_GET_SIZE(a) != PyDict_GET_SIZE(b):
        return 0
    if depth_left <= 0:
        return TOO_DEEP
    while PyDict_Next(a, &a_position, &a_key, &a_item):
        if in_step:
            in_step = PyDict_Next(b, &b_position, &b_key, &b_item) and same_name(a_key, b_key)
        if not in_step:
            b_item = PyDict_GetItemWithError(b, a_key)
            if b_item is NULL:
                return 0
        if a_item is not b_item:
            verdict = same_value(a_item, b_item, depth_left - 1)
            if verdict != 1:
                return verdict
    return 1


cdef inline bint fits(PyObject *value, int depth_left) noexcept:
    """Whether `value` nests at most `depth_left` levels."""
    cdef Py_ssize_t index, position = 0
    cdef PyObject *key = NULL
    cdef PyObject *item = NULL
    if PyDict_Check(value):
        if depth_left <= 0:
            return False
        while PyDict_Next(value, &position, &key, &item):
            if is_container(item) and not fits(item, depth_left - 1):
                return False
    elif PyList_Check(value):
        if depth_left <= 0:
            return False
        for index in range(PyList_GET_SIZE(value)):
            item = PyList_GET_ITEM(value, index)
            if is_container(item) and not fits(item, depth_left - 1):
                return False
    return True
