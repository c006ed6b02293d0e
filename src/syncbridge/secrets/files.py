"""Keys and credentials from files, as Kubernetes mounts a Secret: a link that moves, or a file written anew.

A file says nothing of when its text was written first, and the nodes of a cluster get a new one up to two minutes
apart. So a new key signs `FILE_LEAD_MS` after this process saw it. A file may hold several keys, one a line: the first
is to sign, the others are older, or are coming, and their tokens are taken. A key that is in the file no more is
taken for as long as its tokens last.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from syncbridge.errors import Unavailable
from syncbridge.ports import Clock, Credentials, SigningKey
from syncbridge.secrets.faults import FaultKind, SecretFault
from syncbridge.secrets.keeping import Standing, Watched
from syncbridge.secrets.schedule import Overlap, is_of_use
from syncbridge.secrets.strength import judge_key, public_name

FILE_LEAD_MS: Final = 180_000
"""The kubelet looks at Secrets once a minute, and what it looks at may be a minute old."""
KEYS_MAX: Final = 8
BYTES_MAX: Final = 16_384
LOOK_S: Final = 2.0
_log = structlog.get_logger("syncbridge.secrets")


def read_text(file: Path) -> str:
    """The file's text without the white space around it. Raises SecretFault naming the file."""
    try:
        with file.open("rb") as opened:
            data = opened.read(BYTES_MAX + 1)
    except OSError as error:
        kind: FaultKind = "missing" if error.errno == errno.ENOENT else "malformed"
        raise SecretFault(kind, f"{file} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > BYTES_MAX:
        raise SecretFault("malformed", f"{file}: expected text of at most {BYTES_MAX} bytes, and not an empty one")
    return text


def split_keys(text: str, place: str) -> list[tuple[str, bytes]]:
    """(kid, secret) of each line, the one that signs first. Raises SecretFault."""
    lines = list(dict.fromkeys(line for one in text.splitlines() if (line := one.strip())))
    if len(lines) > KEYS_MAX:
        raise SecretFault("malformed", f"{place}: expected at most {KEYS_MAX} keys, one a line, got {len(lines)}")
    secrets = [judge_key(line, place) for line in lines]
    if not secrets:
        raise SecretFault("malformed", f"{place} is empty; expected a signing key")
    return [(public_name(secret), secret) for secret in secrets]


class FileKeys:
    """The keys in one file, as a `ports.KeySource`; a bad new text leaves those that are held in force."""

    def __init__(self, file: Path, overlap: Overlap, clock: Clock) -> None:
        self.standing = Standing("signing_keys")
        self._file = file
        self._overlap = Overlap(max(overlap.lead_ms, FILE_LEAD_MS), overlap.last_use_ms)
        self._clock = clock
        self._text = ""
        self._keys: dict[str, SigningKey] = {}
        self._count = 0

    async def read(self) -> Sequence[SigningKey]:
        """Every key that there is. Raises Unavailable when there was never one."""
        try:
            self.look()
        except SecretFault as fault:
            self.standing.failed(fault)
            if not self._keys:
                raise Unavailable(f"There is no signing key: {fault}") from fault
        return list(self._keys.values())

    def look(self) -> None:
        """What the file holds now is held. Raises SecretFault, and changes nothing then."""
        now_ms = self._clock.now_ms()
        text = read_text(self._file)
        is_new = text != self._text
        if is_new:
            self._take(split_keys(text, str(self._file)), now_ms)
            self._text = text
        self._keys = {kid: key for kid, key in self._keys.items() if is_of_use(key, now_ms)}
        self.standing.had(is_new=is_new)

    def _take(self, found: list[tuple[str, bytes]], now_ms: int) -> None:
        """The first is to sign; those that are not there any more are retired when their tokens have ended."""
        first = found[0][0]
        # With no elder to sign meanwhile there is nothing to wait for.
        elders = [kid for kid in (*self._keys, *(kid for kid, _ in found)) if kid != first]
        signs_from = now_ms + self._overlap.lead_ms if elders else now_ms
        held = self._keys.get(first)
        if held is not None and held.signs_from <= now_ms and self._is_newest(held):
            signs_from = held.signs_from
        retired_at = signs_from + self._overlap.last_use_ms
        named = {kid for kid, _ in found}
        for kid, key in self._keys.items():
            if kid not in named and key.retired_at is None:
                self._keys[kid] = replace(key, retired_at=retired_at)
        for kid, secret in reversed(found):
            if kid not in self._keys:
                self._count += 1
                self._keys[kid] = SigningKey(kid, secret, now_ms, ordinal=self._count)
            self._keys[kid] = replace(self._keys[kid], retired_at=None)
        self._keys[first] = replace(self._keys[first], signs_from=signs_from)

    def _is_newest(self, key: SigningKey) -> bool:
        return key.signs_from == max(one.signs_from for one in self._keys.values())


class FileCredentials(Watched):
    """Credentials whose password is in a file; found within `LOOK_S` when it is another."""

    def __init__(self, name: str, username: str, file: Path) -> None:
        """Raises SecretFault when there is no password in it."""
        super().__init__(Credentials(username, read_text(file)))
        self.standing = Standing(name)
        self.standing.had()
        self._file = file

    async def keep(self) -> float:
        """The password is that of the file."""
        is_new = self.change(Credentials(self.current().username, read_text(self._file)))
        self.standing.had(is_new=is_new)
        if is_new:
            _log.info("credentials changed", secret=self.standing.name)
        return LOOK_S
