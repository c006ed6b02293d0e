"""Entries to frames, encoded once: the journal's body is the tail of the frame that every device gets."""

from __future__ import annotations

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.wire.codec import encode_entry, entries_frame, entry_frame, entry_head


class Fanout:
    """One session's encoder. It remembers the last commit's bodies, because its entries are delivered next."""

    __slots__ = ("_bodies", "_entries", "_head", "_session")

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._head = entry_head(session)
        self._entries: list[Entry] = []
        self._bodies: list[bytes] = []

    def journal(self, entries: list[Entry]) -> list[bytes]:
        """The bodies of entries that are about to be committed, in step."""
        self._entries = entries
        self._bodies = [encode_entry(entry) for entry in entries]
        return self._bodies

    def frame(self, entries: list[Entry]) -> bytes:
        """One `entry` or `entries` message with these entries, oldest first."""
        if len(entries) == 1:
            return entry_frame(self._head, self._body(entries[0]))
        return entries_frame(self._session, [self._body(entry) for entry in entries])

    def _body(self, entry: Entry) -> bytes:
        known = self._entries
        index = entry.version - known[0].version if known else -1
        if 0 <= index < len(known) and known[index] is entry:
            return self._bodies[index]
        return encode_entry(entry)
