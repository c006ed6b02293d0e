"""The process that serves: one loop, signals, and a clean end. What the command line runs.

With `workers` it is a parent of several that share the port (`supervisor`), each a node among the others.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
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
from syncbridge.supervisor import Supervisor, Worker
from syncbridge.telemetry import is_for_people
from syncbridge.telemetry.traces import TracesUnavailable

_GC_THRESHOLDS: Final = (2_000, 0, 5_000)
"""Nobody is served while garbage is looked for, and of messages there is next to none: what is kept holds no cycle.

So each look is a short one: at 2,000 young objects, or at twice as many, which are left alone then until everything is
looked at, once in tens of millions. (50,000 young ones at a time were 20 ms of nothing else, every ten seconds of 1,000
pushes each: the slowest handoffs of bench/test_handoff_nodes.py. Fewer at a time cost more: of a commit, where logs
grow, 3.4 us with 5,000 and 4.8 with 1,000.)
"""

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
    """The service ran, in as many processes as the settings say, until it was told to stop.

    A second signal ends it at once, with 1.
    Answers   0 when it ended cleanly, 1 when it could not start; the reason is logged.
    """
    return _serve_alone(settings, None, accept_loss=accept_loss) if settings.workers == 1 else _supervise(settings)


def _supervise(settings: Settings) -> int:
    """Workers share the port, until they are told to stop."""
    try:
        reserved = _reserve_ports(settings)
    except OSError as error:
        _log.error("cannot start", reason=error.strerror)
        return 1
    has_tls = settings.has_tls

    def work(worker: Worker) -> int:
        structlog.contextvars.bind_contextvars(worker=worker.index)
        return _serve_alone(settings_of_worker(settings, worker.index), worker)

    def on_serving() -> None:
        announce(places_of(settings), for_people=is_for_people(settings.log_format), workers=settings.workers)

    gc.collect()
    gc.freeze()  # collections in the workers leave the parent's pages alone, so that they stay shared
    try:
        return Supervisor(
            settings.workers,
            work,
            on_serving,
            stopping=_stopping_signals(has_tls=has_tls),
            passing=(signal.SIGHUP,) if has_tls else (),
            to_one=(signal.SIGUSR1,),  # a run of retention is for the world that all share
        ).run()
    finally:
        for held in reserved:
            held.close()


def settings_of_worker(settings: Settings, index: int) -> Settings:
    """What is each worker's own: its name among the nodes, and the port of its figures."""
    own: dict[str, object] = {}
    if settings.node_name:
        own["node_name"] = f"{settings.node_name}-{index}"
    if settings.metrics_port:
        own["metrics_port"] = settings.metrics_port + index
    return settings.model_copy(update=own)


def _reserve_ports(settings: Settings) -> list[socket.socket]:
    """The ports are taken for our workers while the sockets are held. Raises OSError where others listen there.

    Sharing is by `SO_REUSEPORT`, with which a second service on the same port would not be noticed: it would get half
    of the connections. So each port is bound without it first.
    """
    held: list[socket.socket] = []
    for port in (settings.port, *(() if settings.tls_port is None else (settings.tls_port,))):
        found = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            taken = socket.socket(family, kind, protocol)
            try:
                taken.setsockopt(socket.SOL_SOCKET, option, 1)
                taken.bind(address)
            except OSError as error:
                for one in (taken, *held):
                    one.close()
                place = f"{settings.host} port {port}"
                raise type(error)(error.errno, f"cannot listen on {place}: {error.strerror}") from error
            if option == socket.SO_REUSEADDR:
                taken.close()
            else:
                held.append(taken)
    return held


def _stopping_signals(*, has_tls: bool) -> list[signal.Signals]:
    stopping = [signal.SIGINT, signal.SIGTERM]
    if not has_tls and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # No certificate to renew, and not begun by nohup: then it is a closed terminal, which ends what ran in it.
        stopping.append(signal.SIGHUP)
    return stopping


def _serve_alone(settings: Settings, worker: Worker | None, *, accept_loss: bool = False) -> int:
    """This process served, until it was told to stop."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, worker, accept_loss=accept_loss))
    except (CannotOpen, StartFailed, TracesUnavailable, SyncBridgeError, OSError) as error:
        _log.error("cannot start", reason=getattr(error, "strerror", None) or str(error))
        return 1


async def _serve(settings: Settings, worker: Worker | None, *, accept_loss: bool) -> int:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its lines say what ours say
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def on_signal(name: str) -> None:
        if told.is_set():
            if worker is not None:
                return  # whoever stops a service may tell each of its processes, its parent too, which tells us again
            _log.warning("stopped at once, by a second signal", signal=name)
            os._exit(1)
        _log.info("draining; once more to stop at once", signal=name)
        told.set()

    def on_orphaned() -> None:
        assert worker is not None
        loop.remove_reader(worker.parent_fd)
        _log.error("the parent of this worker is gone; draining")
        told.set()

    for number in _stopping_signals(has_tls=settings.has_tls):
        loop.add_signal_handler(number, on_signal, number.name)
    async with Service.running(settings, accept_loss=accept_loss) as service:
        # `syncbridge retention run` asks so.
        loop.add_signal_handler(signal.SIGUSR1, service.lifecycle.retention.ask)
        if service.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, service.certificate.renew)
        if worker is None:
            places = places_of(settings, service.server.port, service.server.tls_port, service.metrics_port)
            announce(places, for_people=is_for_people(settings.log_format))
        else:
            loop.add_reader(worker.parent_fd, on_orphaned)
            _log.info("a worker serves", metrics_port=service.metrics_port)
            worker.serving()
        if settings.test_echo:
            _log.warning("a TEST ECHO is served to anybody who can connect; never in production", path=ECHO_PATH)
        settle_memory()
        await told.wait()
        await service.drain()
    _log.info("stopped; everything acknowledged is stored")
    return 0


def settle_memory() -> None:
    """What is alive now stays, and is not looked at again; what comes is, a little at a time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def places_of(
    settings: Settings, port: int | None = None, tls_port: int | None = None, metrics_port: int | None = None
) -> dict[str, str]:
    """Where the service is reached, and where its data lies; the ports are the bound ones, else the configured."""
    port, tls_port = port or settings.port, tls_port or settings.tls_port
    metrics_port = metrics_port or settings.metrics_port
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    has_both = settings.has_tls and settings.tls_port is not None
    secure = "s" if settings.has_tls and not has_both else ""
    base = settings.public_url.rstrip("/") or f"http{secure}://{host}:{port}"
    places = {"rest": f"{base}/v1", "websocket": f"{base.replace('http', 'ws', 1)}/v1/ws"}
    if has_both:
        places["tls"] = f"https://{host}:{tls_port}/v1"
    places["api_page"] = f"{base}/docs"
    if metrics_port is not None:
        places["metrics"] = f"http://{settings.metrics_host}:{metrics_port}/metrics"
    if settings.redis_url is None or not settings.has_shared_records:
        places["data_dir"] = str(settings.data_dir.resolve())
    return places


def announce(places: dict[str, str], *, for_people: bool, **told: int) -> None:
    """It is logged where the service is reached: a line each for a person, one event for a machine."""
    if not for_people:
        _log.info("SyncBridge is listening", version=__version__, **told, **places)
        return
    _log.info("SyncBridge is listening", version=__version__, **told)
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
