"""How many pushes are on the wire at once, as the service's refusals teach it: one at first, then ever more."""

from __future__ import annotations


class Window:
    """Additive increase after a fall to one (RFC 5681 section 3.1, without its slow start).

    A service that says `rate_limited` refuses all that is on the wire behind the push it could not take. Small windows
    keep that waste small, and what is acknowledged shows how much may be under way.
    """

    __slots__ = ("_acked", "_size")

    def __init__(self) -> None:
        self._size = 0  # none: nothing was ever refused
        self._acked = 0

    def size(self, most: int) -> int:
        """How many may be on the wire; never more than ``most``."""
        return most if self._size == 0 else min(self._size, most)

    def refused(self) -> None:
        """A push came too fast."""
        self._size, self._acked = 1, 0

    def acked(self, most: int) -> None:
        """A push was taken; a whole window of them makes it one wider, and at ``most`` it is none any more."""
        if self._size == 0:
            return
        self._acked += 1
        if self._acked >= self._size:
            self._size, self._acked = self._size + 1, 0
        if self._size >= most:
            self._size = 0
