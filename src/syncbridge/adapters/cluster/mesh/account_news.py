"""What a node says and hears of the accounts whose devices are connected there: arrivals, and messages for a device.

An account's channel is listened to while a device of it is here, so a message for a device costs one publication and
reaches the nodes that could have it, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link import script
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Place, Rival, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived, Asked, Broken, Stays, Told
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.ports import Neighbour, Telemetry

NUMBER_KEPT_MS: Final = 86_400_000
"""How long an account's last number is kept: it matters while two servers' clocks may differ, so for a failover."""

_ARRIVE: Final = script.load("arrive")


class AccountNews:
    """The accounts of `RedisMesh`. Everything is called in the loop's thread; nothing blocks or raises."""

    def __init__(
        self,
        node: str,
        link: RedisLink,
        neighbour: Neighbour,
        telemetry: Telemetry,
        turn_max: int,
        now_s: Callable[[], float],
    ) -> None:
        self._node = node
        self._link = link
        self._neighbour = neighbour
        self._telemetry = telemetry
        self._turn_max = turn_max
        self._now_s = now_s
        self._arrivals = Arrivals()
        self._questions = 0
        self._in_vain: dict[tuple[AccountId, DeviceId], tuple[Place, int]] = {}
        self._asking: dict[tuple[AccountId, DeviceId], Place] = {}

    def arrive(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        """As `Mesh.arrive`."""
        is_first = self._arrivals.add(account, device, connection, self._now_s())
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
        self._in_vain.clear()
        self._asking.clear()

    def tell(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        """As `Mesh.tell`."""
        said = channel.encode_told(self._node, device, session, frame)
        if len(said) > channel.FRAME_BYTES_MAX:
            self._telemetry.measured("mesh_dropped", 1, "told")
            return
        self._publish(account, said, "told")

    def retry(self) -> None:
        """Arrivals that could not be written are tried again, and who was not answered asks again."""
        for (account, device), (place, above) in list(self._in_vain.items())[: self._turn_max]:
            del self._in_vain[account, device]
            if self._arrivals.place(account, device) is place and not place.is_over:
                self._announce(account, device, place, above)
        for (account, device), place in list(self._asking.items())[: self._turn_max]:
            del self._asking[account, device]
            if self._arrivals.place(account, device) is not place or place.is_over:
                continue
            for rival in place.unanswered():
                self._ask(account, device, place, rival)
            if place.rivals:
                self._asking[account, device] = place  # behind the others, whose turn it is next

    # -- arrivals here ------------------------------------------------------------------------------------------

    def _announce(self, account: AccountId, device: DeviceId, place: Place, above: int = 0) -> None:
        self._telemetry.measured("mesh_out", 1, "arrived")
        self._link.run(
            _ARRIVE,
            [keys.account_last(account), keys.account_channel(account)],
            [channel.encode_arriving(self._node, device, place.connection), b"%d" % NUMBER_KEPT_MS, b"%d" % above],
            partial(self._announced, account, device, place, above),
            is_write=False,  # done twice, the number is only higher
        )

    def _announced(self, account: AccountId, device: DeviceId, place: Place, above: int, answer: Answer) -> None:
        if self._arrivals.place(account, device) is not place:
            return  # gone again, or connected anew
        if isinstance(answer, Failure) or not isinstance(answer, bytes | int):
            self._in_vain[account, device] = place, above
            return
        for rival, verdict in place.numbered(int(answer)):
            self._act(account, device, place, rival.connection, verdict)
        if place.is_to_repeat:
            place.is_to_repeat = False
            self._repeat(account, device, place)

    def _ready(self, account: AccountId) -> None:
        for device, place in self._arrivals.listening(account):
            self._repeat(account, device, place)
        self._neighbour.account_heard(account)

    def _repeat(self, account: AccountId, device: DeviceId, place: Place) -> None:
        arrived = Arrived(self._node, device, place.connection, place.number, answers=True)
        self._publish(account, channel.encode_arrived(arrived), "arrived")

    def _ask(self, account: AccountId, device: DeviceId, place: Place, rival: Rival) -> None:
        self._questions += 1
        rival.asked_at_s[self._questions] = self._now_s()
        asked = Asked(
            self._node, device, place.connection, place.number, rival.connection, rival.number, self._questions
        )
        self._publish(account, channel.encode_asked(asked), "asked")

    def _publish(self, account: AccountId, frame: bytes, kind: str) -> None:
        self._telemetry.measured("mesh_out", 1, kind)
        self._link.publish(keys.account_channel(account), frame)

    # -- news ---------------------------------------------------------------------------------------------------

    def _heard(self, account: AccountId, frame: bytes) -> None:
        match channel.decode(frame):
            case Arrived() as arrived:
                self._telemetry.measured("mesh_in", 1, "arrived")
                self._hear_arrived(account, arrived)
            case Asked() as asked:
                self._telemetry.measured("mesh_in", 1, "asked")
                self._hear_asked(account, asked)
            case Stays() as stays:
                self._telemetry.measured("mesh_in", 1, "stays")
                self._hear_stays(account, stays)
            case Told(node, device, session, inner):
                self._telemetry.measured("mesh_in", 1, "told")
                if node != self._node and self._arrivals.place(account, device) is not None:
                    self._neighbour.told(account, device, session, inner)
            case Broken(reason):
                self._telemetry.measured("mesh_broken", 1, reason)
            case _:
                self._telemetry.measured("mesh_broken", 1, "malformed")

    def _hear_arrived(self, account: AccountId, arrived: Arrived) -> None:
        place = self._arrivals.place(account, arrived.device)
        if place is None:
            return
        if arrived.node != self._node:
            self._act(account, arrived.device, place, arrived.connection, place.hear(arrived))
        elif arrived.connection == place.connection:
            place.is_known_as(arrived.number)

    def _hear_asked(self, account: AccountId, asked: Asked) -> None:
        place = None if asked.node == self._node else self._arrivals.asked(account, asked)
        if place is None:
            return
        age_ms = place.age_ms(self._now_s())
        stays = Stays(self._node, asked.device, place.connection, place.number, age_ms, asked.node, asked.question)
        self._publish(account, channel.encode_stays(stays), "stays")
        verdict = place.hear(Arrived(asked.node, asked.device, asked.connection, asked.number, answers=True))
        if verdict is not Verdict.ANSWER:  # which it has
            self._act(account, asked.device, place, asked.connection, verdict)

    def _hear_stays(self, account: AccountId, stays: Stays) -> None:
        place = self._arrivals.place(account, stays.device)
        if place is not None and stays.asker == self._node:
            self._act(account, stays.device, place, stays.connection, place.told(stays, self._now_s()))

    def _act(
        self, account: AccountId, device: DeviceId, place: Place, connection: ConnectionId, verdict: Verdict
    ) -> None:
        rival = place.rivals.get(connection)
        if place.rivals:
            self._asking[account, device] = place
        if verdict is Verdict.REPLACED:
            self._neighbour.device_arrived(account, device, connection)
        elif verdict is Verdict.ANSWER:
            self._repeat(account, device, place)
        elif verdict is Verdict.ASK and rival is not None:
            self._ask(account, device, place, rival)
        elif verdict is Verdict.RAISE and rival is not None:
            self._announce(account, device, place, rival.number)
