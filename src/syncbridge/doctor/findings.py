"""One thing that was looked at: how it is, what that means, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Severity = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True):
    """``warning``: it serves, but not for long or not well. ``problem``: it does not serve, or loses something.

    ``meaning`` and ``remedy`` are empty where all is well.
    """

    check: str
    severity: Severity
    found: str
    meaning: str = ""
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, meaning: str, remedy: str) -> Finding:
    """It serves, but not for long or not well."""
    return Finding(check, "warning", found, meaning, remedy)


def problem(check: str, found: str, meaning: str, remedy: str) -> Finding:
    """It does not serve, or loses something."""
    return Finding(check, "problem", found, meaning, remedy)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when all is well, 1 with a warning, 2 with a problem."""
    return max(({"ok": 0, "warning": 1, "problem": 2}[finding.severity] for finding in findings), default=0)
