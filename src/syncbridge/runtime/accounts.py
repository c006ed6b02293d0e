"""What befalls an account as a whole: its devices change, its connections end."""

from __future__ import annotations

from syncbridge.core.connection_events import Dismissed, RosterKnown
from syncbridge.core.events import RosterChanged
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.runtime.engine import Engine


class Accounts:
    """Tells an account's connections of this node, and the sessions that they follow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def roster_changed(self, account: AccountId, roster: tuple[DeviceInfo, ...]) -> None:
        """The account's connections and the sessions they follow know its devices; a removed one is cut off."""
        engine = self._engine
        followed: set[SessionId] = set()
        for driver in engine.hub.of_account(account):
            followed |= driver.machine.joined
            engine.post_connection(driver, RosterKnown(roster))
        for session in sorted(followed):
            engine.post_session(session, RosterChanged(account, roster))

    def disconnect(self, account: AccountId, device: DeviceId | None, code: str) -> int:
        """The account's connections (or one device's) are closed for the error ``code``; how many there were."""
        engine = self._engine
        drivers = [
            driver for driver in engine.hub.of_account(account) if device is None or driver.machine.device == device
        ]
        for driver in drivers:
            engine.post_connection(driver, Dismissed(code))
        return len(drivers)

    def recheck(self, account: AccountId | None) -> int:
        """Connections of the account (or all) whose token the gate refuses by now are closed; how many there were."""
        engine = self._engine
        drivers = list(engine.hub.by_connection.values()) if account is None else engine.hub.of_account(account)
        closed = 0
        for driver in drivers:
            code = "" if driver.identity is None else engine.gatekeeper.refused(driver.identity)
            if code:
                engine.post_connection(driver, Dismissed(code))
                closed += 1
        return closed
