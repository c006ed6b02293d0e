"""The versions of what it is made of."""

from __future__ import annotations

import platform
import sqlite3
import ssl
from collections.abc import Iterator
from importlib import metadata

from syncbridge import __version__
from syncbridge._ext import IS_COMPILED
from syncbridge.doctor.findings import Finding, ok, problem, warning

CHECK = "versions"
SQLITE_LEAST = (3, 37, 0)
"""Debian 12 has 3.40. Older ones have faults in WAL mode that lose data, or lack what is used."""
PINNED = {"picows": "2.3.", "uvicorn": "0.54."}
"""The hand-over of a connection builds on classes that are not public: patch releases only (pyproject.toml)."""


def check_versions() -> Iterator[Finding]:
    """Every finding about versions."""
    yield judge_core(IS_COMPILED)
    yield judge_sqlite(sqlite3.sqlite_version_info)
    yield judge_openssl(ssl.OPENSSL_VERSION, ssl.OPENSSL_VERSION_INFO)
    yield from judge_packages(
        {name: _version(name) for name in (*PINNED, "uvloop", "httptools", "msgspec", "sqlalchemy")}
    )


def judge_core(is_compiled: bool) -> Finding:
    """The compiled functions are in use."""
    found = (
        f"syncbridge {__version__}, Python {platform.python_version()}, {'compiled' if is_compiled else 'plain'} core"
    )
    if not is_compiled:
        return problem(
            CHECK,
            found,
            "Every merge takes about twenty times as long.",
            "unset SYNCBRIDGE_TWIN, and build the extensions: make setup",
        )
    return ok(CHECK, found)


def judge_sqlite(version: tuple[int, int, int]) -> Finding:
    """SQLite is new enough for the journal."""
    text = "SQLite " + ".".join(map(str, version))
    if version < SQLITE_LEAST:
        return problem(
            CHECK, text, "The journal was never proved with it.", f"use {'.'.join(map(str, SQLITE_LEAST))} or newer"
        )
    return ok(CHECK, text)


def judge_openssl(text: str, version: tuple[int, ...]) -> Finding:
    """OpenSSL gets fixes."""
    if version < (3, 0):
        return warning(CHECK, text, "It gets no security fixes any more.", "use a Python built with OpenSSL 3")
    return ok(CHECK, text)


def judge_packages(found: dict[str, str]) -> Iterator[Finding]:
    """The packages that must be of one release are."""
    for name, prefix in PINNED.items():
        if not found[name].startswith(prefix):
            yield problem(
                CHECK,
                f"{name} {found[name] or 'is not there'}; {prefix}* is needed",
                "Upgrading a connection to a WebSocket may fail.",
                "make setup",
            )
    yield ok(CHECK, ", ".join(f"{name} {version or 'missing'}" for name, version in found.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
