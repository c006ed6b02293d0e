"""The end of one session's log in memory: enough to compare and set, to answer a conflict and to know a repeat."""

from __future__ import annotations

import sys
from collections import deque
from enum import Enum, auto

from syncbridge.core.entry import Entry, Txn
from syncbridge.core.ids import SessionId, TxnId


class Verdict(Enum):
    """What a transaction meets at the log."""

    APPEND = auto()
    """(epoch, expected) is the head."""
    STANDS = auto()
    """The same transaction stands at the versions that it asks for."""
    BEHIND = auto()
    """The head is past ``expected``; `SessionTail.since` has what came."""
    TOO_OLD = auto()
    """``expected`` lies before what is held here: only the whole log can tell."""
    FOREIGN = auto()
    """Another epoch, or a version that this log never had."""


TxnSpan = tuple[TxnId, int, int, int]
"""Where a transaction stands: id, first and last version, bytes of its bodies. Plain: one is made a commit."""

UNBOUNDED = sys.maxsize


class SessionTail:
    """Head and last entries of a session.

    Bounds     at most ``entries_max`` entries and about ``bytes_max`` bytes of bodies, whole transactions, and never
               less than the last one.
    Durable    ``durable`` is the last version that is on disk; what is above may still be taken back.
    Row        ``row_id`` is the journal row of the last transaction, ``at`` its time.
    """

    __slots__ = (
        "at",
        "bytes_max",
        "digests",
        "durable",
        "entries",
        "entries_max",
        "epoch",
        "row_id",
        "session",
        "size",
        "spans",
        "starts",
        "unanswered",
        "version",
    )

    def __init__(self, session: SessionId, epoch: str, version: int, *, entries_max: int, bytes_max: int) -> None:
        self.session = session
        self.epoch = epoch
        self.version = self.durable = version
        self.entries_max = entries_max
        self.bytes_max = bytes_max
        self.entries: list[Entry] = []
        self.digests: list[int] = []
        self.spans: deque[TxnSpan] = deque()
        self.starts: dict[int, TxnId] = {}
        self.size = 0
        self.row_id = 0
        self.at = 0
        self.unanswered = 0

    def judge(self, txn: Txn) -> Verdict:
        """What `txn` meets here; nothing changes. ValueError where it contradicts itself."""
        expected, entries = txn.expected, txn.entries
        if not entries or entries[0].version != expected + 1 or entries[-1].version != expected + len(entries):
            raise ValueError(f"transaction {txn.id} must hold the entries from {expected + 1} on, without a gap")
        if txn.epoch != self.epoch or expected > self.version:
            return Verdict.FOREIGN
        if expected == self.version:
            return Verdict.APPEND
        if self.starts.get(expected + 1) == txn.id:
            return Verdict.STANDS
        return Verdict.BEHIND if expected >= self.version - len(self.entries) else Verdict.TOO_OLD

    def append(self, span: TxnSpan, entries: list[Entry], digests: list[int]) -> None:
        """The head is the span's last version; the oldest transactions are forgotten where a bound says so."""
        txn, first, last, size = span
        self.entries += entries
        self.digests += digests
        self.spans.append(span)
        self.starts[first] = txn
        self.size += size
        self.version = last
        self.at = entries[-1].at
        while (len(self.entries) > self.entries_max or self.size > self.bytes_max) and len(self.spans) > 1:
            self._forget_oldest()

    def forget(self, version: int) -> None:
        """Transactions that end at or before `version` are not held any more."""
        while self.spans and self.spans[0][2] <= version:
            self._forget_oldest()

    def since(self, version: int, until: int) -> tuple[list[Entry], list[int]]:
        """Entries and digests after `version` up to `until`; `version` must not lie before what is held."""
        offset = self.version - len(self.entries)
        if version < offset:
            raise ValueError(f"entries after {version} are asked for, held are those after {offset}")
        return self.entries[version - offset : until - offset], self.digests[version - offset : until - offset]

    def _forget_oldest(self) -> None:
        _, first, last, size = self.spans.popleft()
        del self.entries[: last - first + 1]
        del self.digests[: last - first + 1]
        del self.starts[first]
        self.size -= size
