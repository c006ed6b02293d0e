"""What a Redis server's answer means: what became of the call, and whether it may be asked again.

A server tells why it did not do a thing by the first word of an error. What the words have in common is whether the
call may have had an effect: a redirection, a server that loads or follows and a missing script are answered before
anything was done, so that the same call may go out once more, even a write. Redis checks memory, disk and replicas
before the first write of a script, never after it, so these refusals are certain too.

============================ ======== =====================================================================
word                         verdict  what it says
============================ ======== =====================================================================
MOVED                        MOVED    the slot is another server's
ASK                          ASK      this key is at another server already, while its slot moves there
TRYAGAIN                     LATER    the keys of the call lie on both sides while their slot moves
NOSCRIPT                     SCRIPT   the server forgot the script
LOADING, BUSY                LATER    it reads its files; a script runs too long
READONLY, MASTERDOWN         LOOK     it is a replica: somebody else is the primary by now
CLUSTERDOWN                  LOOK     the slot has no primary now
NOAUTH                       LOGIN    the connection is not logged in (any more)
NOREPLICAS                   AWAY     fewer replicas than the server itself insists on
every other                  REFUSED  OOM, MISCONF, WRONGTYPE, NOPERM, CROSSSLOT, ERR ...: asking again is no use
============================ ======== =====================================================================
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Literal

from msgspec import Struct


class Failure(Struct, frozen=True):
    """There is no answer.

    unknown      it may have taken effect: the connection was lost, or too few replicas have it
    unavailable  it certainly did not, and may later
    refused      it certainly did not, and will not: ``text`` is the server's
    """

    kind: Literal["unknown", "unavailable", "refused"]
    text: str


Answer = bytes | int | list[Any] | None | Failure
"""What a server answered, in the types of RESP, or why it did not."""


class Verdict(Enum):
    """What to do about an error."""

    MOVED = auto()
    ASK = auto()
    LATER = auto()
    SCRIPT = auto()
    LOOK = auto()
    LOGIN = auto()
    AWAY = auto()
    REFUSED = auto()


VERDICTS = {
    "MOVED": Verdict.MOVED,
    "ASK": Verdict.ASK,
    "TRYAGAIN": Verdict.LATER,
    "NOSCRIPT": Verdict.SCRIPT,
    "LOADING": Verdict.LATER,
    "BUSY": Verdict.LATER,
    "READONLY": Verdict.LOOK,
    "MASTERDOWN": Verdict.LOOK,
    "CLUSTERDOWN": Verdict.LOOK,
    "NOAUTH": Verdict.LOGIN,
    "NOREPLICAS": Verdict.AWAY,
}


def judge(text: str) -> Verdict:
    """What an error with this text means."""
    return VERDICTS.get(text.partition(" ")[0], Verdict.REFUSED)


def redirection(text: str) -> tuple[int, str, int] | None:
    """(slot, host, port) of a MOVED or an ASK; the host is "" where it is that of the server that said it.

    None where the text is not of that shape: a server that says so is not believed.
    """
    words = text.split(" ")
    if len(words) != 3:
        return None
    host, _, port = words[2].rpartition(":")
    if not (words[1].isdecimal() and port.isdecimal()):
        return None
    return int(words[1]), host.strip("[]"), int(port)
