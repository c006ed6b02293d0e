"""The connection of a device: one line to the service, kept up, with all its sessions on it.

========== ===================================== =================================================================
state      what it means                         what ends it
========== ===================================== =================================================================
offline    not started, stopped, or refused      `connect`; a refusal stays in `failure`
connecting a line is opened, `hello` was said    `welcome`: online; anything else: waiting, or offline for good
online     sessions are followed live            the line breaks, a goodbye, silence: waiting
waiting    the next attempt has its time         the time comes, or `retry_now()`: connecting
========== ===================================== =================================================================

Refused for good: 4403 (may not), 4409 (the same device connected elsewhere; two of them would fight), 4400 (we do
not speak the same protocol), and 4401 where no callback can give another token. Everything else is tried again.
"""

from __future__ import annotations

import asyncio
import inspect
import random as random_module
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from syncbridge.client.backoff import Backoff
from syncbridge.client.cache import Cache
from syncbridge.client.clocksync import ClockSync
from syncbridge.client.replica import Replica
from syncbridge.client.session import Session
from syncbridge.client.streams import Changes, Feed
from syncbridge.client.transport import Dial, Transport, picows_dial
from syncbridge.core.messages import (
    AnyServerMessage,
    Auth,
    ClientMessage,
    ClockMessage,
    DeviceInfo,
    ErrorMessage,
    Goodbye,
    HandoffPrepare,
    Hello,
    TokenExpiring,
    Welcome,
)
from syncbridge.errors import (
    BadMessage,
    ClientFault,
    DependencyFault,
    DeviceReplaced,
    Forbidden,
    ProtocolUnsupported,
    SyncBridgeError,
    TokenInvalid,
    Unavailable,
    by_code,
)
from syncbridge.limits import Limits
from syncbridge.wire.codec_client import decode, encode

Token = str | Callable[[], str | Awaitable[str]]
State = Literal["connecting", "online", "offline", "waiting"]

WELCOME_MS = 10_000
STABLE_MS = 5_000
"""A line that held this long was a good one: the next failure starts the backoff anew."""
CLOCK_BURST = 5
"""Samples right after `welcome`; later one a heartbeat, which also shows that the line lives."""
SILENT_HEARTBEATS = 3

_FINAL: dict[int, type[SyncBridgeError]] = {4400: ProtocolUnsupported, 4403: Forbidden, 4409: DeviceReplaced}


