"""JSON values by kind: equality, what is acceptable, how long the encoding is, the canonical form.

Kinds: null, boolean, integer, float, string, array, object. Values of two kinds are never equal, so true, 1 and
1.0 differ (Python's ``==`` says they are the same). Within floats, -0.0 equals 0.0 (the canonical form of both is
``0``) and NaN equals nothing but itself as an object. Strings are compared by code points, without normalisation.

Acceptable (``check``): integers within +-(2^53 - 1), which every JSON peer can hold (RFC 7493); finite floats;
strings without lone surrogates; member names that are strings. The other functions do not repeat this check: they
stay defined on big integers and lone surrogates (compared exactly, measured as their digits and as 3 bytes each),
except ``canonical``, which refuses what RFC 8785 cannot write.
"""

from __future__ import annotations

import json
from typing import Any

from syncbridge.errors import BadMessage, DepthExceeded

DEPTH_MAX = 64
DEPTH_LIMIT = 256  # no depth_max above this: recursion stays far from the end of any thread's stack
INTEGER_MAX = 2**53 - 1

_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def depth_allowed(depth_max: int) -> int:
    """`depth_max` itself; ValueError when it is no depth that recursion may reach."""
    if type(depth_max) is not int or not 0 <= depth_max <= DEPTH_LIMIT:
        raise ValueError(f"depth_max is an integer from 0 to {DEPTH_LIMIT}")
    return depth_max


def too_deep(place: str = "") -> DepthExceeded:
    """The error to raise, with the place where one is known."""
    return DepthExceeded(f"{place}: {DepthExceeded.meaning}" if place else "")


def equal(a: Any, b: Any, /, *, depth_max: int = DEPTH_MAX) -> bool:
    """Whether two JSON values are the same value of the same kind. Raises DepthExceeded."""
    return same(a, b, depth_allowed(depth_max))


