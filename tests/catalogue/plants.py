"""Faults put into the service on purpose: a catalogue that stays green with one of them has tested nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from syncbridge.app import Service
from syncbridge.auth import access
from syncbridge.auth.rosters import Rosters
from syncbridge.core import admission, work
from syncbridge.core.log import SessionLog
from syncbridge.http import problems
from syncbridge.net import listener
from syncbridge.net.handler import Upgrade
from syncbridge.records.sessions import Sessions
from syncbridge.runtime.driver import ConnectionDriver
from syncbridge.telemetry import logs
from syncbridge.wire import codec, handshake

kept: list[bytearray] = []


def _replaced(target: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    def plant() -> None:
        setattr(target, name, make(getattr(target, name)))

    return plant


def _query_taken(real: Any) -> Any:
    """A query in the socket's address is nobody's business."""

    def fault_of(head: handshake.RequestHead) -> Any:
        fault = real(head)
        return None if fault is handshake.HAS_QUERY else fault

    return fault_of


def _bomb_kept(real: Any) -> Any:
    """A state may be sixteen times as large."""
    return lambda *args, **more: real(*args, **{**more, "size_max": 1 << 22})


def _crashes_in(real: Any) -> Any:
    """Our own code breaks at a message of an unknown type, which is then answered as it should be."""

    def on_text(self: ConnectionDriver, frame: bytes) -> None:
        if b"dance" in frame:
            try:
                raise RuntimeError("planted")
            except RuntimeError:
                structlog.get_logger("syncbridge").exception("websocket error")
        real(self, frame)

    return on_text


def _keeps(real: Any) -> Any:
    """Eight MiB stay with every message whose type stands twice."""

    def refuse(frame: bytes) -> None:
        if b'"type":"clock","type"' in frame:
            kept.append(bytearray(b"x" * (8 << 20)))
        real(frame)

    return refuse


def _blocks(real: Any) -> Any:
    """The loop stands still for a while at a bad pointer."""

    def admit(log: SessionLog, change: Any, *args: Any) -> Any:
        if any("~2" in str(op.get("path", "")) for op in change.ops):
            time.sleep(1.0)
        return real(log, change, *args)

    return admit


def _logs_names(real: Any) -> Any:
    """What people call their devices goes into the log."""

    async def rename(self: Rosters, account: Any, device: Any, name: str) -> Any:
        structlog.get_logger("syncbridge").info("device renamed to " + name)
        return await real(self, account, device, name)

    return rename


def _handler_crashes(real: Any) -> Any:
    """The handler of a socket whose user agent says so cannot be made."""

    def make(self: Service, upgrade: Upgrade) -> Any:
        if upgrade.user_agent == "crash":
            raise RuntimeError("planted: no handler today")
        return real(self, upgrade)

    return make


def _list_broken(real: Any) -> Any:
    """A list of sessions of one type is a fault of our own."""

    async def page(self: Sessions, account: Any, **asked: Any) -> Any:
        if asked["type"] is not None:
            raise RuntimeError("planted")
        return await real(self, account, **asked)

    return page


PLANTS: Final[dict[str, Callable[[], None]]] = {
    # outcomes: each is another answer than the one promised
    "query-taken": _replaced(handshake, "_fault_of", _query_taken),
    "bad-utf8-taken": _replaced(listener, "_is_utf8", lambda real: lambda text: True),
    "doubles-taken": _replaced(codec, "refuse_doubles", lambda real: lambda frame: None),
    "bomb-kept": _replaced(admission, "apply_measured", _bomb_kept),
    "ranges-unchecked": _replaced(admission, "_check_range", lambda real: lambda *args: None),
    "unsigned-taken": _replaced(access, "require_signature", lambda real: lambda token, key: None),
    # harms: the answer is right, and somebody else pays
    "crash-logged": _replaced(ConnectionDriver, "on_text", _crashes_in),
    "memory-kept": _replaced(codec, "refuse_doubles", _keeps),
    "loop-blocked": _replaced(work, "admit", _blocks),
    "log-unescaped": _replaced(logs, "_escape", lambda real: lambda logger, method, event: event),
    "names-logged": _replaced(Rosters, "rename", _logs_names),
    # the document says otherwise
    "list-broken": _replaced(Sessions, "page", _list_broken),
    "problems-mislabelled": _replaced(problems, "MEDIA_TYPE", lambda real: "text/plain"),
    # a fault of our own, which has a row
    "handler-crashes": _replaced(Service, "_make_handler", _handler_crashes),
}
