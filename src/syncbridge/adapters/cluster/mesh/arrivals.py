"""Which of a device's connections is the newest, where it has one at several nodes.

An arrival gets its number from Redis, in the account's slot: numbers grow, whatever the nodes' clocks say. Whoever
hears of a higher one for a device has the older connection, and gives way; whoever hears of a lower one says its own
again, for the other side may have missed it. So of two that arrive at once exactly one stays, and once every node
listens, what was lost over the channel is made good.
"""

from __future__ import annotations

from enum import Enum

from syncbridge.adapters.cluster.mesh.channel import Arrived
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId


class Verdict(Enum):
    """What an arrival elsewhere means for the device's connection here."""

    NOTHING = "no connection of it is here, or which is older is not known yet"
    REPLACED = "the one here is the older"
    ANSWER = "the one here is the newer, and the other node shall hear that"


class Place:
    """A device's connection at this node; ``number`` is 0 until Redis gave it one.

    ``is_to_repeat``: the account was listened to only while the number was under way, so neither the rival's word nor
    the own one may have been heard.
    """

    __slots__ = ("connection", "is_over", "is_to_repeat", "number", "rival")

    def __init__(self, connection: ConnectionId) -> None:
        self.connection = connection
        self.number = 0
        self.is_over = False
        self.is_to_repeat = False
        self.rival: Arrived | None = None


class Arrivals:
    """The devices that are connected here, by account."""

    def __init__(self) -> None:
        self._accounts: dict[AccountId, dict[DeviceId, Place]] = {}

    def accounts(self) -> list[AccountId]:
        """Those that have a device here."""
        return list(self._accounts)

    def add(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> bool:
        """The device's connection is this one; whether the account had none here."""
        devices = self._accounts.setdefault(account, {})
        is_first = not devices
        devices[device] = Place(connection)
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

    def hear(self, account: AccountId, arrived: Arrived) -> Verdict:
        """The device arrived at another node."""
        place = self.place(account, arrived.device)
        if place is None or place.is_over:
            return Verdict.NOTHING
        if not place.number:
            if place.rival is None or arrived.number > place.rival.number:
                place.rival = arrived
            return Verdict.NOTHING
        if arrived.number > place.number:
            place.is_over = True
            return Verdict.REPLACED
        return Verdict.ANSWER

    def number(self, account: AccountId, place: Place, device: DeviceId, number: int) -> Verdict:
        """The arrival here has its number now: what was heard of the device meanwhile is judged by it."""
        place.number = max(number, place.number)
        rival, place.rival = place.rival, None
        if rival is None or self.place(account, device) is not place:
            return Verdict.NOTHING
        return self.hear(account, rival)
