"""Many devices that lost their node come to another at once, and behave as the protocol says.

    python -m tests.soak.storm PORT DEVICES_EACH

Reads one line of JSON: for each account a token and a session. Every device connects, says hello and joins; one that is
refused comes back after the time given, one that is cut off by the SDK's own back-off. Says one line when all follow
their session, or as soon as one is refused otherwise.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter

import uvloop

from syncbridge.client.backoff import Backoff
from tests.soak.process import hear, say
from tests.wire.rawclient import RawClient

GIVEN_UP_S = 90.0


class Overrun(Exception):
    """Somebody was refused, and not by the gate: a back end has more to do than it can."""


class Storm:
    """Devices of accounts, each its own connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut = 0
        self.refused: Counter[str] = Counter()
        self.resumed_s: list[float] = []
        self._began_at = time.monotonic()

    async def come(self, token: str, session: str, name: str) -> RawClient:
        """The device follows its session."""
        backoff = Backoff(random.random)
        while True:
            try:
                client = await self._try_to_come(token, session, name)
            except (ConnectionError, asyncio.IncompleteReadError):
                # The node takes only so many newcomers, and forgets the oldest: as of any connection that is cut.
                self.cut += 1
                await asyncio.sleep(backoff.failed() / 1000)
                continue
            if isinstance(client, RawClient):
                self.resumed_s.append(time.monotonic() - self._began_at)
                return client
            await asyncio.sleep(backoff.failed(least_ms=client) / 1000)

    async def _try_to_come(self, token: str, session: str, name: str) -> RawClient | int:
        """The connection that follows the session, or how long to wait before another one, in ms."""
        client = await RawClient.upgraded(self._port)
        say(client, type="hello", token=token, device={"id": name})
        answer = await hear(client, "welcome", "error")
        if answer["type"] == "error":
            assert answer["retry"] == "later", answer
            await client.__aexit__()
            self.refused[answer["code"]] += 1
            if answer["code"] != "busy":
                raise Overrun(answer["code"])
            assert answer["retry_after_ms"] > 0, answer
            return int(answer["retry_after_ms"])
        say(client, type="join", session=session)
        joined = await hear(client, "joined", "error")
        assert joined["type"] == "joined", joined
        return client


async def main(port: int, devices_each: int) -> None:
    accounts = json.loads(sys.stdin.readline())
    storm = Storm(port)
    coming: list[asyncio.Task[RawClient]] = []
    try:
        async with asyncio.timeout(GIVEN_UP_S), asyncio.TaskGroup() as group:
            coming += [
                group.create_task(storm.come(one["token"], one["session"], f"device-{number}"))
                for number in range(devices_each)
                for one in accounts
            ]
    except* Overrun as overrun:
        print(f"the storm ends: {overrun.exceptions[0]!r}", file=sys.stderr)
    for task in coming:
        if not task.cancelled() and task.exception() is None:
            await task.result().__aexit__()
    told = {"resumed": len(storm.resumed_s), "refused": storm.refused, "cut": storm.cut, "last_s": max(storm.resumed_s)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
