"""A call to Redis, and the batch that it goes out in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from syncbridge._ext import pack_command
from syncbridge.adapters.cluster.link.replies import Answer
from syncbridge.adapters.cluster.link.script import Script

Done = Callable[[Answer], None]


class Call(Struct, eq=False):
    """What is asked, as it goes over the wire; answered once, by ``done``.

    ``slot`` is -1 where it is about a server and not about a key. ``asked_at`` is in seconds of the loop's clock.
    """

    slot: int
    packed: bytes
    done: Done
    is_write: bool
    asked_at: float
    script: Script | None = None
    confirmed_by: tuple[bytes, bytes] | None = None
    """The push (kind, channel) that is its answer; such a call is a batch of its own."""


class Batch(Struct, eq=False):
    """The calls of one write, answered in their order; with ``replicas`` a WAIT for so many follows the calls."""

    calls: list[Call]
    size_bytes: int
    sent_at: float
    replicas: int = 0
    answered: int = 0
    held: list[tuple[Call, Answer]] = []
    """Answers that are told when the replicas have what they are about."""


def packed(words: Sequence[bytes]) -> bytes:
    """The words as one command of RESP."""
    return pack_command(words)


def nobody(_answer: Answer) -> None:
    """Nobody waits for the answer."""
