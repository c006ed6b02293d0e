"""Who is connected: connections by id, and each device's newest connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.rates import Buckets

if TYPE_CHECKING:
    from syncbridge.runtime.driver import ConnectionDriver


class Hub:
    """Every open connection of this node, and how fast each device pushed.

    Invariants   a device is found by its newest connection; an older one of it is still found by its id until
                 its socket is gone; of a connection that is gone nothing is kept but its device's bucket,
                 and of those a bounded number; a connection is a stranger until it was announced, or told to go.
    """

    __slots__ = ("_by_account", "_strangers", "by_connection", "push_buckets")

    def __init__(self) -> None:
        self.by_connection: dict[ConnectionId, ConnectionDriver] = {}
        self._strangers: dict[ConnectionId, ConnectionDriver] = {}  # oldest first
        self._by_account: dict[AccountId, dict[DeviceId, ConnectionDriver]] = {}
        self.push_buckets = Buckets()

    def __len__(self) -> int:
        return len(self.by_connection)

    @property
    def strangers(self) -> int:
        """Connections that have not said who they are."""
        return len(self._strangers)

    def opened(self, driver: ConnectionDriver, *, strangers_max: int) -> ConnectionDriver | None:
        """``driver`` is here, a stranger; answers with the oldest one when that makes too many, a stranger no more.

        An honest device says hello with its first bytes, so the oldest is the likeliest to only hold a place.
        """
        self.by_connection[driver.connection] = driver
        self._strangers[driver.connection] = driver
        if len(self._strangers) <= strangers_max:
            return None
        return self._strangers.pop(next(iter(self._strangers)))

    def announced(self, driver: ConnectionDriver, account: AccountId, device: DeviceId) -> ConnectionDriver | None:
        """``driver`` is the device's connection now; answers with the one it replaces."""
        self._strangers.pop(driver.connection, None)
        devices = self._by_account.setdefault(account, {})
        older = devices.get(device)
        devices[device] = driver
        return older if older is not driver else None

    def closed(self, driver: ConnectionDriver) -> None:
        self.by_connection.pop(driver.connection, None)
        self._strangers.pop(driver.connection, None)
        machine = driver.machine
        devices = self._by_account.get(machine.account)
        if devices is not None and devices.get(machine.device) is driver:
            del devices[machine.device]
            if not devices:
                del self._by_account[machine.account]

    def of_device(self, account: AccountId, device: DeviceId) -> ConnectionDriver | None:
        devices = self._by_account.get(account)
        return None if devices is None else devices.get(device)

    def of_account(self, account: AccountId) -> list[ConnectionDriver]:
        """The account's devices that are here, by their newest connections."""
        return list(self._by_account.get(account, {}).values())

    def following(self, session: SessionId) -> Iterator[ConnectionDriver]:
        """Connections that follow the session. Walks all of them: for the rare case, not for a frame."""
        return (driver for driver in self.by_connection.values() if session in driver.machine.joined)
