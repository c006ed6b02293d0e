"""What is to be asked of the store: each thing once, in bounded turns, with a bounded number of calls under way.

So a storm is spread over turns of the loop, between which devices are served, and a store that does not answer makes
nothing grow: what is due waits, and stands there once however often it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import IntEnum

Ask = Callable[[], None]


class Rank(IntEnum):
    """What goes first: what others wait for, then what is wrong, then what may be."""

    SAY = 0
    BURY = 1
    LOOK = 2


class Due:
    """Asks what is due, in the order of the ranks and then in that of `want`.

    An ask that begins a call says `opened`, and `answered` when it is: beyond ``open_max`` what is due waits.
    """

    __slots__ = ("_call_soon", "_in_vain", "_is_turn_due", "_open", "_open_max", "_turn_max", "_waiting")

    def __init__(self, turn_max: int, open_max: int, call_soon: Callable[[Ask], object]) -> None:
        self._turn_max = turn_max
        self._open_max = open_max
        self._call_soon = call_soon
        self._waiting: tuple[dict[Hashable, Ask], ...] = tuple({} for _ in Rank)
        self._in_vain: dict[tuple[Rank, Hashable], Ask] = {}
        self._open = 0
        self._is_turn_due = False

    def __len__(self) -> int:
        """How many things wait."""
        return sum(map(len, self._waiting)) + len(self._in_vain)

    @property
    def is_full(self) -> bool:
        """No more calls may be under way."""
        return self._open >= self._open_max

    def want(self, rank: Rank, key: Hashable, ask: Ask) -> None:
        """It is asked in the next turn that has room, once."""
        self._waiting[rank].setdefault(key, ask)
        self._in_vain.pop((rank, key), None)
        self._schedule()

    def want_later(self, rank: Rank, key: Hashable, ask: Ask) -> None:
        """It failed: it is due again at the next `retry`."""
        if key not in self._waiting[rank]:
            self._in_vain[rank, key] = ask

    def drop(self, key: Hashable) -> None:
        """Nothing of this key is due any more."""
        for rank in Rank:
            self._waiting[rank].pop(key, None)
            self._in_vain.pop((rank, key), None)

    def retry(self) -> None:
        """What failed is due again."""
        in_vain, self._in_vain = self._in_vain, {}
        for (rank, key), ask in in_vain.items():
            self.want(rank, key, ask)

    def opened(self) -> None:
        """A call is under way."""
        self._open += 1

    def answered(self) -> None:
        """It has its answer, whatever it is."""
        self._open -= 1
        if any(self._waiting):
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_turn_due and not self.is_full:
            self._is_turn_due = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turn_due = False
        for _ in range(self._turn_max):
            waiting = next(filter(None, self._waiting), None)
            if waiting is None or self.is_full:
                return
            waiting.pop(next(iter(waiting)))()
        if any(self._waiting):
            self._schedule()
