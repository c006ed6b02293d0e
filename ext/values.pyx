"""JSON values by kind: equality, what is acceptable, how long the encoding is, the canonical form.

Kinds: null, boolean, integer, float, string, array, object. Values of two kinds are never equal, so true, 1 and
1.0 differ (Python's ``==`` says they are the same). Within floats, -0.0 equals 0.0 (the canonical form of both is
``0``) and NaN equals nothing but itself as an object. Strings are compared by code points, without normalisation.

Acceptable (``check``): integers within +-(2^53 - 1), which every JSON peer can hold (RFC 7493); finite floats;
strings without lone surrogates; member names that are strings. The other functions do not repeat this check: they
stay defined on big integers and lone surrogates (compared exactly, measured as their digits and as 3 bytes each),
except ``canonical``, which refuses what RFC 8785 cannot write.

`syncbridge._twin.values` says the same in plain Python.
"""

import json

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from libc.string cimport memcpy, memset

from jsonkind cimport (
    TOO_DEEP, PyDict_Check, PyDict_Next, PyFloat_AS_DOUBLE, PyList_Check, PyList_GET_ITEM, PyList_GET_SIZE,
    is_name, same_value,
)
from jsonsize cimport (
    NAME_NOT_TEXT, NESTED_TOO_DEEP, Py_False, Py_None, Py_True, PyFloat_Check, PyLong_AsLongLongAndOverflow,
    PyLong_Check, PyOS_double_to_string, PyUnicode_Check, length_of, sb_float_digits,
)

from syncbridge.errors import BadMessage, DepthExceeded

DEPTH_MAX = 64
DEPTH_LIMIT = 256  # no depth_max above this: recursion stays far from the end of any thread's stack
INTEGER_MAX = 2**53 - 1

cdef long long _INTEGER_MAX = 9007199254740991

cdef extern from "Python.h":
    """
    /* Whether the text holds no lone surrogate. A str never holds pairs, so any surrogate code point is alone. */
    static inline int sb_is_scalar_text(PyObject *text) {
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(text) < 0) { PyErr_Clear(); return 0; }
    #endif
        if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) return 1;
        const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
        const int kind = PyUnicode_KIND(text);
        const void *data = PyUnicode_DATA(text);
        for (Py_ssize_t i = 0; i < length; i++) {
            const Py_UCS4 code = PyUnicode_READ(kind, data, i);
            if (code >= 0xD800 && code <= 0xDFFF) return 0;
        }
        return 1;
    }

    static inline int sb_beyond_bmp(PyObject *text) { return PyUnicode_KIND(text) == PyUnicode_4BYTE_KIND; }
    """
    bint sb_is_scalar_text(PyObject *text) noexcept
    bint sb_beyond_bmp(PyObject *text) noexcept
    const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size) except NULL


cdef int allowed(object depth_max) except -1:
    if type(depth_max) is not int or not 0 <= depth_max <= DEPTH_LIMIT:
        raise ValueError(f"depth_max is an integer from 0 to {DEPTH_LIMIT}")
    return depth_max


def equal(a, b, /, *, depth_max=DEPTH_MAX):
    """Whether two JSON values are the same value of the same kind. Raises DepthExceeded."""
    cdef int verdict = same_value(<PyObject *>a, <PyObject *>b, allowed(depth_max))
    if verdict == TOO_DEEP:
        raise DepthExceeded()
    return verdict == 1


def measure(value, /, *, depth_max=DEPTH_MAX):
    """Length in bytes of the compact JSON encoding, as ``len(orjson.dumps(value))``. Raises DepthExceeded."""
    cdef Py_ssize_t length = length_of(<PyObject *>value, allowed(depth_max))
    if length == NESTED_TOO_DEEP:
        raise DepthExceeded()
    if length < 0:
        raise BadMessage("a member name is not a string" if length == NAME_NOT_TEXT else "not a JSON value")
    return length


# -- what is acceptable --------------------------------------------------------------------------------------------


cdef struct Step:
    # One step of the way to the value being checked; a place is spelled only when something is wrong there.
    Step *up
    PyObject *key  # NULL: an index
    Py_ssize_t index


cdef str place_of(Step *step, str root):
    cdef list steps = []
    while step is not NULL:
        steps.append(step.index if step.key is NULL else <object>step.key)
        step = step.up
    steps.reverse()
    for token in steps:
        if isinstance(token, int):
            root += f"[{token}]"
        elif token.isascii() and token.isidentifier() and len(token) <= 40:
            root += "." + token
        else:
            root += f"[{json.dumps(token[:40])}]"
    return root


