"""The processes of the demonstration: the service that it starts, and the players. None outlives its block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from syncbridge.demo.orders import Act, Answer, FromPlayer, Order, Place, Ready, Status, Summary
from syncbridge.demo.rest import Rest

READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0
LINE_BYTES_MAX = 16 * 1024 * 1024
"""A summary is one line, and holds every edit and every conflict."""
_LOG_LINES = 12


class CannotRun(Exception):
    """The demonstration cannot be run here; the sentence says why, and no promise was judged."""


class ServiceProcess:
    """A service of our own: ``syncbridge serve`` on a free port, its data in ``directory``.

    ``settings`` are its environment's: ``{"SYNCBRIDGE_AUTH__LOGIN_BURST": "1000"}``.
    """

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        self._directory = directory
        self._settings = settings or {}
        self._log = directory / "service.log"
        self._process: asyncio.subprocess.Process | None = None
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> float:
        """It takes requests; how long that took, in ms. Raises CannotRun with its last words."""
        begin = time.perf_counter()
        # What this shell's environment says of another service must not change this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNCBRIDGE_")}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "syncbridge", "serve", "--port", str(self._port), "--data-dir", "data"),
                cwd=self._directory,
                env={**environment, "SYNCBRIDGE_LOG_LEVEL": "warning", **self._settings},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        rest = Rest(self.url)
        deadline = begin + READY_TIMEOUT_S
        while not await rest.is_ready():
            if self._process.returncode is not None:
                raise CannotRun(f"the service ended with {self._process.returncode}:\n{self.last_words()}")
            if time.perf_counter() > deadline:
                raise CannotRun(f"the service was not ready within {READY_TIMEOUT_S:g} s:\n{self.last_words()}")
            await asyncio.sleep(0.02)
        return (time.perf_counter() - begin) * 1000

    async def kill(self) -> None:
        """It is gone, in the midst of whatever it did (SIGKILL)."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """It has ended: asked to, and killed when it does not."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                await self.kill()

    def last_words(self) -> str:
        """The end of its log."""
        try:
            return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]) or "(it said nothing)"
        except OSError as error:
            return f"(its log cannot be read: {error})"


class DeviceProcess:
    """A player in a process of its own, by its name: orders go in, answers come out."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, tell: Callable[[], None]) -> None:
        self.name = name
        self.id = f"demo-{name}"
        self.status: Status | None = None
        self.joined_ms = 0.0
        self._process = process
        self._tell = tell
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._count = 0
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def playing(
        cls,
        name: str,
        *,
        url: str,
        session: str,
        secret: str,
        directory: Path,
        has_sensor: bool,
        tell: Callable[[], None],
    ) -> AsyncIterator[DeviceProcess]:
        """The device holds the session. ``secret`` is what it is let in by: "token TOKEN" or "code CODE"."""
        log = (directory / f"{name}.log").open("ab")
        with log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "syncbridge.demo.player", name, "--url", url, "--session", session),
                *("--cache", str(directory / f"{name}.sqlite"), *(["--sensor"] if has_sensor else [])),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        device = cls(name, process, tell)
        begin = time.perf_counter()
        try:
            device._say(f"{secret}\n".encode())
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await asyncio.shield(device._ready)
            except TimeoutError as error:
                raise CannotRun(f"the {name} did not join in time:\n{_tail(directory / f'{name}.log')}") from error
            except EOFError as error:
                raise CannotRun(f"the {name} ended:\n{_tail(directory / f'{name}.log')}") from error
            device.joined_ms = (time.perf_counter() - begin) * 1000
            yield device
        finally:
            await device._end()

    async def order(
        self, act: Act, *, device: str = "", position: float = 0.0, ops: list[dict[str, object]] | None = None
    ) -> Answer:
        """It is done. Raises OrderFailed with the player's reason, or when no answer comes."""
        self._count += 1
        number = self._count
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        self._say(_encode(Order(number, act, device, position, ops or [])) + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await waiting
        except TimeoutError as error:
            raise OrderFailed(f"the {self.name} did not answer `{act}` within {ANSWER_TIMEOUT_S:g} s") from error
        except EOFError as error:
            raise OrderFailed(f"the {self.name} ended while it was asked to `{act}`") from error
        finally:
            self._answers.pop(number, None)
        if answer.error:
            raise OrderFailed(f"the {self.name} could not `{act}`: {answer.error}")
        return answer

    async def place(self) -> Place:
        place = (await self.order("where")).place
        assert place is not None
        return place

    async def summary(self) -> Summary:
        summary = (await self.order("summary")).summary
        assert summary is not None
        return summary

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(line)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                self._heard(_decode(line))
        finally:
            for waiting in self._answers.values():
                if not waiting.done():
                    waiting.set_exception(EOFError())
            if not self._ready.done():
                self._ready.set_exception(EOFError())
            if not self._ready.cancelled():
                self._ready.exception()  # looked at here, for nobody may wait for it any more

    def _heard(self, message: FromPlayer) -> None:
        match message:
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(None)
            case Status():
                self.status = message
                self._tell()
            case Answer():
                waiting = self._answers.get(message.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)

    async def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


class OrderFailed(Exception):
    """A player did not do what the story asks for: that is a broken promise, and the sentence names it."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FromPlayer).decode


def _tail(path: Path) -> str:
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]) or "(it said nothing)"


def _free_port() -> int:
    """A port that was free a moment ago; the service keeps it over its restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
