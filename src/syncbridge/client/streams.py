"""What a person of an app waits for, as async iterators: values that change, and things that happen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
FEED_ITEMS_MAX = 1024


class Changes:
    """Tells waiting iterators that something may have changed; many changes between two looks are one."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        self._is_closed = False

    def changed(self) -> None:
        for event in self._waiting:
            event.set()

    def close(self) -> None:
        """Every iterator ends after what it has not seen yet."""
        self._is_closed = True
        self.changed()

    async def values(self, look: Callable[[], Item], is_same: Callable[[Item, Item], bool]) -> AsyncIterator[Item]:
        """The value now, then each time that it differs from the one given before; slow readers skip."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            last = look()
            yield last
            while True:
                value = look()
                if not is_same(value, last):
                    last = value
                    yield value
                elif self._is_closed:
                    return
                else:
                    await event.wait()
                    event.clear()
        finally:
            self._waiting.discard(event)


class Feed(Generic[Item]):
    """Things that happen, to each iterator that is open while they do; a reader too slow loses the oldest."""

    def __init__(self, items_max: int = FEED_ITEMS_MAX) -> None:
        self._items_max = items_max
        self._readers: list[tuple[deque[Item], asyncio.Event]] = []
        self._is_closed = False

    def put(self, item: Item) -> None:
        for items, event in self._readers:
            items.append(item)
            event.set()

    def close(self) -> None:
        """Every iterator ends after what it has not seen yet."""
        self._is_closed = True
        for _, event in self._readers:
            event.set()

    def items(self, earlier: list[Item] | None = None) -> AsyncIterator[Item]:
        """What happens from this call on, after ``earlier``."""
        reader = (deque(earlier or [], self._items_max), asyncio.Event())
        self._readers.append(reader)
        return self._read(reader)

    async def _read(self, reader: tuple[deque[Item], asyncio.Event]) -> AsyncIterator[Item]:
        items, event = reader
        try:
            while True:
                while items:
                    yield items.popleft()
                if self._is_closed:
                    return
                await event.wait()
                event.clear()
        finally:
            self._readers.remove(reader)
