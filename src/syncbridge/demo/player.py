"""One device of the demonstration: a process of its own, with its own cache file, over WebSocket.

    python -m syncbridge.demo.player phone --url http://127.0.0.1:8080 --session ID --cache FILE

The token is the first line of standard input (``token TOKEN``, or ``code CODE`` for a device that is brought in by
a one-time code); orders follow, one a line. It ends with its standard input, so it never outlives its demonstration.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from syncbridge.client import Acked, Device, Mutation, Rejected, Session, connect, picows_dial
from syncbridge.client.connection import Bridge
from syncbridge.client.transport import Receiver, Transport
from syncbridge.core.digest import state_hash
from syncbridge.demo.heart import HeartSeries, recorded
from syncbridge.demo.orders import Answer, Edit, FromPlayer, Order, Place, Ready, Status, Summary
from syncbridge.demo.rest import Rest
from syncbridge.errors import SyncBridgeError, Unavailable

STATUS_EVERY_S = 0.25
BREATH_EVERY_S = 2.0
MARK_EVERY_S = (0.4, 1.2)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


class FlightMode:
    """A way to the network that can be closed: no connection stands, and none can be made."""

    def __init__(self) -> None:
        self.is_on = False
        self._dial = picows_dial()
        self._transport: Transport | None = None

    async def dial(self, url: str, receiver: Receiver) -> Transport:
        if self.is_on:
            raise Unavailable("flight mode")
        self._transport = await self._dial(url, receiver)
        return self._transport

    def turn(self, *, on: bool) -> None:
        self.is_on = on
        if on and self._transport is not None:
            self._transport.close(1001)
            self._transport = None


class Player:
    """A device that plays: it follows orders, and lives on its own between `begin` and `drain`."""

    def __init__(self, bridge: Bridge, session: Session, flight: FlightMode, *, has_sensor: bool) -> None:
        self._bridge = bridge
        self._session = session
        self._flight = flight
        self._has_sensor = has_sensor
        self._series: HeartSeries = recorded()
        self._edits: list[tuple[str, str, Mutation]] = []
        self._bpm = 0.0
        self._beats = 0
        self._breaths = 0
        self._marks = 0
        self._is_alive = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """It reports, accepts what it is offered, and hears the heart of others."""
        for work in (self._report(), self._accept(), self._hear(), self._beat(), self._breathe(), self._mark()):
            self._spawn(work)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def order(self, order: Order) -> None:
        """The order is begun; its answer follows by itself."""
        self._spawn(self._obey(order))

    # -- orders -------------------------------------------------------------------------------------------------

    async def _obey(self, order: Order) -> None:
        try:
            answer = await self._do(order)
        except SyncBridgeError as fault:
            answer = Answer(order.id, error=f"{fault.code}: {fault.message}")
        say(answer)

    async def _do(self, order: Order) -> Answer:
        session, begin = self._session, time.perf_counter()
        uncertainty_ms = 0
        match order.act:
            case "play":
                await (await self._made("other", "seek", await session.playhead.seek(order.position))).acked()
                await (await self._made("other", "play", await session.playhead.play())).acked()
            case "offer":
                done = await (await session.handoff.offer(order.device)).done()
                uncertainty_ms = done.uncertainty_ms
            case "take":
                uncertainty_ms = (await session.handoff.take()).uncertainty_ms
            case "offline":
                self._flight.turn(on=True)
            case "online":
                self._flight.turn(on=False)
                self._bridge.retry_now()
            case "edit":
                for op in order.ops:
                    await self._made("other", op["path"], await session.patch([op]))
            case "where":
                before = time.monotonic()
                position_s = session.playhead.position()
                return Answer(order.id, place=Place(position_s, (before + time.monotonic()) * 500))
            case "begin":
                self._is_alive = True
            case "drain":
                self._is_alive = False
                await session.drained()
            case "summary":
                return Answer(order.id, summary=self._summary())
        return Answer(order.id, took_ms=(time.perf_counter() - begin) * 1000, uncertainty_ms=uncertainty_ms)

    def _summary(self) -> Summary:
        replica = self._session.replica
        edits = []
        for kind, name, mutation in self._edits:
            result = mutation.result
            version = result.version if isinstance(result, Acked) else 0
            edits.append(Edit(kind, name, version, result.code if isinstance(result, Rejected) else ""))
        position = self._session.position
        return Summary(
            0 if position is None else position.version,
            state_hash(replica.confirmed),
            edits,
            [{**record.row, "refused": record.code} for record in self._session.conflicts],
        )

    async def _made(self, kind: str, name: str, mutation: Mutation) -> Mutation:
        self._edits.append((kind, name, mutation))
        return mutation

    # -- a life of its own --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """The sensor: one heart rate a second, kept in the state and told at once, online or not."""
        while self._has_sensor:
            await asyncio.sleep(1.0)
            if not self._is_alive:
                continue
            self._beats += 1
            self._bpm = self._series.at(self._beats)
            sample = {"at": self._beats, "bpm": self._bpm}
            self._session.signal(sample)
            ops = [{"op": "add", "path": "/heart_rate/-", "value": sample}]
            await self._made("heart", str(self._beats), await self._session.patch(ops))

    async def _breathe(self) -> None:
        """The device that runs the session counts breaths, and says where it is."""
        while True:
            await asyncio.sleep(BREATH_EVERY_S)
            if self._is_alive and self._session.is_active:
                self._breaths += 1
                await self._made("breath", f"+{self._breaths}", await self._session.update(_one_breath_more))
                await self._session.playhead.report(self._session.playhead.position())

    async def _mark(self) -> None:
        """Whoever holds the device marks a moment now and then."""
        while True:
            await asyncio.sleep(random.uniform(*MARK_EVERY_S))  # noqa: S311  # timing, not a secret
            if self._is_alive:
                self._marks += 1
                mark = {
                    "id": f"{self._bridge.device.id}-{self._marks}",
                    "s": round(self._session.playhead.position(), 1),
                }
                ops = [{"op": "add", "path": "/marks/-", "value": mark}]
                await self._made("mark", str(mark["id"]), await self._session.patch(ops))

    async def _hear(self) -> None:
        async for signal_ in self._session.signals():
            if isinstance(signal_.data, dict):
                self._bpm = float(signal_.data.get("bpm", 0.0))

    async def _accept(self) -> None:
        """What this device is offered it takes."""
        async for session in self._bridge.offers():
            with contextlib.suppress(SyncBridgeError):  # withdrawn in the same moment: the source runs on
                await session.handoff.accept()

    async def _report(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(STATUS_EVERY_S)

    def _tell(self) -> None:
        session, position = self._session, self._session.position
        answered = sum(mutation.is_settled for _, _, mutation in self._edits)
        link = "offline" if self._flight.is_on else self._bridge.state
        say(
            Status(
                link,
                session.is_active,
                session.playhead.position(),
                self._bpm,
                len(self._edits),
                answered,
                0 if position is None else position.version,
            )
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"player: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _one_breath_more(state: Any) -> None:
    state["totals"]["breaths"] = state["totals"].get("breaths", 0) + 1


def say(message: FromPlayer) -> None:
    """One line to the demonstration; nobody may be there any more."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(_encode(message) + b"\n")
        sys.stdout.buffer.flush()


async def play(options: argparse.Namespace) -> None:
    """The device follows orders until there are no more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    kind, _, secret = (await reader.readline()).decode().strip().partition(" ")
    device = Device(f"demo-{options.device}", options.device, "demo")
    rest = Rest(options.url)
    token = secret if kind == "token" else await rest.redeem(secret, device)
    flight = FlightMode()
    bridge = connect(rest.socket_url, token=token, device=device, cache=options.cache, dial=flight.dial)
    async with bridge:
        session = await bridge.join(options.session)
        player = Player(bridge, session, flight, has_sensor=options.sensor)
        player.start()
        say(Ready())
        try:
            while line := await reader.readline():
                player.order(_decode(line))
        finally:
            player.stop()


def main() -> int:
    """The process; 1 when the device was refused."""
    parser = argparse.ArgumentParser(prog="python -m syncbridge.demo.player", description=__doc__)
    parser.add_argument("device")
    parser.add_argument("--url", required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--sensor", action="store_true")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demonstration ends its players, in its own order
    try:
        asyncio.run(play(parser.parse_args()))
    except SyncBridgeError as fault:
        print(f"{fault.code}: {fault.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
