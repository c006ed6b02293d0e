"""When each version of a signing key signs, and until when its tokens are taken.

Theory. Whoever writes a new version says nothing but that: there is no moment at which all processes would read it.
So its moments follow from when it was written, by rules that every process has:

signs from   when it was written, and the lead after that: every process has read it before one signs with it. The
             first one signs at once, and one whose elders are all gone: there is nothing else to sign with.
retired at   when the next one signs, and the life of a token after that.
gone         a version that its keeper deleted is retired at once, for that is what one does with a key in wrong
             hands. One that had taken over stays the successor of its elders: they do not come back. One that was
             deleted before it signed was a mistake, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from syncbridge.ports import SigningKey


class Overlap(Struct, frozen=True):
    """How long a new key is known before it signs, and how long the tokens of an old one may be about."""

    lead_ms: int
    last_use_ms: int


class Version(Struct, frozen=True):
    """One version of a key as its keeper tells of it. ``gone_at`` is when it was deleted (None: it stands)."""

    number: int
    kid: str
    created_at: int
    gone_at: int | None = None
    secret: bytes = b""

    def __repr__(self) -> str:
        return f"Version(number={self.number}, kid={self.kid!r}, secret=***)"


def schedule(versions: Sequence[Version], overlap: Overlap) -> list[SigningKey]:
    """The keys of these versions, which come in the order of their numbers."""
    starts = [_signs_from(versions, index, overlap) for index in range(len(versions))]
    keys = []
    for index, one in enumerate(versions):
        ends = [
            start + overlap.last_use_ms
            for later, start in zip(versions[index + 1 :], starts[index + 1 :], strict=True)
            if later.gone_at is None or later.gone_at > start
        ]
        if one.gone_at is not None:
            ends.append(one.gone_at)
        keys.append(SigningKey(one.kid, one.secret, one.created_at, starts[index], min(ends, default=None), one.number))
    return keys


def is_of_use(key: SigningKey, now_ms: int) -> bool:
    """Whether the key's secret is needed now or later."""
    return key.retired_at is None or key.retired_at > now_ms


def _signs_from(versions: Sequence[Version], index: int, overlap: Overlap) -> int:
    one = versions[index]
    has_elder = any(
        elder.gone_at is None or elder.gone_at > one.created_at + overlap.lead_ms for elder in versions[:index]
    )
    return one.created_at + overlap.lead_ms if has_elder else one.created_at
