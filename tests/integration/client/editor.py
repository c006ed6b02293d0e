"""A device that edits until it is killed: URL, token, session and cache on the command line; see test_kill.py.

It prints the number of an edit as soon as `set` returned. With "offline" its network is gone once it joined.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from syncbridge.client import Device, Transport, connect, picows_dial
from syncbridge.client.transport import Receiver
from syncbridge.errors import Unavailable


async def main(url: str, token: str, name: str, cache: str, mode: str) -> None:
    lines: list[Transport] = []
    real = picows_dial()

    async def dial(url: str, receiver: Receiver) -> Transport:
        if lines and mode == "offline":
            raise Unavailable("the network is gone")
        lines.append(await real(url, receiver))
        return lines[-1]

    async with connect(url, token=token, device=Device("phone"), cache=Path(cache), dial=dial) as bridge:
        session = await bridge.join(name)
        await session.joined()
        if mode == "offline":
            lines[0].close()
        number = 0
        while True:
            await session.set(f"/made/e{number}", number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
