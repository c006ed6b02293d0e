"""The names of things: distinct types, so that a device is never passed where a session is meant."""

from __future__ import annotations

from typing import Any, NewType

AccountId = NewType("AccountId", str)
DeviceId = NewType("DeviceId", str)
SessionId = NewType("SessionId", str)
ConnectionId = NewType("ConnectionId", str)
HandoffId = NewType("HandoffId", str)
RequestId = NewType("RequestId", str)
TxnId = NewType("TxnId", str)

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of these."""
JsonObject = dict[str, Any]
Op = dict[str, Any]
"""One RFC 6902 operation as decoded from JSON."""
