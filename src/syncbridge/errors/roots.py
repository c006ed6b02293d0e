"""The trunks of the tree, and what every error says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

Retry = Literal["never", "same", "later", "resync"]


class SyncBridgeError(Exception):
    """The root: ``code``, ``retry``, ``http_status`` and ``close_code`` are facts of the class."""

    code: ClassVar[str] = ""
    retry: ClassVar[Retry] = "never"
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int | None] = None
    meaning: ClassVar[str] = ""

    def __init__(self, message: str = "", *, members: Mapping[str, Any] | None = None) -> None:
        """``members`` is what the answer says besides, for a program: a version, a value of the asker's own."""
        super().__init__(message or self.meaning)
        self.members: dict[str, Any] = dict(members or {})

    @property
    def message(self) -> str:
        """The sentence a person reads: expected, got, and what to do."""
        return str(self)


class ClientFault(SyncBridgeError):
    """The peer's fault; answered, never logged as an error of ours."""

    http_status = 400


class DependencyFault(SyncBridgeError):
    """A store, a database or the network did not answer; the request itself was fine."""

    http_status = 503
    retry: ClassVar[Retry] = "later"


class BrokenInvariant(SyncBridgeError):
    """We are wrong; the session is dropped and reloaded and the last events are kept."""

    http_status = 500
