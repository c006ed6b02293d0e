"""Structured logs: for people in a terminal, one JSON object a line elsewhere.

Names  an event is a few fixed words, with what varies beside it. What concerns sockets begins with ``websocket``, and
       has ``error`` in it when it is one: the operators' ``grep "websocket.*error"`` finds it in both forms.
Safe   secrets by name are ``***``; control characters of a peer's strings are escaped, so nobody forges a line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

SECRET_KEYS = frozenset({"token", "access_token", "refresh_token", "password", "authorization", "secret", "cookie"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MULTILINE_KEYS = frozenset({"exception", "stack"})

Event = MutableMapping[str, Any]


def is_for_people(form: Literal["auto", "human", "json"], stream: TextIO | None = None) -> bool:
    """Whether what is logged to ``stream`` (standard error) in this form is read by a person, not by a machine."""
    return form == "human" or (form == "auto" and (stream or sys.stderr).isatty())


def configure_logging(
    level: str = "info", form: Literal["auto", "human", "json"] = "auto", stream: TextIO | None = None
) -> None:
    """Everything logged, by us or by a library, goes to ``stream`` (standard error) in one form."""
    target = stream or sys.stderr
    is_human = is_for_people(form, target)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _hide_secrets,
    ]
    if is_human:
        end: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            ),
        ]
    else:
        end = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=False)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # They say at DEBUG what must not be said: whole handshakes with their headers, statements with their values.
    for chatty in ("picows", "sqlalchemy", "aiosqlite", "alembic", "asyncio", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _hide_secrets(_logger: Any, _method: str, event: Event) -> Event:
    for key in event:
        if key.lower() in SECRET_KEYS:
            event[key] = "***"
    return event


def _escape(_logger: Any, _method: str, event: Event) -> Event:
    for key, value in event.items():
        if isinstance(value, str) and key not in _MULTILINE_KEYS:
            event[key] = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", value)
    return event
