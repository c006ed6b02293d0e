"""Who is speaking, and where the keys come from by which that is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.limits import Plan


class Identity(Struct, frozen=True):
    """A checked token. ``session`` limits it to one session (it came from a one-time code).

    The rest is what its revocation is judged by: the log-in that it came of ("" for an outside issuer's) and when
    that was, when it was issued itself, and the key it was signed with.
    """

    account: AccountId
    expires_at: int
    token_id: str
    device: DeviceId | None = None
    session: SessionId | None = None
    family: str = ""
    login_at: int = 0
    issued_at: int = 0
    kid: str = ""


class Admission(Struct, frozen=True):
    """A device was let in; ``roster`` is every device of the account, itself included, ``plan`` what it may."""

    identity: Identity
    device: DeviceInfo
    roster: tuple[DeviceInfo, ...]
    plan: Plan = Plan()


class Refusal(Struct, frozen=True):
    """It was not: an error code of `syncbridge.errors`, its sentence, and the devices for `device_limit`.

    ``retry_after_ms`` is how long to stay away, where that is known.
    """

    code: str
    message: str
    devices: tuple[DeviceInfo, ...] = ()
    retry_after_ms: int = 0


class Gatekeeper(Protocol):
    """Checks tokens and registers devices."""

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        """The token is valid and the device is one of the account's, registered now if there was room."""

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        """The new token is valid for the same account and device; whether it reaches enough, the caller judges."""

    def read_roster(self, account: AccountId) -> None:
        """The account's devices are read anew, past all memory, and whoever follows its roster is told them.

        Blocking   never; asked while it is being read for an earlier asker, it is read once more for all of them.
        Failures   nobody is told: what was known stands.
        """
        ...

    def refused(self, identity: Identity) -> str:
        """The error code for which this identity, once admitted, is refused now; "" while it is good. Asks nobody."""
        ...


class SigningKey(Struct, frozen=True):
    """A key and its public name; ``secret`` never leaves the process, and its text is not the secret.

    It signs from ``signs_from`` on, and its tokens are refused from ``retired_at`` on (None: not decided). A retired
    one may have no secret any more. ``ordinal`` counts the keys in the order in which they were made.
    """

    kid: str
    secret: bytes
    created_at: int
    signs_from: int = 0
    retired_at: int | None = None
    ordinal: int = 1

    @property
    def born_at(self) -> int:
        """From when its age counts: from when it signs; one of the first release says only when it was made."""
        return max(self.signs_from, self.created_at)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, secret=***)"


class KeySource(Protocol):
    """Where signing keys come from."""

    async def read(self) -> Sequence[SigningKey]:
        """Every key that there is; retired ones may be left out. Raises Unavailable."""
        ...


class KeyStore(KeySource, Protocol):
    """A source in which keys are made."""

    async def rotate(self, *, after: int, signs_from: int, retired_at: int, now_ms: int) -> SigningKey | None:
        """A new key stands after the one with this ordinal, and those before it are retired at ``retired_at``.

        None, and nothing is changed, when another key stands there already: of two who rotate at once, one does.
        """
        ...
