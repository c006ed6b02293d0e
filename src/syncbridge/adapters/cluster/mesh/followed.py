"""One session that a node follows, and what of it is under way."""

from __future__ import annotations

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.mesh.presence import Presence
from syncbridge.core.ids import DeviceId, SessionId


class Followed:
    """A session that lives here, or whose devices here are just being taken back."""

    __slots__ = (
        "asked",
        "channel",
        "has_ready",
        "head",
        "is_followed",
        "is_looking",
        "is_to_look_again",
        "keys",
        "looked_at_s",
        "presence",
        "session",
        "told",
    )

    def __init__(self, session: SessionId, presence: Presence) -> None:
        self.session = session
        self.presence = presence
        self.channel = keys.session_channel(session)
        self.keys = keys.session_keys(session)
        self.is_followed = True
        self.is_looking = False
        self.is_to_look_again = False
        self.has_ready = False  # subscribed at least once
        self.looked_at_s: float | None = None
        self.asked = 0  # the question that is open, or the last one
        self.head: tuple[str, int, int] | None = None  # epoch, version, and how many questions had been asked by then
        self.told: dict[DeviceId, int] | None = None  # the devices elsewhere, as the neighbour knows them

    def looked_after_s(self, now_s: float, longest_s: float) -> float:
        """How long after the look before this one is, at most ``longest_s``; 0 where it is the first."""
        since_s = 0.0 if self.looked_at_s is None else min(now_s - self.looked_at_s, longest_s)
        self.looked_at_s = now_s
        return since_s