class _Line:
    """One connection's ears: what is heard reaches the bridge only while this is its line."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.transport: Transport | None = None
        self.opened_at = self.heard_at = bridge.monotonic_ms()
        self.hello_at = 0.0
        self.heartbeat_ms = 0
        self.clocks = 0
        self.code: int | None = None
        self.fault: ErrorMessage | None = None
        self.goodbye: Goodbye | None = None
        self.is_ended = False
        self.woken = asyncio.Event()

    @property
    def is_welcome(self) -> bool:
        return self.heartbeat_ms > 0

    def heard(self) -> None:
        self.heard_at = self._bridge.monotonic_ms()

    def received(self, data: bytes) -> None:
        self.heard()
        if not self.is_ended:
            self._bridge.received(self, data)

    def closed(self, code: int | None) -> None:
        self.code = code if code is not None else self.code
        self.end()

    def end(self) -> None:
        self.is_ended = True
        self.woken.set()


class Bridge:
    """A device's connection to the service. Made by `connect`; use it as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        device: DeviceInfo,
        cache: str | Path | None,
        dial: Dial,
        random: Callable[[], float],
        policies_of: Callable[[str], dict[str, object] | None] | None,
    ) -> None:
        self.url = url
        self.device = device
        self.cache: Cache | None = None
        self.failure: SyncBridgeError | None = None
        self.limits = Limits()
        self._token = token
        self._cache_path = cache
        self.random = random
        self._dial = dial
        self._backoff = Backoff(random)
        self._policies_of = policies_of
        self._state: State = "offline"
        self._changes = Changes()
        self._offers: Feed[Session] = Feed()
        self._sessions: dict[str, Session] = {}
        self._opening = asyncio.Lock()
        self._line: _Line | None = None
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._clock: ClockSync | None = None

    # -- its life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._clock = ClockSync(time.time() * 1000, self.monotonic_ms())
        if self._cache_path is not None:
            self.cache = await Cache.open(self._cache_path)
        self._runner = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """The connection is closed, everything known is in the cache, and nothing runs any more."""
        fault = Unavailable("the connection was closed here") if self.failure is None else self.failure
        tasks = [task for task in (self._runner, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for session in list(self._sessions.values()):
            await session.close(fault)
        self._sessions.clear()
        if self.cache is not None:
            await self.cache.close()
            self.cache = None
        self._set_state("offline")
        self._changes.close()
        self._offers.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, SyncBridgeError):
                raise result

    # -- what an app sees -------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    def watch_state(self) -> AsyncIterator[State]:
        """The state now and after each change; slow readers skip to the newest."""
        return self._changes.values(lambda: self._state, str.__eq__)

    async def online(self) -> None:
        """The bridge is online. Raises what it was refused with, when it was refused for good."""
        async for state in self.watch_state():
            if state == "online":
                return
            if self.failure is not None:
                raise self.failure

    def retry_now(self) -> None:
        """While waiting: the next attempt is made now (the network is back, the app is in front)."""
        self._wake.set()

    def now_ms(self) -> int:
        """Server time, as well as it is known."""
        assert self._clock is not None, "the bridge is not open; use `async with`"
        return self._clock.now_ms(self.monotonic_ms())

    @property
    def clock(self) -> ClockSync | None:
        """The measured offset to the server's clock and how far it may be off."""
        return self._clock

    async def join(self, session: str) -> Session:
        """The session, followed as long as the bridge lives.

        With a cached state it is there at once, online or not; else this waits for the server.
        Raises   NotFound (also for what is not yours), JoinsExceeded, CacheFault; what `failure` says.
        """
        opened = await self._open(session)
        if opened.position is None:
            try:
                await opened.joined()
            except SyncBridgeError:
                await opened.close(Unavailable() if opened.failure is None else opened.failure)
                self._sessions.pop(session, None)
                raise
        return opened

    def offers(self) -> AsyncIterator[Session]:
        """Sessions that are offered to this device from now on, joined: ``session.handoff.accept()`` or `decline`."""
        return self._offers.items([one for one in self._sessions.values() if one.handoff.incoming is not None])

    # -- what a session needs ---------------------------------------------------------------------------------------

    def monotonic_ms(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def send(self, message: ClientMessage) -> None:
        """The message goes out now; without a welcomed line it is dropped (the next join says everything)."""
        line = self._line
        if line is not None and line.is_welcome and line.transport is not None and not line.is_ended:
            line.transport.send(encode(message))

    def left(self, session: str) -> None:
        self._sessions.pop(session, None)

    async def _open(self, name: str) -> Session:
        if self.failure is not None:
            raise self.failure
        async with self._opening:
            known = self._sessions.get(name)
            if known is not None and known.failure is None:
                return known
            if known is not None:
                await known.close(known.failure or Unavailable())  # two that save one session would undo each other
            if self._policies_of is None:
                replica = Replica(name, self.device.id, limits=self.limits)
            else:
                replica = Replica(name, self.device.id, limits=self.limits, policies_of=self._policies_of)
            dump = None if self.cache is None else await self.cache.load(name, self.device.id)
            if dump is not None:
                replica.load(dump)
            session = self._sessions[name] = Session(self, replica)
            self._limit(replica)
            if self._state == "online":
                session.online()
            return session

    # -- the line ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self.failure is None:
                self._set_state("connecting")
                wait_ms = await self._attempt()
                if self.failure is None:
                    self._set_state("waiting")
                    await self._wait(wait_ms)
        finally:
            self._set_state("offline")
            if self.failure is not None:
                for session in list(self._sessions.values()):
                    await session.close(self.failure)

    async def _attempt(self) -> int:
        """One connection from dial to end; how long to wait before the next, in ms."""
        line = _Line(self)
        try:
            token = await self._ask_token()
            line.transport = await self._dial(self.url, line)
        except (DependencyFault, OSError, TimeoutError):
            return self._backoff.failed()
        self._line = line
        try:
            line.hello_at = line.heard_at = self.monotonic_ms()
            line.transport.send(encode(Hello(token, self.device)))
            await self._watch(line)
        finally:
            self._line = None
            line.transport.close()
            line.end()
            for session in self._sessions.values():
                session.offline()
        return self._judge_end(line)

    async def _watch(self, line: _Line) -> None:
        """Returns when the line ended, or was cut for its silence."""
        assert line.transport is not None
        while not line.is_ended:
            silent_ms = line.heartbeat_ms * SILENT_HEARTBEATS if line.is_welcome else WELCOME_MS
            cut_in_ms = line.heard_at + silent_ms - self.monotonic_ms()
            if cut_in_ms <= 0:
                line.transport.close(1001)
                return
            pause_ms = min(cut_in_ms, line.heartbeat_ms or cut_in_ms)
            try:
                async with asyncio.timeout(pause_ms / 1000):
                    await line.woken.wait()
            except TimeoutError:
                self._ask_clock()
            line.woken.clear()

    def _judge_end(self, line: _Line) -> int:
        if line.is_welcome and self.monotonic_ms() - line.opened_at >= STABLE_MS:
            self._backoff.succeeded()
        code = line.code or 0
        final = _FINAL.get(code)
        if code == 4401 and not callable(self._token):
            final = TokenInvalid
        if final is not None:
            self.failure = final() if line.fault is None else _fault_of(line.fault)
            return 0
        if line.goodbye is not None:
            return self._backoff.dismissed(line.goodbye.reconnect_after_ms)
        return self._backoff.failed(least_ms=0 if line.fault is None else line.fault.retry_after_ms)

    async def _wait(self, wait_ms: int) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _ask_token(self) -> str:
        if isinstance(self._token, str):
            return self._token
        answer = self._token()
        return await answer if inspect.isawaitable(answer) else answer

    def _set_state(self, state: State) -> None:
        self._state = state
        self._changes.changed()

    # -- what the server says ---------------------------------------------------------------------------------------

    def received(self, line: _Line, data: bytes) -> None:
        """A frame came on ``line``."""
        try:
            message = decode(data)
        except BadMessage:
            assert line.transport is not None
            line.transport.close(1002)
            return
        if message is not None:
            self._on_message(line, message)

    def _on_message(self, line: _Line, message: AnyServerMessage) -> None:
        name = getattr(message, "session", "")
        session = self._sessions.get(name)
        match message:
            case Welcome():
                self._on_welcome(line, message)
            case ClockMessage():
                assert self._clock is not None
                self._clock.answered(message, self.monotonic_ms())
                if line.clocks < CLOCK_BURST:
                    self._ask_clock()
            case Goodbye():
                line.goodbye = message
            case TokenExpiring():
                if callable(self._token):
                    self._start(self._renew())
            case ErrorMessage() if not name:
                line.fault = message
            case HandoffPrepare():
                self._start(self._on_prepare(message))
            case _ if session is not None:
                session.received(message)
            case _:
                pass  # about a session that was left meanwhile

    def _on_welcome(self, line: _Line, message: Welcome) -> None:
        assert self._clock is not None
        now_ms = self.monotonic_ms()
        line.heartbeat_ms = max(1, message.heartbeat_ms)
        line.woken.set()
        self._clock.welcomed(message.server_time, line.hello_at, now_ms)
        told = message.limits
        self.limits = Limits(
            message_bytes_max=told.message_bytes_max, ops_max=told.ops_max, inflight_max=told.inflight_max
        )
        self._set_state("online")
        self._ask_clock()
        for session in list(self._sessions.values()):
            if session.failure is None:
                self._limit(session.replica)
                session.online()

    def _limit(self, replica: Replica) -> None:
        replica.inflight_max = self.limits.inflight_max
        replica.ops_max = self.limits.ops_max
        replica.message_bytes_max = self.limits.message_bytes_max

    def _ask_clock(self) -> None:
        line, clock = self._line, self._clock
        if line is not None and clock is not None:
            line.clocks += 1
            self.send(clock.ask(self.monotonic_ms()))

    async def _renew(self) -> None:
        try:
            self.send(Auth(await self._ask_token()))
        except (DependencyFault, OSError, TimeoutError):
            return  # the server closes with 4401 when the token ends, and then it is asked for again

    async def _on_prepare(self, message: HandoffPrepare) -> None:
        try:
            session = await self._open(message.session)
            session.received(message)
            await session.joined()
        except SyncBridgeError:
            return  # it is gone, or was refused; the source runs on
        self._offers.put(session)

    def _start(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fault_of(message: ErrorMessage) -> SyncBridgeError:
    return by_code().get(message.code, ClientFault)(message.message)


def connect(
    url: str,
    *,
    token: Token,
    device: DeviceInfo,
    cache: str | Path | None = None,
    ssl_context: ssl.SSLContext | None = None,
    dial: Dial | None = None,
    random: Callable[[], float] = random_module.random,
    policies_of: Callable[[str], dict[str, object] | None] | None = None,
) -> Bridge:
    """A connection to the service at ``url`` (``wss://host/v1/ws``); enter it with ``async with``.

    token         a string, or a callback (plain or async) that gives a fresh one whenever it is needed
    device        who this is; its id has to stay the same over restarts
    cache         the file of the offline store; None keeps nothing over a restart
    policies_of   the compiled merge policies of a session type, where the service has types of its own
    dial          another transport; for tests
    """
    return Bridge(
        url,
        token=token,
        device=device,
        cache=cache,
        dial=dial or picows_dial(ssl_context),
        random=random,
        policies_of=policies_of,
    )
