"""How the nodes that serve one world hear of each other. What it carries may be lost: the log is the truth.

A node tells the mesh whom it serves (`Mesh`), and is told what happens at the others (`Neighbour`). Everything here
can be derived again: entries from the log, presence from what each node says it has, an offer from the log's head. So
a message that is lost, doubled or late costs time, never progress; the mesh itself looks for what it missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId


class Neighbour(Protocol):
    """This node, as the mesh tells it news; implemented by the runtime. Called in the loop's thread, never raises."""

    def is_known(self, session: SessionId, first: int, txn: TxnId) -> bool:
        """Whether `entries_seen` would say nothing new: nobody follows here, or the log holds the transaction there.

        Also one that this node has on its way: the store is about to answer it.
        """
        ...

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
        """Somebody (perhaps this node) committed these: contiguous, in order; perhaps known already.

        ``previous_at`` is the transaction's ``expected_at``: when the entry before them was committed (0: not told).
        ``bodies`` are the entries as devices are told of them, in step; empty where they must be encoded for that.
        """
        ...

    def head_seen(self, session: SessionId, epoch: str, version: int) -> None:
        """The log's head, as a look at the store found it: what was missed is read, what the store lost is put back.

        ``version`` 0: the store has no such log (any more).
        """
        ...

    def elsewhere(self, session: SessionId, devices: Mapping[DeviceId, int]) -> None:
        """The devices that follow the session at other nodes now, all of them, and when each was last heard (ms)."""
        ...

    def signalled(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        """Passing data from a device elsewhere, encoded for the wire."""
        ...

    def device_arrived(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """The device said hello at another node later, and is there: its connection here is replaced.

        Of two that are there it is said to the older one, and never to both.
        """
        ...

    def account_heard(self, account: AccountId) -> None:
        """From now on what is told to the account's devices is heard; what was told before may have been missed."""
        ...

    def told(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """A message for a device that may be connected here, about a session that it may not have joined."""
        ...

    def deleted(self, session: SessionId, reason: str) -> None:
        """The session is gone from the store."""
        ...


class Mesh(Protocol):
    """What this node tells the others, and what it wants to hear. No call blocks or raises.

    Presence  exact over all nodes while they and the store are up: a device is elsewhere from the moment in which its
              `present` reached the store; what a dead node had is gone within 15 s.
    Order     of one session: as told, as far as nothing is lost.
    """

    def follow(self, session: SessionId) -> None:
        """The session lives here from now on: its news are wanted, beginning with `elsewhere` and `head_seen`."""
        ...

    def unfollow(self, session: SessionId) -> None:
        """It does not live here any more."""
        ...

    def present(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """The device follows the session at this node; said again, it renews ``heard_at``."""
        ...

    def absent(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """It does so no more."""
        ...

    def signal(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        """Passing data for the session's devices elsewhere; dropped rather than queued."""
        ...

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """The device's connection is here: what others `tell` it is wanted, and its older ones elsewhere are over."""
        ...

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """That connection is gone."""
        ...

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """The message reaches the device, if it is connected at another node."""
        ...

    def delete(self, session: SessionId, reason: str) -> None:
        """The other nodes hear that the session is gone."""
        ...


class Alone:
    """The `Mesh` of a node that has no others."""

    def follow(self, session: SessionId) -> None:
        """Nobody else could tell anything."""

    def unfollow(self, session: SessionId) -> None:
        """Nothing was followed."""

    def present(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """Nobody listens."""

    def absent(self, session: SessionId, device: DeviceId, heard_at: int) -> None:
        """Nobody listens."""

    def signal(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        """Nobody listens."""

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """Nobody listens."""

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """Nobody listens."""

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """Nobody listens."""

    def delete(self, session: SessionId, reason: str) -> None:
        """Nobody listens."""
