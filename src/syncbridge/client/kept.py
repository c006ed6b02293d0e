"""What this device was told is safe, and may have to say again: its last acknowledged edits.

A log that was lost comes back from what was kept of it elsewhere, perhaps without its last entries: from an archive,
under a new epoch, or from a node that had not heard of all, under the old one. What stood in those is gone from the
service; the devices that made them still have them. A `joined` says in `last_seq` how far the log knows this device;
the edits past that are made once more.

Kept in memory: of one that was restarted since, only what waited in its queue is there.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from syncbridge.client.pending import Pending, Phase

KEPT_MAX: Final = 64
"""As many as the service itself remembers of a device: what is rebuilt lags by seconds, not by more than this."""


class Kept:
    """The last edits of this device that are in the log, oldest first; see the module's text."""

    __slots__ = ("_edits",)

    def __init__(self) -> None:
        self._edits: deque[Pending] = deque(maxlen=KEPT_MAX)

    def __len__(self) -> int:
        return len(self._edits)

    def settled(self, one: Pending) -> None:
        """The edit is in the log."""
        if one.intent != "open":
            self._edits.append(one)

    def missing(self, last_seq: int, phase: Phase) -> list[Pending]:
        """Those that a log lacks which has this device's numbers up to ``last_seq``: in ``phase``, and kept no more.

        They are edits like any other from here on, except that the fence they were made under is of another log. What
        they met on their first way counts still: they go over it once more, and there it is listed.
        """
        lost = [one for one in self._edits if one.seq > last_seq]
        self._edits = deque((one for one in self._edits if one.seq <= last_seq), maxlen=KEPT_MAX)
        for one in lost:
            one.phase, one.fence, one.tries, one.retry_at = phase, None, 0, 0
            one.is_assumed = one.is_adrift = one.is_contested = False
        return lost
