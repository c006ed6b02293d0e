"""The way out: nothing that was pushed stays unanswered, and nobody comes back in a herd."""

from __future__ import annotations

import asyncio
from typing import Final

from syncbridge.core.connection_events import Draining
from syncbridge.runtime.engine import Engine

SPREAD_MS_MAX: Final = 20_000
"""No device is asked to stay away longer than this."""
SPREAD_MS_EACH: Final = 10
"""Reconnects a second after a restart: 100, until the spread is at its most."""
GOODBYES_A_TURN: Final = 200
_POLL_S: Final = 0.005


async def settle(engine: Engine, timeout_ms: int) -> bool:
    """Nothing more is read, and every push that was read is answered; False when the store took too long."""
    engine.is_draining = True
    deadline_ms = engine.clock.now_ms() + timeout_ms
    # The engine tells nobody when it is quiet; asking 200 times a second for at most a few seconds costs nothing.
    while not engine.is_quiet:
        if engine.clock.now_ms() >= deadline_ms:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def say_goodbye(engine: Engine) -> int:
    """Every connection was told when to come back, each at another time, and is closing (1012); how many there were.

    Shape   `reconnect_after_ms` ascends in even steps over `SPREAD_MS_EACH` a device, at most `SPREAD_MS_MAX`.
    """
    drivers = [driver for driver in engine.hub.by_connection.values() if driver.outlet is not None]
    spread_ms = min(SPREAD_MS_MAX, SPREAD_MS_EACH * len(drivers))
    for index, driver in enumerate(drivers):
        if index and index % GOODBYES_A_TURN == 0:
            await asyncio.sleep(0)  # what was said leaves before more is said
        engine.post_connection(driver, Draining(spread_ms * index // len(drivers)))
    return len(drivers)
