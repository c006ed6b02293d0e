"""The table of everything that is logged, read from the code: the words of each event, its severity, and its fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[2] / "src" / "syncbridge"
_LOGGERS = frozenset({"_log", "_logger"})
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
_ELSEWHERE = ("client", "demo")
"""What runs in a device, or tells a story; the service's log holds nothing of it."""


class LoggedEvent(NamedTuple):
    """One call that logs."""

    words: str
    level: str
    fields: tuple[str, ...]
    module: str


def logged() -> Iterator[LoggedEvent]:
    """Every event that the service may log."""
    for file in sorted(SOURCE.rglob("*.py")):
        module = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
        if module.split(".")[0] not in _ELSEWHERE:
            yield from logged_in(file.read_text("utf-8"), module)


def logged_in(source: str, module: str) -> Iterator[LoggedEvent]:
    """Every event that this text logs."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, level = node.func.value, _LEVELS.get(node.func.attr)
        if not (isinstance(owner, ast.Name) and owner.id in _LOGGERS and level is not None and node.args):
            continue
        words = node.args[0]
        if isinstance(words, ast.Constant) and isinstance(words.value, str):
            fields = [keyword.arg for keyword in node.keywords if keyword.arg not in (None, "extra", "exc_info")]
            for keyword in node.keywords:
                if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                    fields += [str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant)]
            yield LoggedEvent(words.value, level, tuple(field for field in fields if field), module)


def table() -> str:
    """The Markdown table, by words."""
    rows = ["| event | severity | fields | logged by |", "| --- | --- | --- | --- |"]
    for event in sorted(set(logged())):
        words = re.sub(r"%[sd]", "...", event.words).replace("|", "/")
        fields = ", ".join(f"`{field}`" for field in event.fields) or "-"
        rows.append(f"| {words} | {event.level} | {fields} | `{event.module}` |")
    return "\n".join(rows) + "\n"
