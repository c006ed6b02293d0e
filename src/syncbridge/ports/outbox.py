"""What waits to be told to other services, and the broker that it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from syncbridge.core.facts import Change, Fact


class Waiting(Struct, frozen=True):
    """What waits in one part of an outbox, taken to be told.

    ``facts`` are the oldest ones of the part, in order; ``changes`` are as far as they go now, one a session, and
    are given only where ``facts`` are all there are: nothing older of the same session is left behind. ``has_more``
    says that the next `take` will find some too. ``fence`` is the lease's under which it was taken; ``part``, and
    ``places`` in step with ``facts``, mean something to the outbox alone.
    """

    part: str
    fence: int
    facts: list[Fact]
    changes: list[Change]
    places: list[str] = []
    has_more: bool = False


class Backlog(Struct, frozen=True):
    """How much waits, since when (0: nothing does), and how much was let go unheard since the last look."""

    count: int
    oldest_at: int
    dropped: int = 0


class Outbox(Protocol):
    """Facts and changes from the commit that they are of until the broker has them.

    Durability  what a commit says is in the outbox as durably as the commit itself, and stays until it is settled.
    Order       facts of one subject are taken in the order in which they happened.
    Lease       one relay at a time has a part: `take` gives only what nobody else has a lease of, and renews it. A
                lease that was lost has a higher fence by then, and what was taken under the old one settles nothing.
    Repeats     what was not settled is taken again, with the same ids: it is told at least once.
    Bounded     `look` lets go of what is past the outbox's bound, changes and oldest facts first, and counts it.
    Errors      Unavailable, where the storage does not answer.
    """

    @property
    def name(self) -> str:
        """What logs and figures call it."""
        ...

    async def take(self, count_max: int) -> list[Waiting]:
        """About ``count_max`` facts and as many changes that wait and are ours to tell."""
        ...

    async def settle(self, waiting: Waiting, told: Sequence[int], changes: Sequence[Change]) -> bool:
        """Of it, the facts at these indexes and these changes wait no more. False: the lease was lost, they do."""
        ...

    async def look(self) -> Backlog:
        """How much waits; what is past the bound is gone."""
        ...

    async def release(self) -> None:
        """Another relay may take at once what this one held."""
        ...


NotToldReason = Literal["away", "timeout", "blocked", "nacked", "returned", "refused", "unfit"]
"""`unfit`: the fact itself is not to be told, now or ever."""


class NotTold(Exception):
    """The broker did not confirm a fact: it may have it or not, and is to be told again."""

    def __init__(self, reason: NotToldReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: NotToldReason = reason
        self.detail = detail


class EventBroker(Protocol):
    """Where facts are told."""

    async def tell(self, fact: Fact) -> None:
        """The broker has it, on disk. Raises NotTold, within a bounded time."""
        ...

    async def connect(self) -> None:
        """It is reached, and what facts go to is there. Raises NotTold."""
        ...

    def is_connected(self) -> bool:
        """Whether it can be told something now."""
        ...

    async def close(self) -> None:
        """Nothing of it is open."""
        ...
