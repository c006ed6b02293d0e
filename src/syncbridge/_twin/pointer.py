"""RFC 6901 pointers over plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from syncbridge.errors import PatchError

END = "-"  # the index after the last item
INDEX_DIGITS_MAX = 9  # an index with more digits is past the end of any list we could hold

_REQUIRED: Any = object()


def split_pointer(pointer: str, /) -> list[str]:
    """The pointer's tokens, unescaped; [] is the whole document. Raises PatchError on a malformed pointer."""
    if type(pointer) is not str:
        raise PatchError("a pointer is a string")
    if pointer == "":
        return []
    if pointer[0] != "/":
        raise PatchError("a pointer is empty or starts with '/'", None, pointer)
    return [_unescape(token, pointer) for token in pointer[1:].split("/")]


def _unescape(token: str, pointer: str) -> str:
    if "~" not in token:
        return token
    for piece in token.split("~")[1:]:
        if piece[:1] not in ("0", "1"):
            raise PatchError("'~' is followed by 0 or 1", None, pointer)
    return token.replace("~1", "/").replace("~0", "~")


def join_pointer(tokens: Sequence[str | int], /) -> str:
    """The pointer of these tokens; a list index may be given as an int."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def index_of(token: str) -> int:
    """The list index a token spells (RFC 6901: no sign, no leading zero), or -1."""
    if not token or not token.isascii() or not token.isdigit() or len(token) > INDEX_DIGITS_MAX:
        return -1
    return -1 if token[0] == "0" and len(token) > 1 else int(token)


def step(value: Any, token: str, pointer: str) -> Any:
    """The child of `value` named `token`; PatchError when there is none."""
    if isinstance(value, dict):
        if token in value:
            return value[token]
        raise PatchError("no such member", None, pointer)
    if isinstance(value, list):
        return value[existing_index(token, len(value), pointer)]
    raise PatchError("the pointer goes through a value that is neither object nor array", None, pointer)


def existing_index(token: str, length: int, pointer: str) -> int:
    """The index of an item that is there; PatchError for any other token."""
    index = index_of(token)
    if index < 0 and not (token.isascii() and token.isdigit() and token[:1] != "0"):
        raise PatchError("an array index is 0 or digits without a leading zero", None, pointer)
    if index < 0 or index >= length:
        raise PatchError("the array index is past the end", None, pointer)
    return index


def inserting_index(token: str, length: int, pointer: str) -> int:
    """Where `add` puts an item: an existing index, the length, or '-' for the end."""
    return length if token == END else existing_index(token, length + 1, pointer)


def resolve(doc: Any, pointer: str, default: Any = _REQUIRED, /) -> Any:
    """The value at `pointer`, or `default`; PatchError when it is missing and no default is given."""
    value = doc
    for token in split_pointer(pointer):
        try:
            value = step(value, token, pointer)
        except PatchError:
            if default is _REQUIRED:
                raise
            return default
    return value
