# Pointers compared as text: whether two places can have to do with each other, before either is taken apart.
# Escapes need no reading: ~0 and ~1 are the only spellings of their signs.

from cpython.object cimport PyObject

cdef extern from "Python.h":
    """
    static inline int sb_is_digit(Py_UCS4 sign) { return sign >= '0' && sign <= '9'; }

    /* Whether a pointer's last token looks like a list index. */
    static inline int sb_ends_in_index(PyObject *pointer) {
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(pointer) < 0) { PyErr_Clear(); return 1; }
    #endif
        const int kind = PyUnicode_KIND(pointer);
        const void *data = PyUnicode_DATA(pointer);
        const Py_ssize_t end = PyUnicode_GET_LENGTH(pointer);
        Py_ssize_t at = end;
        while (at > 0 && sb_is_digit(PyUnicode_READ(kind, data, at - 1))) at--;
        if (at == end && at > 0 && PyUnicode_READ(kind, data, at - 1) == '-') at--;
        return at < end && at > 0 && PyUnicode_READ(kind, data, at - 1) == '/';
    }

    /* The end of an index token that starts at `at`, or -1: the token there is a name. */
    static inline Py_ssize_t sb_index_end(int kind, const void *data, Py_ssize_t at, Py_ssize_t size) {
        const Py_ssize_t start = at;
        if (at < size && PyUnicode_READ(kind, data, at) == '-') at++;
        else while (at < size && sb_is_digit(PyUnicode_READ(kind, data, at))) at++;
        return at > start && (at == size || PyUnicode_READ(kind, data, at) == '/') ? at : -1;
    }

    /* Whether one of two places lies at, above or below the other. With `fuzzy` any index stands for any other. */
    static inline int sb_may_meet(PyObject *a, PyObject *b, int fuzzy) {
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(a) < 0 || PyUnicode_READY(b) < 0) { PyErr_Clear(); return 1; }
    #endif
        const int a_kind = PyUnicode_KIND(a), b_kind = PyUnicode_KIND(b);
        const void *a_data = PyUnicode_DATA(a), *b_data = PyUnicode_DATA(b);
        const Py_ssize_t a_size = PyUnicode_GET_LENGTH(a), b_size = PyUnicode_GET_LENGTH(b);
        Py_ssize_t i = 0, j = 0, a_token = 0, b_token = 0; /* where the tokens being compared start */
        for (;;) {
            const int a_ends = i == a_size || PyUnicode_READ(a_kind, a_data, i) == '/';
            const int b_ends = j == b_size || PyUnicode_READ(b_kind, b_data, j) == '/';
            if (a_ends && b_ends) {
                if (i == a_size || j == b_size) return 1;
                a_token = ++i;
                b_token = ++j;
            } else if (!a_ends && !b_ends && PyUnicode_READ(a_kind, a_data, i) == PyUnicode_READ(b_kind, b_data, j)) {
                i++;
                j++;
            } else {
                if (!fuzzy) return 0;
                i = sb_index_end(a_kind, a_data, a_token, a_size);
                j = sb_index_end(b_kind, b_data, b_token, b_size);
                if (i < 0 || j < 0) return 0;
            }
        }
    }
    """
    bint ends_in_index "sb_ends_in_index"(PyObject *pointer) noexcept
    bint may_meet "sb_may_meet"(PyObject *a, PyObject *b, bint fuzzy) noexcept
