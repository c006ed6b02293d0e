"""Who follows a session, on which connection, and how far each has been told."""

from __future__ import annotations

from syncbridge.core.effects import AnyEffect, Broadcast
from syncbridge.core.ids import ConnectionId, DeviceId
from syncbridge.core.messages import DeviceInfo, DevicePresence, PresenceMessage

UNTOLD = -1
"""The version of a member whose position is void: it hears nothing until it is caught up."""


class Member:
    """One connection that follows since ``since`` (ms); told everything up to ``version``, no more while it lags.

    ``is_astray``: what it was told stands in no log, and what it makes on that looks like what it makes on ours.
    """

    __slots__ = ("device", "is_astray", "is_lagging", "is_skew_told", "since", "version")

    def __init__(self, device: DeviceId, version: int, since: int) -> None:
        self.device = device
        self.version = version
        self.since = since
        self.is_lagging = False
        self.is_skew_told = False
        self.is_astray = False


class Members:
    """The members of one session, the account's roster of devices, and who follows at other nodes (heard when)."""

    __slots__ = ("by_connection", "elsewhere", "roster")

    def __init__(self) -> None:
        self.by_connection: dict[ConnectionId, Member] = {}
        self.roster: dict[str, DeviceInfo] = {}
        self.elsewhere: dict[DeviceId, int] = {}

    def join(self, connection: ConnectionId, device: DeviceId, version: int, now_ms: int) -> bool:
        """It follows from ``version`` on; True when the device was not here before."""
        before = self.by_connection.get(connection)
        is_new = not self.has_device(device)
        self.by_connection[connection] = Member(device, version, now_ms if before is None else before.since)
        return is_new

    def leave(self, connection: ConnectionId) -> DeviceId | None:
        """It follows no more; its device, or None when it never did."""
        member = self.by_connection.pop(connection, None)
        return None if member is None else member.device

    def has_device(self, device: str | None) -> bool:
        """The device follows on some connection, here or at another node."""
        return self.is_here(device) or device in self.elsewhere

    def is_here(self, device: str | None) -> bool:
        """It follows on a connection of this node."""
        return any(member.device == device for member in self.by_connection.values())

    def connection_of(self, device: str | None) -> ConnectionId | None:
        """The connection by which the device follows here, the newest one; None where it does not."""
        return next((there for there, member in reversed(self.by_connection.items()) if member.device == device), None)

    def lag(self, connection: ConnectionId) -> None:
        """It is told nothing more until it has drained."""
        member = self.by_connection.get(connection)
        if member is not None:
            member.is_lagging = True

    def receivers(self, but: ConnectionId | None = None) -> list[ConnectionId]:
        """Who is told new entries now: those who keep up, ``but`` excepted."""
        return [
            connection
            for connection, member in self.by_connection.items()
            if connection != but and not member.is_lagging
        ]

    def advance(self, version: int) -> None:
        """Those who keep up were told everything up to ``version``."""
        for member in self.by_connection.values():
            if not member.is_lagging:
                member.version = version

    def rewind(self, version: int) -> None:
        """Nobody was told anything past ``version`` after all."""
        for member in self.by_connection.values():
            member.version = min(member.version, version)

    def copy(self, connection: ConnectionId) -> Member | None:
        """The member as it stands now, for `put_back`; None when it does not follow."""
        member = self.by_connection.get(connection)
        if member is None:
            return None
        copy = Member(member.device, member.version, member.since)
        copy.is_lagging, copy.is_skew_told = member.is_lagging, member.is_skew_told
        copy.is_astray = member.is_astray
        return copy

    def put_back(self, connection: ConnectionId, before: Member | None) -> None:
        """What it was joined or caught up to was never said: it is as it was before, unless it left meanwhile."""
        member = self.by_connection.get(connection)
        if member is None:
            return
        if before is None:
            del self.by_connection[connection]
            return
        before.is_lagging = before.is_lagging or member.is_lagging
        self.by_connection[connection] = before

    def forget_positions(self, *, is_renamed: bool) -> None:
        """The log is another one: what members hold is void. Under its old name no push shows which of the two it was
        made on: then none is taken until its device has joined again.
        """
        for member in self.by_connection.values():
            member.version, member.is_astray = UNTOLD, not is_renamed

    def clear(self) -> list[ConnectionId]:
        """Nobody follows any more; who did."""
        gone = list(self.by_connection)
        self.by_connection.clear()
        return gone

    def presence(self, session: str, device: DeviceId, active: str | None) -> list[AnyEffect]:
        """The news about ``device`` to everybody else."""
        others = [there for there, member in self.by_connection.items() if member.device != device]
        if not others:
            return []
        info = self.roster.get(device) or DeviceInfo(device)
        news = PresenceMessage(session, device, self.has_device(device), device == active, info.name, info.platform)
        return [Broadcast(news, others)]

    def renew(self, session: str, roster: tuple[DeviceInfo, ...], active: str | None) -> list[AnyEffect]:
        """These are the account's devices now; the news of those that are called otherwise than before.

        Who follows elsewhere and was not known has been told of by its id alone.
        """
        before, self.roster = self.roster, {info.id: info for info in roster}
        strangers = {device: "" for device in self.elsewhere if device not in before}
        called = strangers | {info.id: info.name for info in before.values()}
        renamed = [info for info in roster if info.id in called and info.name != called[info.id]]
        return [news for info in renamed for news in self.presence(session, DeviceId(info.id), active)]

    def has_strangers(self) -> bool:
        """A device follows elsewhere that the roster does not name: it was read before the device was registered."""
        return bool(self.elsewhere.keys() - self.roster.keys())

    def devices(self, active: str | None) -> list[DevicePresence]:
        """Every device of the account, as a member sees it."""
        there = {member.device for member in self.by_connection.values()} | self.elsewhere.keys()
        strangers = [DeviceInfo(device) for device in self.elsewhere if device not in self.roster]
        return [
            DevicePresence(info.id, info.name, info.platform, info.id in there, info.id == active)
            for info in (*self.roster.values(), *strangers)
        ]
