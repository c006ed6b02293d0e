"""This node as the other nodes speak to it: what the mesh tells becomes events of the sessions that live here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from syncbridge.core.connection_events import Dismissed
from syncbridge.core.entry import Entry
from syncbridge.core.events import Deleted, EntriesSeen, HeadSeen, SeenElsewhere
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.core.messages import HandoffPrepare

if TYPE_CHECKING:
    from syncbridge.runtime.engine import Engine


_PREPARE: Final = HandoffPrepare.__struct_config__.tag


class _Told(Struct):
    type: str = ""
    handoff: str = ""


_decode_told = msgspec.json.Decoder(_Told).decode


def _prepared(frame: bytes) -> str:
    """The offer that a message to a device is about; empty where it is another message."""
    try:
        told = _decode_told(frame)
    except msgspec.DecodeError:
        return ""
    return told.handoff if told.type == _PREPARE else ""


class EngineNeighbour:
    """A `ports.Neighbour`. A session that does not live here needs no telling: it is read when somebody joins it."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_known(self, session: SessionId, first: int, txn: TxnId) -> bool:
        live = self._engine.session(session)
        return live is None or live.machine.holds(first, txn)

    def entries_seen(
        self,
        session: SessionId,
        epoch: str,
        entries: list[Entry],
        digests: list[int],
        txn: TxnId,
        previous_at: int = 0,
        bodies: Sequence[bytes] = (),
    ) -> None:
        live = self._engine.session(session)
        if live is not None:
            live.fanout.heard(entries, bodies)
            self._engine.post_session(session, EntriesSeen(epoch, entries, digests, txn, previous_at))

    def head_seen(self, session: SessionId, epoch: str, version: int) -> None:
        self._engine.post_session(session, HeadSeen(epoch, version))

    def elsewhere(self, session: SessionId, devices: Mapping[DeviceId, int]) -> None:
        self._engine.post_session(session, SeenElsewhere(dict(devices)))

    def signalled(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        """It needs no judging: whoever follows here and reads fast enough gets it, but the device itself."""
        engine = self._engine
        live = engine.session(session)
        if live is None:
            return
        for connection, member in live.machine.members.by_connection.items():
            driver = engine.hub.by_connection.get(connection)
            outlet = None if driver is None or member.device == device else driver.outlet
            if outlet is not None and not outlet.is_over_budget:
                outlet.send(frame)

    def device_arrived(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        engine = self._engine
        driver = engine.hub.of_device(account, device)
        if driver is not None and driver.connection != connection:
            engine.post_connection(driver, Dismissed("device_replaced"))

    def account_heard(self, account: AccountId) -> None:
        """An offer committed after a device's hello was looked up, and told before this, is found in the store."""
        for driver in self._engine.hub.of_account(account):
            self._engine.tell_waiting(driver, account, driver.machine.device)

    def told(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """Who follows the session here hears of it from the log, and once."""
        engine = self._engine
        live, driver = engine.session(session), engine.hub.of_device(account, device)
        if driver is None or driver.outlet is None or not driver.machine.reaches(session):
            return
        if live is None or not live.machine.members.is_here(device):
            handoff = _prepared(frame)
            if not handoff or driver.is_first_told(session, handoff):
                driver.outlet.send(frame)

    def deleted(self, session: SessionId, reason: str) -> None:
        self._engine.post_session(session, Deleted(reason))
