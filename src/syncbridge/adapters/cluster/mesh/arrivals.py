"""Which of a device's connections stays, where it has one at several nodes: the newer of two that are there.

An arrival gets its number from Redis, in the account's slot: numbers grow, whatever the nodes' clocks say. But an
arrival that was held up (Redis could not be reached, or stood still) is numbered when it is written at last, perhaps
long after the device went on to another node, and perhaps after its node has died. So a number tells who has to ask,
and no more:

hears of a lower number    says its own again, for the other side may have missed it (`Verdict.ANSWER`)
hears of a higher one      asks the other node whether that connection is there, until it is told (`Verdict.ASK`)
is asked                   says that the connection is there, under which number, and for how long
is told that it is there   gives way (`Verdict.REPLACED`), unless the one here is the younger after all: then that one
                           arrives anew, and the other side is the one that has to ask (`Verdict.RAISE`)

*Ages* are told, no times: each node counts by its own steady clock. The other connection was of age ``a`` at some
moment between the question and the answer. If it was older even at the question, the one here is the newer. What lies
within the time that an answer took cannot be told; then a prompt answer is asked for, and in the end the number
decides, which is the same for both.

*Exactly one stays.* A connection gives way only to one whose own node said, after the number was heard, that it is
there under a number above all that is known here of the own one. Numbers of a connection never fall where it is. So
whoever is given way to has a higher number than whoever gives way, no ring of them can close, and the last one has
nobody to give way to. An unanswered question closes nothing: the other connection is gone, or its node dead, or deaf.
A node that was deaf says its arrivals again when it listens (`Arrivals.listening`), and is asked then.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from syncbridge.adapters.cluster.mesh.channel import Arrived, Asked, Stays
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId

RIVALS_MAX: Final = 8
"""Connections of one device that are asked after at a time; of more, those that were asked after least."""

QUESTIONS_MAX: Final = 15
"""How often one is asked after, a second apart: by then a node that does not answer is presumed dead."""

PROMPT_S: Final = 0.25
"""An answer that took longer may hide which came first, and is asked for again."""

UNCLEAR_MAX: Final = 8
"""How many such answers are asked for again before the number decides."""

RAISES_MAX: Final = 8
"""How often one connection arrives anew: for every arrival of the older one that was held up, and with an end."""


class Verdict(Enum):
    """What news of a device's connection elsewhere mean for the one here."""

    NOTHING = "no connection of it is here, or what to do is not known yet"
    ASK = "the one here may be the older: the other node is asked whether that one is there"
    RAISE = "the one here is the newer, though its number is lower: it arrives anew"
    REPLACED = "the one here is the older"
    ANSWER = "the one here has the higher number, and the other node shall hear that"


class Rival:
    """A connection elsewhere: the highest number known of it, and when it was asked after by which question."""

    __slots__ = ("answers", "asked_at_s", "connection", "number", "unclear")

    def __init__(self, arrived: Arrived) -> None:
        self.connection = arrived.connection
        self.number = arrived.number
        self.answers = arrived.answers
        self.asked_at_s: dict[int, float] = {}
        self.unclear = 0


