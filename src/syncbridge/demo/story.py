"""The story: a breathing session that moves between devices, loses its network and its service, and ends whole.

The observer is one more device, in this process: it knows the log as committed and the service's clock, and so where
the playhead truly is. Truth is the anchor of the one `play` at the beginning: nobody moves the playhead on purpose
after it, so every handoff, cut and crash has to leave it running as it ran.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from syncbridge.client import Device, Session, connect
from syncbridge.client.connection import Bridge
from syncbridge.core.digest import state_hash
from syncbridge.core.playhead import Anchor, of_state
from syncbridge.demo import account as accounting
from syncbridge.demo.account import Account, Handoff
from syncbridge.demo.orders import Summary
from syncbridge.demo.processes import DeviceProcess, OrderFailed, ServiceProcess
from syncbridge.demo.rest import Rest
from syncbridge.demo.screen import Screen
from syncbridge.errors import Unavailable

BACK_TIMEOUT_S = 30.0
CONVERGE_TIMEOUT_S = 10.0
FIRST_POSITION_S = 12.0
PAUSES = 10
"""How many stretches the story's time is cut into."""
OVERHEAD_S = 9.0
"""What starting processes and the crash take besides, on two cores."""


class Story:
    """One run. ``service`` is the process that may be killed; None where the service is somebody else's."""

    def __init__(
        self, *, rest: Rest, service: ServiceProcess | None, directory: Path, screen: Screen, seconds: float, seed: int
    ) -> None:
        self._rest = rest
        self._service = service
        self._directory = directory
        self._screen = screen
        self._random = Random(seed)  # noqa: S311  # timing, not a secret
        self._pause_s = max(0.5, (seconds - OVERHEAD_S) / PAUSES)
        self._stack = AsyncExitStack()
        self._handoffs: list[Handoff] = []
        self._devices: list[DeviceProcess] = []
        self._session = ""
        self._observer: Session
        self._bridge: Bridge
        self._truth: Anchor

    async def run(self) -> Account:
        """The story is told and accounted for. Raises CannotRun; a promise broken on the way is in the account."""
        async with self._stack:
            self._session = await self._rest.create_session("breathing", "Evening, with a recorded heart")
            await self._observe()
            failed: list[str] = []
            try:
                await self._tell()
            except OrderFailed as failure:
                failed.append(str(failure))
            return await self._account(failed)

    # -- the scenes ---------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        phone = await self._device("phone", f"token {self._rest.token}", has_sensor=True)
        await phone.order("take")
        await phone.order(
            "edit", ops=[{"op": "add", "path": "/best", "value": {}}, {"op": "add", "path": "/tags", "value": []}]
        )
        await phone.order("play", position=FIRST_POSITION_S)
        self._truth = self._anchor()
        await phone.order("begin")
        self._say(f"the phone plays from {FIRST_POSITION_S:g} s, and its sensor tells the heart rate")
        await self._pause()

        laptop = await self._device("laptop", f"token {self._rest.token}")
        await laptop.order("begin")
        await self._offer(phone, laptop)
        await self._pause()

        code = await self._rest.pairing_code(self._session)
        self._say("the laptop shows a one-time code; the TV redeems it")
        tv = await self._device("tv", f"code {code}")
        await tv.order("begin")
        await self._take("code", laptop, tv)
        await self._pause()

        await self._take("take", tv, phone)
        await self._pause()
        await self._apart(phone, laptop, tv)
        await self._pause()
        if self._service is not None:
            await self._crash(self._service)
            await self._pause()
        await self._offer(laptop, tv)
        await self._pause()
        await self._take("take", tv, phone)
        await self._pause()

    async def _offer(self, source: DeviceProcess, target: DeviceProcess) -> None:
        answer = await source.order("offer", device=target.id)
        await self._moved("offer", source, target, answer.took_ms, answer.uncertainty_ms)

    async def _take(self, how: str, source: DeviceProcess, target: DeviceProcess, *, is_live: bool = True) -> None:
        answer = await target.order("take")
        await self._moved(how, source, target, answer.took_ms, answer.uncertainty_ms, is_live=is_live)

    async def _moved(
        self,
        how: str,
        source: DeviceProcess,
        target: DeviceProcess,
        latency_ms: float,
        uncertainty_ms: int,
        *,
        is_live: bool = True,
    ) -> None:
        there = [device for device in (source, target) if device is target or is_live]
        error_ms = max([await self._error_ms(device) for device in there])
        self._handoffs.append(
            Handoff(how, source.name, target.name, latency_ms, error_ms, is_live=is_live, uncertainty_ms=uncertainty_ms)
        )
        self._say(
            f"{how}: {source.name} -> {target.name} in {latency_ms:.1f} ms, playhead off by {error_ms:.1f} ms", "cyan"
        )

    async def _apart(self, phone: DeviceProcess, laptop: DeviceProcess, tv: DeviceProcess) -> None:
        """The active device loses its network; both sides go on and edit the same things."""
        await phone.order("offline")
        self._say("the phone loses its network; its sensor and its owner go on", "yellow")
        await self._pause(0.4)
        await phone.order("edit", ops=_edits("phone", 30, "slow, by the window", 41.5))
        await self._until(lambda: "demo-phone" not in self._observer.presence.online, "the phone's absence is noticed")
        await self._take("take", phone, laptop, is_live=False)
        await self._pause(0.4)
        await laptop.order("edit", ops=_edits("laptop", 80, "warm light, later", 44.0))
        await tv.order("edit", ops=[{"op": "replace", "path": "/settings/volume", "value": 55}])
        self._say("laptop and TV change the same things: volume, note, best, pattern")
        await self._pause(0.4)
        await phone.order("online")
        took_s = await self._back([phone])
        self._say(f"the phone is back after {took_s * 1000:.0f} ms; its edits are merged", "green")

    async def _crash(self, service: ServiceProcess) -> None:
        """The service is killed while everybody edits, and started again on the same data."""
        await asyncio.sleep(self._random.uniform(0.0, 0.7))
        await service.kill()
        self._say("kill -9: the service is gone; every device goes on", "red")
        await self._pause(0.3)
        took_ms = await service.start()
        took_s = await self._back(self._devices)
        self._say(f"restarted on the same data in {took_ms:.0f} ms; all are back {took_s:.1f} s later", "green")

    # -- devices and the observer -------------------------------------------------------------------------------

    async def _device(self, name: str, secret: str, *, has_sensor: bool = False) -> DeviceProcess:
        playing = DeviceProcess.playing(
            name,
            url=self._rest.url,
            session=self._session,
            secret=secret,
            directory=self._directory,
            has_sensor=has_sensor,
            tell=self._screen.refresh,
        )
        device = await self._stack.enter_async_context(playing)
        self._devices.append(device)
        self._screen.show(device)
        self._say(f"the {name} joins ({device.joined_ms:.0f} ms after its process was started)")
        return device

    async def _observe(self) -> None:
        self._bridge = connect(self._rest.socket_url, token=self._rest.token, device=Device("demo-observer"))
        await self._stack.enter_async_context(self._bridge)
        await self._bridge.online()
        self._observer = await self._bridge.join(self._session)

    def _anchor(self) -> Anchor:
        anchor = of_state(self._observer.replica.confirmed)
        assert anchor is not None
        return anchor

    async def _error_ms(self, device: DeviceProcess) -> float:
        """How far the device's playhead is from the true one. The machine's monotonic clock is common to both."""
        place = await device.place()
        clock = self._bridge.clock
        assert clock is not None
        best = clock.best
        assert best is not None
        server_ms = place.monotonic_ms + best.offset_ms
        true_s = self._truth.position + self._truth.rate * (server_ms - self._truth.at) / 1000
        return abs(place.position_s - true_s) * 1000

    async def _back(self, devices: list[DeviceProcess]) -> float:
        """The devices, and the observer, follow the session live again; how long that took."""
        begin = time.monotonic()
        wanted = {device.id for device in devices}
        await self._until(lambda: wanted <= self._observer.presence.online, "every device is back")
        return time.monotonic() - begin

    async def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + BACK_TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise OrderFailed(f"{what}: not within {BACK_TIMEOUT_S:g} s")
            self._screen.refresh()
            await asyncio.sleep(0.02)

    async def _pause(self, share: float = 1.0) -> None:
        """Life goes on for a stretch, a little longer or shorter each time."""
        await asyncio.sleep(self._pause_s * share * self._random.uniform(0.7, 1.3))

    def _say(self, line: str, style: str = "") -> None:
        self._screen.tell(line, style)

    # -- the account --------------------------------------------------------------------------------------------

    async def _account(self, failed: list[str]) -> Account:
        drained = await asyncio.gather(*(device.order("drain") for device in self._devices), return_exceptions=True)
        for outcome in drained:
            if isinstance(outcome, OrderFailed):
                failed.append(f"every update is answered: {outcome}")
            elif isinstance(outcome, BaseException):
                raise outcome
        if self._devices and not failed:
            self._say("all devices are quiet; every edit has its answer")
        try:
            summaries, hashes = await self._agreed(failed)
            state = await self._rest.state(self._session)
        except (Unavailable, OrderFailed) as failure:
            # What cannot be looked at is neither lost nor doubled: it is not known.
            return Account(self._handoffs, accounting.Tally(0, 0, 0, 0, 0, 0), [], {}, [*failed, str(failure)])
        edits = [edit for summary in summaries.values() for edit in summary.edits]
        counted = accounting.tally(edits, state)
        broken = [*failed, *accounting.broken(self._handoffs, counted, hashes)]
        return Account(self._handoffs, counted, accounting.conflicts(list(summaries.values())), hashes, broken)

    async def _agreed(self, failed: list[str]) -> tuple[dict[str, Summary], dict[str, str]]:
        """Every device's summary and hash, when all hold the same state, or when they took too long to."""
        deadline = time.monotonic() + CONVERGE_TIMEOUT_S
        while True:
            told = await self._rest.session(self._session)
            summaries = {device.name: await device.summary() for device in self._devices}
            hashes = {"service": told["hash"], "observer": state_hash(self._observer.replica.confirmed)}
            hashes |= {name: summary.hash for name, summary in summaries.items()}
            if len(set(hashes.values())) == 1 or failed or time.monotonic() > deadline:
                return summaries, hashes
            await asyncio.sleep(0.1)


def _edits(who: str, volume: int, note: str, best: float) -> list[dict[str, Any]]:
    """What a person changes on one side while another does on the other: one path of each policy."""
    return [
        {"op": "replace", "path": "/settings/volume", "value": volume},
        {"op": "add", "path": "/notes", "value": f"{note} ({who})"},
        {"op": "add", "path": "/best/calm_s", "value": best},
        {"op": "add", "path": "/tags/-", "value": who},
        {"op": "replace", "path": "/pattern/exhale_s", "value": volume // 10},
    ]


@asynccontextmanager
async def own_service(directory: Path) -> AsyncIterator[tuple[Rest, ServiceProcess]]:
    """A service of the demonstration's own, with an account; it has ended when the block is left."""
    service = ServiceProcess(directory)
    try:
        await service.start()
        rest = Rest(service.url)
        rest.token = await rest.create_account("demo@example.com", "a demonstration, nothing more")
        yield rest, service
    finally:
        await service.stop()
