"""The Lua scripts: one named file for each atomic step."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from msgspec import Struct

FOLDER = Path(__file__).parent.parent / "lua"


class Script(Struct, frozen=True):
    """A script by its name; ``sha`` is what a server calls it."""

    name: str
    source: bytes
    sha: bytes


def script_of(name: str, source: bytes) -> Script:
    """The script with this text."""
    # Redis names scripts by SHA-1; nothing is kept secret by it.
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


@cache
def load(name: str) -> Script:
    """The script of ``lua/<name>.lua``. Raises FileNotFoundError."""
    return script_of(name, (FOLDER / f"{name}.lua").read_bytes())
