"""The devices and the plans of accounts, kept in memory so that a repeated hello asks no database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from syncbridge.auth.plans import Plans
from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import DeviceUnknown, Unavailable
from syncbridge.limits import Plan
from syncbridge.ports import Clock
from syncbridge.records import Records, Roster

ACCOUNTS_MAX = 10_000
AGE_MAX_MS = 30_000
"""How long a change by another process may stay unseen where nothing calls `forget`."""
AWAY_MAX_MS = 900_000
"""How long after the table was last heard of a roster is believed while it does not answer.

As long as an access token lives: whoever was removed, or revoked, elsewhere meanwhile holds a token that this process
would take until then anyway, for it learns of neither.
"""
GAP_MAX_MS = 30_000
"""A silence from which on what is in memory is read anew: what others told meanwhile may be over and gone."""

RosterListener = Callable[[AccountId, tuple[DeviceInfo, ...]], None]


class Rosters:
    """Every change of devices goes through here, so that the memory, the table and the live sessions agree."""

    def __init__(self, records: Records, clock: Clock, plans: Plans) -> None:
        self._records = records
        self._clock = clock
        self.plans = plans
        self._known: OrderedDict[AccountId, tuple[int, Roster]] = OrderedDict()
        self._asking: dict[AccountId, object] = {}
        """Accounts whose roster is being read, by their newest question; a change meanwhile takes it out."""
        self._heard_at = 0
        self._listeners: list[RosterListener] = []

    def plan(self, roster: Roster) -> Plan:
        """What the account of this roster may; a changed plan is seen when its roster is read again."""
        return self.plans.of(roster.plan)

    def follow(self, listener: RosterListener) -> None:
        """The listener is told the whole roster after each change made here."""
        self._listeners.append(listener)

    def known(self, account: AccountId) -> Roster | None:
        """The roster as far as it is in memory and young enough."""
        held = self._known.get(account)
        # Below 0 the clock was set back: how old it is, nobody knows.
        if held is None or not 0 <= self._clock.now_ms() - held[0] <= AGE_MAX_MS:
            return None
        return held[1]

    def heard(self) -> None:
        """The table answered what others changed, and it was taken in: what is in memory stands."""
        now_ms = self._clock.now_ms()
        if self._heard_at and now_ms - self._heard_at > GAP_MAX_MS:
            self._known.clear()
        self._heard_at = now_ms

    def lately(self, account: AccountId) -> Roster | None:
        """The roster as it was when the table was last heard of, where that is not too long ago."""
        held = self._known.get(account)
        if held is None or self._clock.now_ms() - max(held[0], self._heard_at) > AWAY_MAX_MS:
            return None
        return held[1]

    async def get(self, account: AccountId) -> Roster:
        """The roster, from memory where it can be, and where it must be: while the table does not answer."""
        roster = self.known(account)
        if roster is not None:
            return roster
        question = self._asking[account] = object()
        try:
            roster = await self._records.devices.roster(account)
            if self._asking.get(account) is question:
                roster = self._keep(account, roster)
        except Unavailable:
            roster = self.lately(account)
            if roster is None:
                raise
        finally:
            if self._asking.get(account) is question:
                del self._asking[account]
        return roster

    async def register(self, account: AccountId, device: DeviceInfo, login_at: int) -> Roster:
        """The device is one of the account's. Raises DeviceLimit, DeviceUnknown, NotFound, Unavailable."""
        roster = await self._records.devices.register(
            account, device, login_at=login_at, devices_max=self.plans.devices_max, now_ms=self._clock.now_ms()
        )
        self.changed(account, roster)
        return roster

    async def rename(self, account: AccountId, device: DeviceId, name: str) -> Roster:
        """The device is called so. Raises DeviceUnknown."""
        roster = await self._records.devices.rename(account, device, name, self._clock.now_ms())
        self.changed(account, roster)
        return roster

    async def remove(self, account: AccountId, device: DeviceId) -> Roster:
        """The device is removed, and the live sessions were told. Raises DeviceUnknown."""
        roster = await self._records.devices.remove(account, device, self._clock.now_ms())
        self.changed(account, roster)
        return roster

    async def read_anew(self, account: AccountId) -> None:
        """The roster is the table's, and listeners were told; what was changed here meanwhile stands.

        Raises NotFound, Unavailable.
        """
        while True:
            held = self._known.get(account)
            roster = await self._records.devices.roster(account)
            if self._known.get(account) is held:
                self.changed(account, roster)
                return

    def changed(self, account: AccountId, roster: Roster) -> None:
        """This is the roster now; listeners are told. One that was read before a device came is passed over."""
        self._asking.pop(account, None)  # its answer may be older
        if self._keep(account, roster) is not roster:
            return
        for listener in self._listeners:
            listener(account, roster.infos())

    def forget(self, account: AccountId) -> None:
        """The next look asks the database: another process changed something."""
        self._known.pop(account, None)
        self._asking.pop(account, None)

    def _keep(self, account: AccountId, roster: Roster) -> Roster:
        """The newer of this one and the one that is held: answers of the database may overtake each other."""
        held = self._known.get(account)
        if held is not None and _is_older(roster, held[1]):
            return held[1]
        self._known[account] = (self._clock.now_ms(), roster)
        self._known.move_to_end(account)
        if len(self._known) > ACCOUNTS_MAX:
            self._known.popitem(last=False)
        return roster


def _is_older(roster: Roster, held: Roster) -> bool:
    """It lacks a device of the other one. A row stays when its device is removed, so it was read before that came."""
    return any(roster.get(one.info.id) is None and one.info.id not in roster.removed for one in held.devices)


def require_present(roster: Roster, device: DeviceId, login_at: int) -> None:
    """Raises DeviceUnknown when the device was removed since the log-in; a device not yet registered may come."""
    removed_at = roster.removed.get(device)
    if removed_at is not None and login_at <= removed_at:
        raise DeviceUnknown("This device was removed from the account; log in on it again.")
