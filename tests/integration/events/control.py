"""Commits of a process that tells nobody anything: ``python -m tests.integration.events.control FOLDER RATE``.

What they take is the machine's doing: its disk, and whoever else is on its cores. Until its standard input ends it
prints a line for each: when it began (by the clock that all processes share), and how long it took in ms.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from syncbridge.core.ids import SessionId
from syncbridge.runtime.clock import ServerClock
from tests.integration.events import stage

Sample = tuple[float, float]


@asynccontextmanager
async def controlling(folder: Path, rate: int) -> AsyncIterator[list[Sample]]:
    """Such a process while the block runs; what it measured is in the list afterwards."""
    words = (sys.executable, "-m", "tests.integration.events.control", str(folder), str(rate))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    samples: list[Sample] = []
    try:
        yield samples
    finally:
        said, _ = await process.communicate(b"")
        for line in said.decode().splitlines():
            at, took_ms = line.split()
            samples.append((float(at), float(took_ms)))


async def main(folder: str, rate: str) -> None:
    async with AsyncExitStack() as stack:
        store = stage.open_store(Path(folder), ServerClock())
        stack.callback(store.close)
        session = SessionId("ses_control")
        await stage.create(store, session)
        ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        lines: list[str] = []
        version = 2
        while not ended.done():
            await asyncio.sleep(1 / int(rate))
            at = time.monotonic()
            await stage.commit(store, session, stage.pause(version))
            lines.append(f"{at} {(time.monotonic() - at) * 1000}\n")
            version += 1
        sys.stdout.write("".join(lines))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
