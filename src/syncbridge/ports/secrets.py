"""Secrets that change while the service runs: credentials of the back ends, by whoever keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class Credentials(Struct, frozen=True):
    """How to log in at a back end; ``username`` is "" where there is none, and the text never shows the password."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=***)"


class CredentialSource(Protocol):
    """Where the credentials of one back end come from.

    Rotation  the old ones are good for some time after `watch` told of new ones: whoever uses them logs in anew (or
              swaps its connections) within that time, and drops nothing that is under way.
    """

    def current(self) -> Credentials:
        """What is in force now; asks nobody."""
        ...

    def watch(self, told: Callable[[], None]) -> None:
        """``told`` is called in the loop's thread after each change."""
        ...


class FixedCredentials:
    """A `CredentialSource` that never changes: what the configuration said."""

    def __init__(self, username: str = "", password: str = "") -> None:
        self._credentials = Credentials(username, password)

    def current(self) -> Credentials:
        return self._credentials

    def watch(self, told: Callable[[], None]) -> None:
        """Nothing will be told."""
