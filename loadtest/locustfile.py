"""The locust side: a person with two devices, and the shape of the run. Started by `loadtest.__main__`.

Reads LOADTEST_PLAN, a JSON file: url, shape, seconds, users, out, and the people (token and session each).
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from locust import LoadTestShape, User, between, events, task

from loadtest.devices import DeviceFailed, LoadDevice
from loadtest.measures import Measures
from loadtest.shapes import storm_at, users_at
from syncbridge.core.playhead import Anchor

PLAN: dict[str, Any] = json.loads(Path(os.environ["LOADTEST_PLAN"]).read_text("utf-8"))
MEASURES = Measures()
_FREE: list[dict[str, str]] = list(PLAN["people"])
_BEGAN = time.monotonic()


class Person(User):
    """Edits now and then, goes on on the other device, and loses the network at times."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        self.me = _FREE.pop()
        self.devices = [
            LoadDevice(PLAN["url"], self.me["token"], self.me["session"], name) for name in ("load-phone", "load-tv")
        ]
        self.active = 0
        self.breaths = 0
        self.truth: Anchor | None = None
        self.storms = storm_at(PLAN["shape"], time.monotonic() - _BEGAN)
        self.is_up = self._timed("open", self._open)

    def on_stop(self) -> None:
        for device in self.devices:
            device.cut()
        _FREE.append(self.me)

    @task(12)
    def edit(self) -> None:
        """One breath more, until it is acknowledged."""
        if self._weather():
            device = self.devices[self.active]
            if self._timed("push", lambda: device.edit_acked(device.one_breath_more())):
                self.breaths += 1

    @task(2)
    def hand_off(self) -> None:
        """ "Continue here", on the other device."""
        if self._weather():
            target = self.devices[1 - self.active]
            if self._timed("handoff", target.take):
                self.active = 1 - self.active
                self._judge(target)
            else:
                MEASURES.broke()

    @task(1)
    def lose_network(self) -> None:
        """The device that does not run the session comes back after a cut."""
        if self._weather():
            self._resume(self.devices[1 - self.active])

    def _weather(self) -> bool:
        """The devices are connected; a storm since the last look cuts both, and they come back."""
        if not self.is_up:
            self.is_up = self._timed("open", self._open)
            return self.is_up
        storms = storm_at(PLAN["shape"], time.monotonic() - _BEGAN)
        if storms > self.storms:
            self.storms = storms
            for device in self.devices:
                device.cut()
            for device in self.devices:
                self._resume(device)
        return self.is_up

    def _open(self) -> None:
        for device in self.devices:
            device.cut()
            device.open()
        first = self.devices[0]
        first.take()
        self.active = 0
        if self.truth is None:
            self.breaths = first.breaths()
            first.play(random.uniform(0, 300))
            self.truth = first.anchor

    def _resume(self, device: LoadDevice) -> None:
        device.cut()
        if self._timed("resume", device.open):
            self._judge(device)
        else:
            MEASURES.broke()
            self.is_up = False

    def _judge(self, device: LoadDevice) -> None:
        """What was acknowledged is on the device, and its playhead is where the first `play` leads.

        Where that is, is reckoned by the other device's clock: each has measured its offset on a line of its own.
        """
        try:
            device.reaches(self.devices[self.active].last_version)
        except DeviceFailed as failure:
            MEASURES.failed("continuity", str(failure))
        anchor, truth = device.anchor, self.truth
        assert truth is not None
        other = self.devices[1 - self.devices.index(device)]
        there_s = 1e9 if anchor is None else anchor.position_at(device.now_ms())
        off_ms = abs(there_s - truth.position_at(other.now_ms())) * 1000
        MEASURES.moved(lost=max(0, self.breaths - device.breaths()), playhead_ms=off_ms)

    def _timed(self, name: str, work: Any) -> bool:
        begin = time.perf_counter()
        error: Exception | None = None
        try:
            work()
        except (DeviceFailed, OSError, TimeoutError) as failure:
            error = failure
            MEASURES.failed(name, str(failure)[:120])
            self.is_up = False
        took_ms = (time.perf_counter() - begin) * 1000
        if error is None:
            MEASURES.took(name, took_ms)
        events.request.fire(  # type: ignore[no-untyped-call]  # locust types half of itself
            request_type="ws", name=name, response_time=took_ms, response_length=0, exception=error, context={}
        )
        return error is None


class Shape(LoadTestShape):
    """`shapes.users_at`, as locust asks for it."""

    def tick(self) -> tuple[int, float] | None:
        return users_at(PLAN["shape"], self.get_run_time(), PLAN["seconds"], PLAN["users"])  # type: ignore[no-untyped-call]


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def write(**_: object) -> None:
    """The run's figures are where the plan wants them."""
    figures = MEASURES.as_json(PLAN["shape"], PLAN["seconds"], PLAN["users"])
    Path(PLAN["out"]).write_text(json.dumps(figures), "utf-8")
