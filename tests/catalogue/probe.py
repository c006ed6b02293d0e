"""An honest client in a process of its own: it pushes, waits for its ack, and tells how long that took.

``python -m tests.catalogue.probe PORT TOKEN SESSION``. A line ``N`` on standard input is answered, once N more pushes
were acknowledged, by one JSON array: the milliseconds of every push since the answer before. The process is its own,
so that a test that floods the service does not make its own measurement wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from tests.wire.rawclient import TEXT, RawClient, frame

PAUSE_S = 0.001


class Probe:
    """One device that edits one number, one push at a time."""

    def __init__(self, client: RawClient, session: str) -> None:
        self.client = client
        self.session = session
        self.version = 0
        self.seq = 0
        self.took_ms: list[float] = []

    async def say(self, **message: Any) -> None:
        self.client.send(frame(TEXT, json.dumps(message).encode()))

    async def hear(self, *types: str) -> dict[str, Any]:
        while True:
            got = await self.client.frame()
            message: dict[str, Any] = json.loads(got.payload) if got.opcode == TEXT else {"type": ""}
            if message["type"] in types:
                return message
            assert message["type"] not in ("error", "reject"), message

    async def begin(self, token: str) -> None:
        await self.say(type="hello", token=token, device={"id": "probe"})
        await self.hear("welcome")
        await self.say(type="join", session=self.session, seq=1)
        self.version = (await self.hear("joined"))["position"]["version"]

    async def push(self) -> None:
        self.seq += 1
        begin = time.perf_counter()
        ops = [{"op": "replace", "path": "/n", "value": self.seq}]
        await self.say(type="push", session=self.session, seq=self.seq, base=self.version, ops=ops)
        self.version = (await self.hear("ack"))["version"]
        self.took_ms.append((time.perf_counter() - begin) * 1000)


async def main(port: int, token: str, session: str) -> None:
    """Pushes until standard input ends."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with await RawClient.upgraded(port) as client:
        probe = Probe(client, session)
        await probe.begin(token)
        order = asyncio.ensure_future(orders.readline())
        while True:
            await probe.push()
            await asyncio.sleep(PAUSE_S)
            if order.done():
                if not order.result():
                    return
                for _ in range(int(order.result())):
                    await probe.push()
                    await asyncio.sleep(PAUSE_S)
                print(json.dumps(probe.took_ms), flush=True)
                probe.took_ms = []
                order = asyncio.ensure_future(orders.readline())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
