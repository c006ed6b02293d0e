"""A run that a signal ends as an exception does, so that nothing that it started is left."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine


async def interruptible(work: Coroutine[None, None, int]) -> int:
    """What ``work`` answers; 130 where SIGINT or SIGTERM came first."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("interrupted; everything that was started has ended")
        return 130
