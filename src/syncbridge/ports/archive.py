"""Where the newest state of every session is kept once more, apart from the live store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from syncbridge.core.entry import Snapshot
from syncbridge.core.ids import SessionId
from syncbridge.ports.log import StoreFault


class Archive(Protocol):
    """What a live store that lost everything is rebuilt from.

    Written behind  it lags and may be away: nobody's session waits for it, and what was not kept is a snapshot that
                    the live store has. So what is rebuilt from it may be old, and is a log of a new epoch.
    Newest          of one session only the snapshot of the highest version of the last epoch kept is wanted.
    """

    def keep(self, snapshot: Snapshot) -> None:
        """The snapshot is kept soon, unless a newer one is by then. Never blocks, never raises."""
        ...

    def newest(self, session: SessionId, done: Callable[[Snapshot | StoreFault | None], None]) -> None:
        """The newest snapshot kept of the session; None where there is none (any more)."""
        ...

    def forget(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        """Nothing of the session is kept once ``done`` is called with None, nor what `keep` was told before."""
        ...


class NoArchive:
    """The `Archive` of an installation without one: what its live store loses, and no node holds, is lost."""

    def keep(self, snapshot: Snapshot) -> None:
        """Nothing is kept."""

    def newest(self, session: SessionId, done: Callable[[Snapshot | StoreFault | None], None]) -> None:
        """There is none."""
        done(None)

    def forget(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        """Nothing was kept."""
        done(None)
