"""The Python client: a session on this device, online and offline.

::

    async with connect(url, token=token, device=Device("phone")) as bridge:
        session = await bridge.join("evening")
        await session.set("/notes", "calm")
"""

from syncbridge.client.cache import Cache, CacheFault
from syncbridge.client.connection import Bridge, connect
from syncbridge.client.handoff import OutgoingOffer
from syncbridge.client.pending import Acked, ConflictRecord, Dump, QueueFull, Rejected
from syncbridge.client.replica import Replica
from syncbridge.client.session import Mutation, Session
from syncbridge.client.transport import Dial, Receiver, Transport, picows_dial
from syncbridge.core.messages import DeviceInfo as Device

__all__ = [
    "Acked",
    "Bridge",
    "Cache",
    "CacheFault",
    "ConflictRecord",
    "Device",
    "Dial",
    "Dump",
    "Mutation",
    "OutgoingOffer",
    "QueueFull",
    "Receiver",
    "Rejected",
    "Replica",
    "Session",
    "Transport",
    "connect",
    "picows_dial",
]
