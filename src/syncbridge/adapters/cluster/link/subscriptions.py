"""Who hears which channel, over which server's connection.

A shard channel lies at the server that has its slot. When the slot goes elsewhere the server says so (or the connection
is lost), and the channel is subscribed anew there. Between the two its news are lost: so `ready` is called each time,
and whoever hears looks up what it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct
from redis.crc import key_slot

from syncbridge.adapters.cluster.link.hearing import Hearing
from syncbridge.adapters.cluster.link.replies import Verdict, judge

AGAIN_S = 0.05  # a slot that just moved is known to the server it went to within a gossip or two


class Subscription(Struct, eq=False):
    """One channel; ``hearing`` is the connection that was asked for it, None while it has none."""

    channel: bytes
    slot: int
    heard: Callable[[bytes], None]
    ready: Callable[[], None]
    hearing: Hearing | None = None


class Subscriptions:
    """All channels of a link; a `hearing.Listener`."""

    def __init__(self, hearing_of: Callable[[int], Hearing | None], look_again: Callable[[], None]) -> None:
        self._hearing_of = hearing_of
        self._look_again = look_again
        self._loop = asyncio.get_running_loop()
        self._by_channel: dict[bytes, Subscription] = {}
        self._homeless: dict[bytes, Subscription] = {}
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._by_channel)

    def add(self, channel: bytes, heard: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        """The channel is heard; ``ready`` is called when that has begun, each time. One that was heard is replaced."""
        if channel in self._by_channel:
            self.remove(channel)
        subscription = Subscription(channel, key_slot(channel), heard, ready)
        self._by_channel[channel] = subscription
        self._place(subscription)

    def remove(self, channel: bytes) -> None:
        """It is heard no more."""
        subscription = self._by_channel.pop(channel, None)
        self._homeless.pop(channel, None)
        if subscription is not None and subscription.hearing is not None:
            subscription.hearing.unsubscribe(channel)

    def moved(self) -> None:
        """Slots may be elsewhere now: every channel is subscribed where it lies. Cost: of all channels."""
        for subscription in list(self._by_channel.values()):
            at, due = subscription.hearing, self._hearing_of(subscription.slot)
            if at is not due:
                if at is not None:
                    at.unsubscribe(subscription.channel)
                subscription.hearing = None
                self._place(subscription)

    # -- told by connections --------------------------------------------------------------------------------------

    def heard(self, channel: bytes, payload: bytes) -> None:
        subscription = self._by_channel.get(channel)
        if subscription is not None:
            subscription.heard(payload)

    def came(self, hearing: Hearing) -> None:
        for subscription in list(self._homeless.values()):
            if self._hearing_of(subscription.slot) is hearing:
                self._place(subscription)

    def went(self, hearing: Hearing) -> None:
        for channel, subscription in self._by_channel.items():
            if subscription.hearing is hearing:
                subscription.hearing = None
                self._homeless[channel] = subscription

    def confirmed(self, hearing: Hearing, channel: bytes) -> None:
        subscription = self._by_channel.get(channel)
        if subscription is not None and subscription.hearing is hearing:
            subscription.ready()

    def refused(self, hearing: Hearing, channel: bytes, text: str) -> None:
        if judge(text) in (Verdict.MOVED, Verdict.LOOK):
            self._look_again()
        self._unhouse(hearing, channel)

    def dismissed(self, hearing: Hearing, channel: bytes) -> None:
        """The server let the channel go: its slot moved."""
        subscription = self._by_channel.get(channel)
        if subscription is not None and subscription.hearing is hearing:
            self._look_again()
            self._unhouse(hearing, channel)

    def _unhouse(self, hearing: Hearing, channel: bytes) -> None:
        subscription = self._by_channel.get(channel)
        if subscription is not None and subscription.hearing is hearing:
            subscription.hearing = None
            self._homeless[channel] = subscription
            if not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_later(AGAIN_S, self._house)

    def _house(self) -> None:
        self._is_scheduled = False
        for subscription in list(self._homeless.values()):
            self._place(subscription)

    def _place(self, subscription: Subscription) -> None:
        hearing = self._hearing_of(subscription.slot)
        if hearing is None or not hearing.is_ready:
            self._homeless[subscription.channel] = subscription  # `came` or `moved` will place it
            return
        self._homeless.pop(subscription.channel, None)
        subscription.hearing = hearing
        hearing.subscribe(subscription.channel)
