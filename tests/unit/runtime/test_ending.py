"""Tasks end, also those that swallow a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from syncbridge.runtime import ending
from syncbridge.runtime.ending import end_all


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    async def broken() -> None:
        raise RuntimeError("it ended by itself, long ago")

    tasks = [asyncio.ensure_future(deaf()), asyncio.ensure_future(broken())]
    await asyncio.sleep(0)
    await end_all(tasks)
    assert [task.done() for task in tasks] == [True, True]
    assert swallowed == 3
