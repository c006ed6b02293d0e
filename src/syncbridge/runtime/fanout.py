"""Entries to frames, encoded once: the journal's body is the tail of the frame that every device gets."""

from __future__ import annotations

from collections.abc import Sequence

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.wire.codec import encode_entry, entries_frame, entry_frame, entry_head


class Fanout:
    """One session's encoder.

    It remembers the bodies of the last commit, and of the last one heard of: their entries are delivered next.
    """

    __slots__ = ("_bodies", "_entries", "_head", "_heard", "_heard_bodies", "_session")

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._head = entry_head(session)
        self._entries: list[Entry] = []
        self._bodies: list[bytes] = []
        self._heard: Sequence[Entry] = ()
        self._heard_bodies: Sequence[bytes] = ()

    def journal(self, entries: list[Entry]) -> list[bytes]:
        """The bodies of entries that are about to be committed, in step."""
        self._entries = entries
        self._bodies = [encode_entry(entry) for entry in entries]
        return self._bodies

    def heard(self, entries: Sequence[Entry], bodies: Sequence[bytes]) -> None:
        """Another node committed these, and said these bodies of them, in step; no bodies where it did not."""
        self._heard, self._heard_bodies = (entries, bodies) if bodies else ((), ())

    def frame(self, entries: list[Entry]) -> bytes:
        """One `entry` or `entries` message with these entries, oldest first."""
        if len(entries) == 1:
            return entry_frame(self._head, self._body(entries[0]))
        if entries == self._heard:  # as a rule, and then they are the very same: nothing in them is compared
            return entries_frame(self._session, self._heard_bodies)
        return entries_frame(self._session, [self._body(entry) for entry in entries])

    def _body(self, entry: Entry) -> bytes:
        return (
            _found(entry, self._entries, self._bodies)
            or _found(entry, self._heard, self._heard_bodies)
            or encode_entry(entry)
        )


def _found(entry: Entry, entries: Sequence[Entry], bodies: Sequence[bytes]) -> bytes:
    """The body of this very entry; empty where it is none of these."""
    index = entry.version - entries[0].version if entries else -1
    return bodies[index] if 0 <= index < len(entries) and entries[index] is entry else b""
