"""A session's log from the newest entry back, as far as one request may look."""

from __future__ import annotations

from collections.abc import AsyncIterator

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.http.paging import bad_cursor
from syncbridge.ports import SessionHistory

SCAN_ENTRIES_MAX = 2_048
"""Entries that one request looks at for those that it is asked for; then the page comes short, with a cursor."""
SCAN_STEP = 128


class LogWalk:
    """Entries before ``before`` (None: from the head), newest first.

    ``before`` is then the version of the last one given, ``is_over`` whether there is none before it. ``epoch``,
    ``oldest`` and ``head`` are known once the walk began; where ``epoch`` is given and is not the log's, the cursor
    that it came from is refused (ValidationFailed).
    """

    def __init__(
        self, history: SessionHistory, session: SessionId, *, before: int | None = None, epoch: str | None = None
    ) -> None:
        self._history = history
        self._session = session
        self._asked_epoch = epoch
        self.before = before
        self.epoch = ""
        self.oldest = self.head = 0
        self.is_over = False

    async def __aiter__(self) -> AsyncIterator[Entry]:
        """The next entries, read as they are asked for."""
        looked_at = 0
        while looked_at < SCAN_ENTRIES_MAX:
            read = await self._history.back(self._session, before=self.before, count_max=SCAN_STEP)
            self.epoch, self.oldest, self.head = read.epoch, read.oldest, read.head
            if self._asked_epoch not in (None, read.epoch):
                raise bad_cursor()
            if not read.entries:
                self.is_over = True
                return
            lowest = 1 if read.oldest == 1 else read.oldest + 1
            for entry in read.entries:
                self.before = entry.version
                self.is_over = entry.version <= lowest
                yield entry
            if self.is_over:
                return
            looked_at += len(read.entries)
