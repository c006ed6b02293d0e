"""Work that is done again and again, as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

_log = structlog.get_logger("syncbridge.runtime")


async def repeat(
    what: str, every_ms: int, work: Callable[[], object], *, late_ms: Callable[[float], None] | None = None
) -> None:
    """The work is done each so many ms, whatever became of it the last time; until cancelled.

    ``late_ms`` is told by how much later than asked its turn came.
    """
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + every_ms / 1000
        await asyncio.sleep(every_ms / 1000)
        try:
            if late_ms is not None:
                late_ms(max(0.0, (loop.time() - due_s) * 1000))
            work()
        except Exception:  # noqa: BLE001 - whatever broke, it is done again: who rests on it would never know
            _log.exception("repeated work failed; it is done again at its next turn", what=what)
