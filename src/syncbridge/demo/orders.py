"""What the demonstration and its players say to each other: one JSON object a line, over the player's own pipes."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Act = Literal["play", "offer", "take", "offline", "online", "edit", "where", "begin", "drain", "summary"]


class Order(Struct, frozen=True, omit_defaults=True):
    """To a player: do this, and answer under the same number.

    play     the session goes on from ``position``
    offer    the session is offered to ``device``; answered when it moved
    take     the session goes on here; answered when it moved
    offline  the network is away, until ``online``
    edit     the RFC 6902 ``ops`` are applied; answered at once, acknowledged some time
    where    the playhead's place now
    begin    the player lives on its own: heartbeats, breaths, marks; until ``drain``
    drain    it makes no more edits; answered when every edit has its answer
    summary  everything that the final account needs
    """

    id: int
    act: Act
    device: str = ""
    position: float = 0.0
    ops: list[dict[str, Any]] = []


class Answer(Struct, frozen=True, omit_defaults=True, tag="answer"):
    """An order is done; or ``error`` says why not."""

    id: int
    error: str = ""
    took_ms: float = 0.0
    uncertainty_ms: int = 0
    place: Place | None = None
    summary: Summary | None = None


class Place(Struct, frozen=True):
    """Where a device's playhead stood when this machine's monotonic clock showed ``monotonic_ms``."""

    position_s: float
    monotonic_ms: float


class Edit(Struct, frozen=True, omit_defaults=True):
    """One edit of a player: ``kind`` heart, breath, mark or other; ``name`` finds it in the state.

    ``version`` is its entry; 0 while it has no answer. ``refused`` is the code that it was refused with.
    """

    kind: str
    name: str
    version: int = 0
    refused: str = ""


class Summary(Struct, frozen=True):
    """A player's account at the end. ``hash`` is the digest of the state that it holds as confirmed."""

    version: int
    hash: str
    edits: list[Edit]
    conflicts: list[dict[str, Any]]


class Status(Struct, frozen=True, tag="status"):
    """How a player is, a few times a second."""

    link: str
    is_active: bool
    position_s: float
    heart_bpm: float
    sent: int
    answered: int
    version: int


class Ready(Struct, frozen=True, tag="ready"):
    """The player holds the session."""


FromPlayer = Answer | Status | Ready
