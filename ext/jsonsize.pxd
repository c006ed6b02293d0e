# How long the compact JSON encoding of a value is, as orjson writes it, without writing it.

from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject

from jsonkind cimport (
    PyDict_Check, PyDict_Next, PyDict_GET_SIZE, PyFloat_AS_DOUBLE, PyFloat_Type, PyList_Check, PyList_GET_ITEM,
    PyList_GET_SIZE, PyUnicode_Type, is_name, sb_type,
)

cdef enum:
    # Answers of length_of that are no length, without an exception yet: a .pxd cannot name our error classes.
    NESTED_TOO_DEEP = -2
    NOT_JSON = -3
    NAME_NOT_TEXT = -4

cdef extern from "Python.h":
    """
    #include <stdlib.h>

    /* Bytes of the quoted UTF-8 text: short escapes take 2, other control signs 6 (RFC 8259, section 7). */
    static inline Py_ssize_t sb_text_length(PyObject *text) {
    #if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(text) < 0) return -1;
    #endif
        const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
        const int kind = PyUnicode_KIND(text);
        const void *data = PyUnicode_DATA(text);
        Py_ssize_t total = length + 2;
        for (Py_ssize_t i = 0; i < length; i++) {
            const Py_UCS4 code = PyUnicode_READ(kind, data, i);
            if (code < 0x20) total += (code >= 8 && code <= 13 && code != 11) ? 1 : 5;
            else if (code == '"' || code == '\\\\') total += 1;
            else if (code >= 0x80) total += code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        }
        return total;
    }

    /* The shortest digits that read back as `value` (> 0, finite): their count, and the place of the point. */
    static inline int sb_float_digits(const char *shown, char *digits, int *point) {
        int count = 0, seen_point = 0, exponent = 0, place = 0;
        const char *sign = shown;
        for (; *sign && *sign != 'e'; sign++) {
            if (*sign == '.') { seen_point = 1; continue; }
            if (count == 0 && *sign == '0') { if (seen_point) place--; continue; }
            if (count < 24) digits[count++] = *sign;
            if (!seen_point) place++;
        }
        if (*sign == 'e') exponent = atoi(sign + 1);
        while (count > 1 && digits[count - 1] == '0') count--;
        *point = place + exponent;
        return count;
    }
    """
    Py_ssize_t sb_text_length(PyObject *text) except -1
    int sb_float_digits(const char *shown, char *digits, int *point) noexcept
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) except NULL
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow) except? -1
    bint PyLong_Check(PyObject *value) noexcept
    bint PyFloat_Check(PyObject *value) noexcept
    bint PyUnicode_Check(PyObject *value) noexcept
    PyObject *Py_True
    PyObject *Py_False
    PyObject *Py_None


cdef inline Py_ssize_t name_length(PyObject *key) except -1:
    if not is_name(key):
        return NAME_NOT_TEXT
    return sb_text_length(key)


cdef inline Py_ssize_t integer_length(PyObject *value) except -1:
    cdef int overflow = 0
    cdef long long small = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef unsigned long long rest
    cdef Py_ssize_t digits
    if overflow == 0:
        rest = <unsigned long long>small if small >= 0 else <unsigned long long>(-(small + 1)) + 1
        digits = 1
        while rest >= 10:
            rest //= 10
            digits += 1
        return digits + (small < 0)
    # str() would refuse beyond its own limit of digits, so the length is found by comparing powers of ten
    big = abs(<object>value)
    digits = max(1, <Py_ssize_t>(big.bit_length() * 30103 // 100000))
    power = (<object>10) ** (<object>digits)
    while big >= power:
        digits += 1
        power *= 10
    return digits + (overflow < 0)


cdef inline Py_ssize_t float_length(double value) except -1:
    cdef char digits[32]
    cdef int point = 0, count, sign
    cdef char *shown
    if value - value != 0.0:
        return 4  # orjson writes null
    shown = PyOS_double_to_string(value, b"r", 0, 0, NULL)
    sign = shown[0] == b"-"
    if value == 0.0:
        PyMem_Free(shown)
        return 3 + sign
    count = sb_float_digits(shown + sign, digits, &point)
    PyMem_Free(shown)
    if count <= point <= 16:
        return sign + point + 2
    if 0 < point <= 16:
        return sign + count + 1
    if -5 < point <= 0:
        return sign + 2 - point + count
    point -= 1
    sign += 1  # the exponent's sign: orjson 3.13 writes 1e+16, up to 3.12 it wrote 1e16
    point = -point if point < 0 else point
    return sign + count + (count > 1) + 1 + (1 if point < 10 else 2 if point < 100 else 3)


cdef inline Py_ssize_t length_of(PyObject *value, int depth_left) except -1:
    """The length in bytes, or which of the three answers above says why there is none."""
    cdef Py_ssize_t index, one, total, position = 0
    cdef PyObject *key = NULL
    cdef PyObject *item = NULL
    if sb_type(value) is &PyUnicode_Type:
        return sb_text_length(value)
    if value is Py_None or value is Py_True:
        return 4
    if value is Py_False:
        return 5
    if PyDict_Check(value):
        if depth_left <= 0:
            return NESTED_TOO_DEEP
        total = 1 if PyDict_GET_SIZE(value) else 2  # the braces, and a comma before each member but the first
        while PyDict_Next(value, &position, &key, &item):
            one = name_length(key)
            if one < 0:
                return one
            total += one + 2
            one = length_of(item, depth_left - 1)
            if one < 0:
                return one
            total += one
        return total
    if PyList_Check(value):
        if depth_left <= 0:
            return NESTED_TOO_DEEP
        total = 1 if PyList_GET_SIZE(value) else 2
        for index in range(PyList_GET_SIZE(value)):
            one = length_of(PyList_GET_ITEM(value, index), depth_left - 1)
            if one < 0:
                return one
            total += one + 1
        return total
    if PyLong_Check(value):
        return integer_length(value)
    if PyFloat_Check(value):
        return float_length(PyFloat_AS_DOUBLE(value))
    if PyUnicode_Check(value):
        return sb_text_length(value)
    return NOT_JSON
