"""Who is there: the account's devices as this session sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from syncbridge.client.replica import Replica
from syncbridge.client.streams import Changes
from syncbridge.core.messages import DevicePresence


class PresenceFace:
    """Devices by id. Offline, nobody is known to be online."""

    def __init__(self, replica: Replica, changes: Changes) -> None:
        self._replica = replica
        self._changes = changes

    @property
    def devices(self) -> dict[str, DevicePresence]:
        """Every device of the account, by id."""
        return dict(self._replica.devices)

    @property
    def online(self) -> frozenset[str]:
        """The ids of those that follow the session now."""
        return frozenset(name for name, device in self._replica.devices.items() if device.online)

    def watch(self) -> AsyncIterator[dict[str, DevicePresence]]:
        """The devices now and after each change."""
        return self._changes.values(lambda: self.devices, dict.__eq__)