class Place:
    """A device's connection at this node, since ``since_s``; ``number`` is 0 until Redis gave it one.

    ``is_numbering``: a number is under way, the first or a higher one; until then nothing is judged.
    ``is_to_repeat``: the account was listened to only while the first number was under way, so neither the rival's
    word nor the own one may have been heard.
    """

    __slots__ = ("connection", "is_numbering", "is_over", "is_to_repeat", "number", "raises", "rivals", "since_s")

    def __init__(self, connection: ConnectionId, since_s: float) -> None:
        self.connection = connection
        self.since_s = since_s
        self.number = 0
        self.raises = 0
        self.is_numbering = True
        self.is_over = False
        self.is_to_repeat = False
        self.rivals: dict[ConnectionId, Rival] = {}

    def age_ms(self, now_s: float) -> int:
        """For how long the connection is here."""
        return max(0, int((now_s - self.since_s) * 1000))

    def is_known_as(self, number: int) -> None:
        """Redis gave the connection this number: the answer is still under way, or an arrival was written twice."""
        self.number = max(self.number, number)

    def hear(self, arrived: Arrived) -> Verdict:
        """The device arrived at another node."""
        if self.is_over:
            return Verdict.NOTHING
        rival = self.rivals.get(arrived.connection)
        if rival is None:
            rival = Rival(arrived)
        rival.number = max(rival.number, arrived.number)
        if self.is_numbering or not self._is_above(rival.number, rival.connection):
            self._keep(rival)
        return self._judge(rival)

    def numbered(self, number: int) -> list[tuple[Rival, Verdict]]:
        """The number that was under way is here: what was heard of the device meanwhile is judged by it."""
        self.is_known_as(number)
        self.is_numbering = False
        return [(rival, self._judge(rival)) for rival in list(self.rivals.values())]

    def unanswered(self) -> list[Rival]:
        """Those that are to be asked after once more; who was asked after often enough is there no more."""
        if self.is_over or self.is_numbering:
            return []
        for rival in list(self.rivals.values()):
            if len(rival.asked_at_s) >= QUESTIONS_MAX or self._is_above(rival.number, rival.connection):
                del self.rivals[rival.connection]
        return list(self.rivals.values())

    def told(self, stays: Stays, now_s: float) -> Verdict:
        """The other connection is there: the answer to a question of this node's."""
        rival = self.rivals.get(stays.connection)
        asked_at_s = None if rival is None else rival.asked_at_s.get(stays.question)
        if self.is_over or rival is None or asked_at_s is None:
            # It is late. But who is there says so, and can be asked.
            return self.hear(Arrived(stays.node, stays.device, stays.connection, stays.number, answers=True))
        rival.number = max(rival.number, stays.number)
        if self.is_numbering or self._is_above(stays.number, stays.connection):
            return self._judge(rival)
        took_s, here_s, there_s = now_s - asked_at_s, asked_at_s - self.since_s, stays.age_ms / 1000
        if there_s - took_s > here_s and self.raises < RAISES_MAX:
            self.raises += 1
            self.is_numbering = True
            rival.asked_at_s.clear()
            return Verdict.RAISE
        if there_s >= here_s and took_s > PROMPT_S and rival.unclear < UNCLEAR_MAX:
            rival.unclear += 1
            return Verdict.ASK
        return self._give_way()

    def _judge(self, rival: Rival) -> Verdict:
        if self.is_over or self.is_numbering:
            return Verdict.NOTHING
        if self._is_above(rival.number, rival.connection):
            self.rivals.pop(rival.connection, None)
            return Verdict.ANSWER
        if not rival.answers:
            return self._give_way()
        return Verdict.ASK  # whoever says it again may not have heard the last question

    def _is_above(self, number: int, connection: ConnectionId) -> bool:
        # A Redis that lost the last number may give one twice.
        return (number, connection) < (self.number, self.connection)

    def _give_way(self) -> Verdict:
        self.is_over = True
        self.rivals.clear()
        return Verdict.REPLACED

    def _keep(self, rival: Rival) -> None:
        self.rivals[rival.connection] = rival
        if len(self.rivals) > RIVALS_MAX:
            # Who is there answers at once: those asked after most often are gone, or come back with an answer.
            del self.rivals[max(self.rivals.values(), key=lambda one: len(one.asked_at_s)).connection]


class Arrivals:
    """The devices that are connected here, by account."""

    def __init__(self) -> None:
        self._accounts: dict[AccountId, dict[DeviceId, Place]] = {}

    def accounts(self) -> list[AccountId]:
        """Those that have a device here."""
        return list(self._accounts)

    def add(self, account: AccountId, device: DeviceId, connection: ConnectionId, now_s: float) -> bool:
        """The device's connection is this one; whether the account had none here."""
        devices = self._accounts.setdefault(account, {})
        is_first = not devices
        devices[device] = Place(connection, now_s)
        return is_first

    def remove(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> bool:
        """The connection is gone, if it was the device's; whether the account has none here any more."""
        devices = self._accounts.get(account)
        place = devices.get(device) if devices else None
        if devices is None or place is None or place.connection != connection:
            return False
        del devices[device]
        if devices:
            return False
        del self._accounts[account]
        return True

    def place(self, account: AccountId, device: DeviceId) -> Place | None:
        """Where the device is connected here."""
        return self._accounts.get(account, {}).get(device)

    def listening(self, account: AccountId) -> list[tuple[DeviceId, Place]]:
        """The account is listened to from now on: its devices here whose arrival is to be said again.

        Two that arrived before either listened would never hear of each other. One without a number follows when it
        has it; one that arrives from now on will be heard, or hears.
        """
        known = []
        for device, place in self._accounts.get(account, {}).items():
            if place.number:
                known.append((device, place))
            else:
                place.is_to_repeat = True
        return known

    def asked(self, account: AccountId, asked: Asked) -> Place | None:
        """The place that is asked after, where that is there; its number is at least what the asker heard."""
        place = self.place(account, asked.device)
        if place is None or place.is_over or place.connection != asked.rival:
            return None
        place.is_known_as(asked.rival_number)
        return place