def same(a: Any, b: Any, depth_left: int) -> bool:
    """Whether `a` and `b` are one value of one kind; DepthExceeded past `depth_left` levels."""
    if a is b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        if len(a) != len(b):
            return False
        if depth_left <= 0:
            raise too_deep()
        return all(key in b and same(value, b[key], depth_left - 1) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return False
        if depth_left <= 0:
            raise too_deep()
        return all(same(x, y, depth_left - 1) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


# -- what is acceptable --------------------------------------------------------------------------------------------


def spell(place: str, token: str | int) -> str:
    """`place` extended by one step, as ``$.a[3]["b c"]``; a long name is cut, so a place stays readable."""
    if isinstance(token, int):
        return f"{place}[{token}]"
    if token.isascii() and token.isidentifier() and len(token) <= 40:
        return f"{place}.{token}"
    return f"{place}[{json.dumps(token[:40])}]"


def is_scalar_text(text: str) -> bool:
    """Whether `text` has no lone surrogate, so that it can be written as UTF-8."""
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


def check(value: Any, /, *, depth_max: int = DEPTH_MAX, integer_max: int = INTEGER_MAX, place: str = "$") -> None:
    """None when every peer can hold `value`; else BadMessage or DepthExceeded naming the place (``$.a[3].b``)."""
    _check(value, depth_allowed(depth_max), integer_max, place)


def _check(value: Any, depth_left: int, integer_max: int, place: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if not is_scalar_text(value):
            raise BadMessage(f"{place}: a string holds a lone surrogate")
    elif isinstance(value, int):
        if not -integer_max <= value <= integer_max:
            raise BadMessage(f"{place}: an integer is beyond what every peer can hold")
    elif isinstance(value, float):
        if value - value != 0.0:
            raise BadMessage(f"{place}: a number is not finite")
    elif isinstance(value, dict | list):
        if depth_left <= 0:
            raise too_deep(place)
        if isinstance(value, list):
            for index, item in enumerate(value):
                _check(item, depth_left - 1, integer_max, spell(place, index))
            return
        for key, item in value.items():
            if type(key) is not str:
                raise BadMessage(f"{place}: a member name is not a string")
            if not is_scalar_text(key):
                raise BadMessage(f"{place}: a member name holds a lone surrogate")
            _check(item, depth_left - 1, integer_max, spell(place, key))
    else:
        raise BadMessage(f"{place}: not a JSON value")


# -- how long it is ------------------------------------------------------------------------------------------------


def measure(value: Any, /, *, depth_max: int = DEPTH_MAX) -> int:
    """Length in bytes of the compact JSON encoding, as ``len(orjson.dumps(value))``. Raises DepthExceeded."""
    return length(value, depth_allowed(depth_max))


def length(value: Any, depth_left: int) -> int:
    """The length in bytes; DepthExceeded past `depth_left` levels, BadMessage for what is no JSON value."""
    if value is None or value is True:
        return 4
    if value is False:
        return 5
    if isinstance(value, str):
        return text_length(value)
    if isinstance(value, int):
        return integer_length(value)
    if isinstance(value, float):
        return float_length(value)
    if not isinstance(value, dict | list):
        raise BadMessage("not a JSON value")
    if depth_left <= 0:
        raise too_deep()
    commas = max(len(value) - 1, 0)
    if isinstance(value, list):
        return 2 + commas + sum(length(item, depth_left - 1) for item in value)
    return 2 + commas + sum(text_length(key) + 1 + length(item, depth_left - 1) for key, item in value.items())


def text_length(text: str) -> int:
    """Bytes of the quoted UTF-8 text: short escapes take 2, other control signs 6."""
    if type(text) is not str:
        raise BadMessage("a member name is not a string")
    total = 2
    for sign in text:
        code = ord(sign)
        if sign in _SHORT_ESCAPES:
            total += 2
        elif code < 0x20:
            total += 6
        else:
            total += 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
    return total


def integer_length(value: int) -> int:
    """Digits and sign; counted without str(), which refuses very long integers."""
    digits = max(1, value.bit_length() * 30103 // 100000)
    while abs(value) >= 10**digits:
        digits += 1
    return digits + (value < 0)


def float_digits(value: float) -> tuple[str, int]:
    """Shortest digits that read back as `value` > 0, and the place of the decimal point among them."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return digits.rstrip("0"), point


def float_length(value: float) -> int:
    """Length of the shortest digits that read back, laid out as orjson lays them out."""
    if value - value != 0.0:
        return 4  # orjson writes null
    sign = int(repr(value)[0] == "-")
    if value == 0.0:
        return 3 + sign
    digits, point = float_digits(abs(value))
    count = len(digits)
    if count <= point <= 16:
        return sign + point + 2
    if 0 < point <= 16:
        return sign + count + 1
    if -5 < point <= 0:
        return sign + 2 - point + count
    # orjson 3.13 writes the exponent's sign, as 1e+16; up to 3.12 it wrote 1e16
    return sign + count + (count > 1) + 1 + len(f"{point - 1:+d}")


# -- the canonical form --------------------------------------------------------------------------------------------


def canonical(value: Any, /, *, depth_max: int = DEPTH_MAX) -> bytes:
    """The RFC 8785 (JCS) encoding. Raises BadMessage for what it cannot write, DepthExceeded."""
    pieces: list[str] = []
    _write(value, depth_allowed(depth_max), pieces)
    return "".join(pieces).encode()


def _write(value: Any, depth_left: int, out: list[str]) -> None:
    if value is None:
        out.append("null")
    elif isinstance(value, bool):
        out.append("true" if value else "false")
    elif isinstance(value, str):
        out.append(_quoted(value))
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise BadMessage("an integer is beyond what every peer can hold")
        out.append(str(value))
    elif isinstance(value, float):
        out.append(_es6_number(value))
    elif isinstance(value, list):
        _open(depth_left)
        out.append("[")
        for index, item in enumerate(value):
            out.append("," if index else "")
            _write(item, depth_left - 1, out)
        out.append("]")
    elif isinstance(value, dict):
        _open(depth_left)
        quoted = {key: _quoted(key) for key in value}
        out.append("{")
        # RFC 8785 section 3.2.3: names are ordered by their UTF-16 code units
        for index, key in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
            out.append(("," if index else "") + quoted[key] + ":")
            _write(value[key], depth_left - 1, out)
        out.append("}")
    else:
        raise BadMessage("not a JSON value")


def _open(depth_left: int) -> None:
    if depth_left <= 0:
        raise too_deep()


def _quoted(text: str) -> str:
    if type(text) is not str:
        raise BadMessage("a member name is not a string")
    if not is_scalar_text(text):
        raise BadMessage("a string holds a lone surrogate")
    return '"' + "".join(_SHORT_ESCAPES.get(s) or (f"\\u{ord(s):04x}" if s < " " else s) for s in text) + '"'


def _es6_number(value: float) -> str:
    """ECMAScript's Number::toString, section 6.1.6.1.20 of ECMA-262."""
    if value - value != 0.0:
        raise BadMessage("a number is not finite")
    if value == 0.0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, point = float_digits(abs(value))
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{point - 1:+d}"
