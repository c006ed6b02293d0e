"""Work that goes on for ever is ended, whatever swallows its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

AGAIN_S: Final = 0.5


async def end_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Every task is over.

    Cancelled again and again: a library that is cancelled at the moment in which its own wait ends may take the one
    for the other (`asyncio.wait_for` of Python 3.11 does), and who is told once would go on for ever.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
