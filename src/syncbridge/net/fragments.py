"""A message in fragments, put together within its bounds (RFC 6455 section 5.4)."""

from __future__ import annotations

import codecs
from typing import Final

from syncbridge.wire.close import CloseCode

_utf8_decoder: Final = codecs.getincrementaldecoder("utf-8")


class Fragments:
    """The fragments of one message so far.

    Exists only between a first fragment and the last one, so that a socket which sends whole messages pays
    nothing. A text's UTF-8 is checked as it comes: the first bad byte ends it, not the last fragment.
    """

    __slots__ = ("_content", "_count", "_decoder")

    def __init__(self, *, is_text: bool = True) -> None:
        self._content = bytearray()
        self._count = 0
        self._decoder = _utf8_decoder() if is_text else None

    @property
    def is_text(self) -> bool:
        return self._decoder is not None

    def add(self, fragment: bytes, is_last: bool, *, bytes_max: int, fragments_max: int) -> CloseCode | None:
        """The fragment is taken (None), or the code that the connection has to be closed with."""
        self._count += 1
        if self._count > fragments_max or len(self._content) + len(fragment) > bytes_max:
            return CloseCode.MESSAGE_TOO_BIG
        if self._decoder is not None:
            try:
                self._decoder.decode(fragment, final=is_last)
            except UnicodeDecodeError:
                return CloseCode.INVALID_TEXT
        self._content += fragment
        return None

    def message(self) -> bytes:
        """The whole message; to be called after the last fragment."""
        return bytes(self._content)
