"""Seeds that found a bug: they run with every range, so that it stays found."""

from __future__ import annotations

from typing import NamedTuple


class Pin(NamedTuple):
    seed: int
    found: str


PINNED: tuple[Pin, ...] = ()
