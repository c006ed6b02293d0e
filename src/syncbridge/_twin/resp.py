"""Commands as Redis reads them (RESP): an array of bulk strings, each with its length before it."""

from __future__ import annotations

from collections.abc import Sequence


def pack_command(words: Sequence[bytes], /) -> bytes:
    """The words, bytes in a list or a tuple, as one command."""
    if not words:
        raise ValueError("a command has a word at least")
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if type(word) is not bytes:
            raise TypeError(f"a word of a command is bytes, not {type(word).__name__}")
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)
