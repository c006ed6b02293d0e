"""Commands as Redis reads them (RESP): an array of bulk strings, each with its length before it.

`syncbridge._twin.resp` says the same in plain Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    FRAME_CHARS = 5  # the sign, and twice the end of a line


cdef Py_ssize_t digits_of(Py_ssize_t number) noexcept:
    cdef Py_ssize_t count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


cdef char* write_line(char* at, char sign, Py_ssize_t number) noexcept:
    """`sign`, the number and the end of the line stand at `at`; where they end."""
    cdef Py_ssize_t count = digits_of(number)
    cdef char* digit = at + count
    at[0] = sign
    while digit > at:
        digit[0] = <char>(c'0' + number % 10)
        number //= 10
        digit -= 1
    at += count + 1
    at[0] = c'\r'
    at[1] = c'\n'
    return at + 2


def pack_command(words, /):
    """The words, bytes in a list or a tuple, as one command."""
    cdef tuple fixed = tuple(words)  # nobody may change it between the two looks
    cdef Py_ssize_t count = len(fixed)
    cdef Py_ssize_t size, total
    cdef bytes packed
    cdef char* at
    if count == 0:
        raise ValueError("a command has a word at least")
    total = 3 + digits_of(count)
    for word in fixed:
        if type(word) is not bytes:
            raise TypeError(f"a word of a command is bytes, not {type(word).__name__}")
        size = PyBytes_GET_SIZE(word)
        total += FRAME_CHARS + digits_of(size) + size
    packed = PyBytes_FromStringAndSize(NULL, total)
    at = write_line(PyBytes_AS_STRING(packed), c'*', count)
    for word in fixed:
        size = PyBytes_GET_SIZE(word)
        at = write_line(at, c'$', size)
        memcpy(at, PyBytes_AS_STRING(word), size)
        at += size
        at[0] = c'\r'
        at[1] = c'\n'
        at += 2
    return packed
