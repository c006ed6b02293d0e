"""The process that serves: one loop, signals, and a clean end. What the command line runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

import structlog
import uvloop

from syncbridge import __version__
from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.errors import SyncBridgeError
from syncbridge.net.echo import ECHO_PATH
from syncbridge.net.server import StartFailed
from syncbridge.telemetry import is_for_people
from syncbridge.telemetry.traces import TracesUnavailable

_GC_YOUNG: Final = 50_000
"""Allocations between two collections of the young; a message leaves no cycle, so they find nothing."""

_PLACES: Final = {
    "rest": "REST",
    "websocket": "WebSocket",
    "tls": "TLS",
    "api_page": "API page",
    "metrics": "Metrics",
    "data_dir": "Data",
}
_log = structlog.get_logger("syncbridge")


def serve(settings: Settings, *, accept_loss: bool = False) -> int:
    """The service ran until it was told to stop. A second signal ends it at once, with 1.

    Answers   0 when it ended cleanly, 1 when it could not start; the reason is logged.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, accept_loss=accept_loss))
    except (CannotOpen, StartFailed, TracesUnavailable, SyncBridgeError, OSError) as error:
        _log.error("cannot start", reason=getattr(error, "strerror", None) or str(error))
        return 1


async def _serve(settings: Settings, *, accept_loss: bool) -> int:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its lines say what ours say
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def on_signal(name: str) -> None:
        if told.is_set():
            _log.warning("stopped at once, by a second signal", signal=name)
            os._exit(1)
        _log.info("draining; once more to stop at once", signal=name)
        told.set()

    has_tls = settings.has_tls
    stopping = [signal.SIGINT, signal.SIGTERM]
    if not has_tls and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # No certificate to renew, and not begun by nohup: then it is a closed terminal, which ends what ran in it.
        stopping.append(signal.SIGHUP)
    for number in stopping:
        loop.add_signal_handler(number, on_signal, number.name)
    async with Service.running(settings, accept_loss=accept_loss) as service:
        # `syncbridge retention run` asks so.
        loop.add_signal_handler(signal.SIGUSR1, service.lifecycle.retention.ask)
        if service.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, service.certificate.renew)
        announce(service, for_people=is_for_people(settings.log_format))
        if settings.test_echo:
            _log.warning("a TEST ECHO is served to anybody who can connect; never in production", path=ECHO_PATH)
        gc.collect()
        gc.freeze()  # what is alive now stays, and need not be looked at again
        gc.set_threshold(_GC_YOUNG, 20, 50)
        await told.wait()
        await service.drain()
    _log.info("stopped; everything acknowledged is on disk")
    return 0


def announce(service: Service, *, for_people: bool) -> None:
    """It is logged where the service is reached: a line each for a person, one event for a machine."""
    places = service.places()
    if not for_people:
        _log.info("SyncBridge is listening", version=__version__, **places)
        return
    _log.info("SyncBridge is listening", version=__version__)
    for name, place in places.items():
        _log.info(f"{_PLACES[name]:<9}  {place}")
    base = places["rest"].removesuffix("/v1")
    _log.info(f"Account    {typed_command()} account create you@example.com --url {base}")


def typed_command() -> str:
    """The command line as whoever started this process can type it: its path, where it is not on PATH."""
    started = Path(sys.argv[0])
    if started.name != "syncbridge" or shutil.which("syncbridge") is not None:
        return "syncbridge"
    here = Path.cwd()
    return str(started.relative_to(here) if started.is_absolute() and started.is_relative_to(here) else started)
