"""What is told after the fact, and may lag or be lost: listings, incidents, figures; and the clock they go by."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from syncbridge.core.effects import NoteKind
from syncbridge.core.ids import SessionId


class SessionDirectory(Protocol):
    """Metadata about sessions that follows the log: told after each commit that changes it, coalesced."""

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        """The listing shows this soon; it is derived, so a lost note is mended by the next."""


class Incident(Struct, frozen=True):
    """What befell a session beside its log (see `core.effects.Noted`): ids, codes and numbers, never content."""

    session: SessionId
    at: int
    device: str
    kind: NoteKind
    code: str
    detail: dict[str, int | str]


class FlightRecorder(Protocol):
    """Keeps incidents, so that "why was my progress lost?" can be answered later.

    Blocking    `note` never blocks and never raises.
    Bounded     what cannot be kept is dropped and counted; of one session the last ones stay.
    Durability  best effort: what was noted in the last moment before a crash is gone. The log is the truth.
    """

    def note(self, incident: Incident) -> None:
        """The incident can be read soon; gone with its session."""


class Clock(Protocol):
    """``now_ms`` is server wall time in ms, made monotonic: it never steps back within a process."""

    def now_ms(self) -> int: ...


class Telemetry(Protocol):
    """Where `Measured` effects and the runtime's own figures go."""

    def measured(self, name: str, value: float, label: str = "") -> None: ...
