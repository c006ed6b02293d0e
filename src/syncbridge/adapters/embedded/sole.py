"""What follows from one process writing its logs alone: nobody else claims, and nothing acknowledged is lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from syncbridge.core.ids import SessionId
from syncbridge.ports import Forked, Held, PutBack, StoredLog, StoreFault


class SoleWriter:
    """The part of `StateStore` that only matters where several nodes share it."""

    @property
    def is_shared(self) -> bool:
        """No other process writes these logs."""
        return False

    @abstractmethod
    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        """As `StateStore.load`."""

    def put_back(self, held: Held, done: Callable[[PutBack | Forked | StoreFault], None]) -> None:
        """As the port says: nothing was lost here, so the head is only told."""

        def tell(read: StoredLog | StoreFault) -> None:
            if isinstance(read, StoreFault):
                done(read)
            elif read.snapshot.epoch != held.snapshot.epoch:
                done(Forked())
            else:
                done(PutBack(read.entries[-1].version if read.entries else read.snapshot.version))

        self.load(held.snapshot.session, 0, tell)
