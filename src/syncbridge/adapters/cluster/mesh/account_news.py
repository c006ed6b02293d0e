"""What a node says and hears of the accounts whose devices are connected there: arrivals, and messages for a device.

An account's channel is listened to while a device of it is here, so a message for a device costs one publication and
reaches the nodes that could have it, and no other.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link import script
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Place, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived, Broken, Told
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.ports import Neighbour, Telemetry

NUMBER_KEPT_MS: Final = 86_400_000
"""How long an account's last number is kept: it matters while two servers' clocks may differ, so for a failover."""

_ARRIVE: Final = script.load("arrive")


class AccountNews:
    """The accounts of `RedisMesh`. Everything is called in the loop's thread; nothing blocks or raises."""

    def __init__(self, node: str, link: RedisLink, neighbour: Neighbour, telemetry: Telemetry, turn_max: int) -> None:
        self._node = node
        self._link = link
        self._neighbour = neighbour
        self._telemetry = telemetry
        self._turn_max = turn_max
        self._arrivals = Arrivals()
        self._in_vain: dict[tuple[AccountId, DeviceId], Place] = {}

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """As `Mesh.arrive`."""
        is_first = self._arrivals.add(account, device, connection)
        if is_first:
            self._link.subscribe(
                keys.account_channel(account), partial(self._heard, account), partial(self._ready, account)
            )
        place = self._arrivals.place(account, device)
        if place is not None:
            self._announce(account, device, place)

    def depart(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """As `Mesh.depart`."""
        if self._arrivals.remove(account, device, connection):
            self._link.unsubscribe(keys.account_channel(account))

    def depart_all(self) -> None:
        """No account is listened to."""
        for account in self._arrivals.accounts():
            self._link.unsubscribe(keys.account_channel(account))
        self._arrivals = Arrivals()

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """As `Mesh.tell`."""
        said = channel.encode_told(self._node, device, session, frame)
        if len(said) > channel.FRAME_BYTES_MAX:
            self._telemetry.measured("mesh_dropped", 1, "told")
            return
        self._publish(account, said, "told")

    def retry(self) -> None:
        """Arrivals that could not be written are tried again."""
        for (account, device), place in list(self._in_vain.items())[: self._turn_max]:
            del self._in_vain[account, device]
            if self._arrivals.place(account, device) is place and not place.is_over:
                self._announce(account, device, place)

    def _announce(self, account: AccountId, device: DeviceId, place: Place) -> None:
        self._telemetry.measured("mesh_out", 1, "arrived")
        self._link.run(
            _ARRIVE,
            [keys.account_last(account), keys.account_channel(account)],
            [channel.encode_arriving(self._node, device, place.connection), b"%d" % NUMBER_KEPT_MS],
            partial(self._announced, account, device, place),
            is_write=False,  # done twice, the number is only higher
        )

    def _announced(self, account: AccountId, device: DeviceId, place: Place, answer: Answer) -> None:
        if self._arrivals.place(account, device) is not place:
            return  # gone again, or connected anew
        if isinstance(answer, Failure) or not isinstance(answer, bytes | int):
            self._in_vain[account, device] = place
            return
        rival = place.rival
        verdict = self._arrivals.number(account, place, device, int(answer))
        if rival is not None:
            self._judge(account, device, place, rival, verdict)
        if place.is_to_repeat:
            place.is_to_repeat = False
            self._repeat(account, device, place)

    def _ready(self, account: AccountId) -> None:
        for device, place in self._arrivals.listening(account):
            self._repeat(account, device, place)
        self._neighbour.account_heard(account)

    def _repeat(self, account: AccountId, device: DeviceId, place: Place) -> None:
        arrived = Arrived(self._node, device, place.connection, place.number)
        self._publish(account, channel.encode_arrived(arrived), "arrived")

    def _publish(self, account: AccountId, frame: bytes, kind: str) -> None:
        self._telemetry.measured("mesh_out", 1, kind)
        self._link.publish(keys.account_channel(account), frame)

    def _heard(self, account: AccountId, frame: bytes) -> None:
        match channel.decode(frame):
            case Arrived(node, device) as arrived:
                self._telemetry.measured("mesh_in", 1, "arrived")
                place = self._arrivals.place(account, device)
                if node != self._node and place is not None:
                    self._judge(account, device, place, arrived, self._arrivals.hear(account, arrived))
            case Told(node, device, session, inner):
                self._telemetry.measured("mesh_in", 1, "told")
                if node != self._node and self._arrivals.place(account, device) is not None:
                    self._neighbour.told(account, device, session, inner)
            case Broken(reason):
                self._telemetry.measured("mesh_broken", 1, reason)
            case _:
                self._telemetry.measured("mesh_broken", 1, "malformed")

    def _judge(self, account: AccountId, device: DeviceId, place: Place, rival: Arrived, verdict: Verdict) -> None:
        if verdict is Verdict.REPLACED:
            self._neighbour.device_arrived(account, device, rival.connection)
        elif verdict is Verdict.ANSWER:
            self._repeat(account, device, place)