def check(value, /, *, depth_max=DEPTH_MAX, integer_max=INTEGER_MAX, str place="$"):
    """None when every peer can hold `value`; else BadMessage or DepthExceeded naming the place (``$.a[3].b``)."""
    cdef long long bound = integer_max
    if bound < 0:
        raise ValueError("integer_max is an integer from 0")
    check_value(<PyObject *>value, allowed(depth_max), bound, NULL, place)


cdef int check_value(PyObject *value, int depth_left, long long integer_max, Step *here, str root) except -1:
    cdef Py_ssize_t position = 0
    cdef PyObject *key = NULL
    cdef PyObject *item = NULL
    cdef Step step
    cdef int overflow = 0
    cdef long long number
    cdef double real
    if value is Py_None or value is Py_True or value is Py_False:
        return 0
    if PyUnicode_Check(value):
        if not sb_is_scalar_text(value):
            raise BadMessage(f"{place_of(here, root)}: a string holds a lone surrogate")
    elif PyLong_Check(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow or number > integer_max or number < -integer_max:
            raise BadMessage(f"{place_of(here, root)}: an integer is beyond what every peer can hold")
    elif PyFloat_Check(value):
        real = PyFloat_AS_DOUBLE(value)
        if real - real != 0.0:
            raise BadMessage(f"{place_of(here, root)}: a number is not finite")
    elif PyList_Check(value):
        if depth_left <= 0:
            raise DepthExceeded(f"{place_of(here, root)}: {DepthExceeded.meaning}")
        step.up, step.key = here, NULL
        for position in range(PyList_GET_SIZE(value)):
            step.index = position
            check_value(PyList_GET_ITEM(value, position), depth_left - 1, integer_max, &step, root)
    elif PyDict_Check(value):
        if depth_left <= 0:
            raise DepthExceeded(f"{place_of(here, root)}: {DepthExceeded.meaning}")
        step.up = here
        while PyDict_Next(value, &position, &key, &item):
            if not is_name(key):
                raise BadMessage(f"{place_of(here, root)}: a member name is not a string")
            if not sb_is_scalar_text(key):
                raise BadMessage(f"{place_of(here, root)}: a member name holds a lone surrogate")
            step.key = key
            check_value(item, depth_left - 1, integer_max, &step, root)
    else:
        raise BadMessage(f"{place_of(here, root)}: not a JSON value")
    return 0


# -- the canonical form --------------------------------------------------------------------------------------------


cdef struct Buffer:
    char *data
    Py_ssize_t used
    Py_ssize_t room


cdef int reserve(Buffer *out, Py_ssize_t more) except -1:
    cdef Py_ssize_t room
    cdef void *data
    if out.used + more <= out.room:
        return 0
    room = max(out.room * 2, out.used + more)
    data = PyMem_Realloc(out.data, room)
    if data is NULL:
        raise MemoryError()
    out.data = <char *>data
    out.room = room
    return 0


cdef int put(Buffer *out, const char *data, Py_ssize_t length) except -1:
    reserve(out, length)
    memcpy(out.data + out.used, data, length)
    out.used += length
    return 0


def canonical(value, /, *, depth_max=DEPTH_MAX):
    """The RFC 8785 (JCS) encoding. Raises BadMessage for what it cannot write, DepthExceeded."""
    cdef Buffer out
    cdef int depth = allowed(depth_max)
    out.data, out.used, out.room = NULL, 0, 0
    try:
        reserve(&out, 256)
        write_value(&out, <PyObject *>value, depth)
        return PyBytes_FromStringAndSize(out.data, out.used)
    finally:
        PyMem_Free(out.data)


cdef int write_value(Buffer *out, PyObject *value, int depth_left) except -1:
    cdef Py_ssize_t index
    cdef int overflow = 0
    cdef long long number
    if value is Py_None:
        put(out, b"null", 4)
    elif value is Py_True:
        put(out, b"true", 4)
    elif value is Py_False:
        put(out, b"false", 5)
    elif PyUnicode_Check(value):
        write_text(out, value)
    elif PyLong_Check(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow or number > _INTEGER_MAX or number < -_INTEGER_MAX:
            raise BadMessage("an integer is beyond what every peer can hold")
        write_integer(out, number)
    elif PyFloat_Check(value):
        write_float(out, PyFloat_AS_DOUBLE(value))
    elif PyList_Check(value):
        if depth_left <= 0:
            raise DepthExceeded()
        put(out, b"[", 1)
        for index in range(PyList_GET_SIZE(value)):
            if index:
                put(out, b",", 1)
            write_value(out, PyList_GET_ITEM(value, index), depth_left - 1)
        put(out, b"]", 1)
    elif PyDict_Check(value):
        if depth_left <= 0:
            raise DepthExceeded()
        write_object(out, <dict>value, depth_left)
    else:
        raise BadMessage("not a JSON value")
    return 0


cdef int write_object(Buffer *out, dict value, int depth_left) except -1:
    cdef list names = list(value)
    cdef bint beyond_bmp = False
    cdef bint is_first = True
    for name in names:
        if type(name) is not str:
            raise BadMessage("a member name is not a string")
        beyond_bmp = beyond_bmp or sb_beyond_bmp(<PyObject *>name)
        if not sb_is_scalar_text(<PyObject *>name):
            raise BadMessage("a string holds a lone surrogate")
    if beyond_bmp:  # RFC 8785 section 3.2.3: by UTF-16 code units; the same order as code points below U+10000
        names.sort(key=utf16)
    else:
        names.sort()
    put(out, b"{", 1)
    for name in names:
        if not is_first:
            put(out, b",", 1)
        is_first = False
        write_text(out, <PyObject *>name)
        put(out, b":", 1)
        item = value[name]
        write_value(out, <PyObject *>item, depth_left - 1)
    put(out, b"}", 1)
    return 0


def utf16(str name):
    """The UTF-16 code units of `name`, in an order that compares as they do."""
    return name.encode("utf-16-be")


cdef int write_text(Buffer *out, PyObject *text) except -1:
    cdef Py_ssize_t size = 0, start = 0, index
    cdef const char *data
    cdef unsigned char sign
    cdef char escape[6]
    if not sb_is_scalar_text(text):
        raise BadMessage("a string holds a lone surrogate")
    data = PyUnicode_AsUTF8AndSize(text, &size)
    put(out, b'"', 1)
    for index in range(size):
        sign = <unsigned char>data[index]
        if sign >= 0x20 and sign != 0x22 and sign != 0x5C:
            continue
        put(out, data + start, index - start)
        start = index + 1
        escape[0] = b"\\"
        if sign == 0x22 or sign == 0x5C:
            escape[1] = <char>sign
            put(out, escape, 2)
        elif 8 <= sign <= 13 and sign != 11:
            escape[1] = b"btn\x00fr"[sign - 8]
            put(out, escape, 2)
        else:
            escape[1], escape[2], escape[3] = b"u", b"0", b"0"
            escape[4] = b"0123456789abcdef"[sign >> 4]
            escape[5] = b"0123456789abcdef"[sign & 15]
            put(out, escape, 6)
    put(out, data + start, size - start)
    return put(out, b'"', 1)


cdef int write_integer(Buffer *out, long long number) except -1:
    cdef char digits[24]
    cdef int at = 24
    cdef unsigned long long rest = <unsigned long long>(number if number >= 0 else -number)
    while True:
        at -= 1
        digits[at] = <char>(48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if number < 0:
        at -= 1
        digits[at] = b"-"
    return put(out, digits + at, 24 - at)


cdef int write_float(Buffer *out, double value) except -1:
    """ECMAScript's Number::toString, section 6.1.6.1.20 of ECMA-262."""
    cdef char digits[32]
    cdef int point = 0, count
    cdef char *shown
    if value - value != 0.0:
        raise BadMessage("a number is not finite")
    if value == 0.0:
        return put(out, b"0", 1)
    if value < 0:
        put(out, b"-", 1)
        value = -value
    shown = PyOS_double_to_string(value, b"r", 0, 0, NULL)
    count = sb_float_digits(shown, digits, &point)
    PyMem_Free(shown)
    if count <= point <= 21:
        put(out, digits, count)
        return put_zeros(out, point - count)
    if 0 < point <= 21:
        put(out, digits, point)
        put(out, b".", 1)
        return put(out, digits + point, count - point)
    if -6 < point <= 0:
        put(out, b"0.", 2)
        put_zeros(out, -point)
        return put(out, digits, count)
    put(out, digits, 1)
    if count > 1:
        put(out, b".", 1)
        put(out, digits + 1, count - 1)
    put(out, b"e+" if point > 0 else b"e", 2 if point > 0 else 1)
    return write_integer(out, point - 1)


cdef int put_zeros(Buffer *out, int count) except -1:
    reserve(out, count)
    memset(out.data + out.used, 48, count)
    out.used += count
    return 0
