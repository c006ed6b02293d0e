"""Work that goes on for ever goes on after a fault, too."""

from __future__ import annotations

import asyncio

from syncbridge.runtime.repeating import repeat


async def test_work_that_raises_once_is_done_again() -> None:
    done = asyncio.Event()
    turns: list[int] = []
    late: list[float] = []

    def work() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise ValueError
        done.set()

    task = asyncio.create_task(repeat("work", 1, work, late_ms=late.append))
    await asyncio.wait_for(done.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert turns[:2] == [0, 1]
    assert min(late) >= 0
