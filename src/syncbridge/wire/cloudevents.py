"""Facts as CloudEvents 1.0, in structured JSON mode: one self-contained document an event.

`id` and `source` together name an event for ever: told again, it has the same ones. `type` is the fact's name under
our own prefix; without the prefix it is the routing key.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from syncbridge.core.facts import Fact

CONTENT_TYPE: Final = "application/cloudevents+json"
SPEC_VERSION: Final = "1.0"
TYPE_PREFIX: Final = "com.harmonyflow."
SOURCE: Final = "urn:harmonyflow:syncbridge"
"""Where events come from, while no public address is known."""
SCHEMA_PREFIX: Final = "urn:harmonyflow:events:"
SCHEMA_VERSION: Final = 1
"""Grows when a member of some event's data changes its meaning or goes; a new member changes nothing for anybody."""

_encoder = msgspec.json.Encoder()


def schema_name(kind: str) -> str:
    """What `dataschema` says of events of this kind."""
    return f"{SCHEMA_PREFIX}{kind}:{SCHEMA_VERSION}"


def as_cloudevent(fact: Fact, source: str) -> dict[str, Any]:
    """The event, every attribute in its place; ``source`` is the installation's, the same on every node."""
    return {
        "specversion": SPEC_VERSION,
        "id": fact.id,
        "source": source,
        "type": TYPE_PREFIX + fact.type,
        "subject": fact.subject,
        "time": moment(fact.at),
        "datacontenttype": "application/json",
        "dataschema": schema_name(fact.type),
        "data": fact.data,
    }


def encode_cloudevent(fact: Fact, source: str) -> bytes:
    """The event as its message's body."""
    return _encoder.encode(as_cloudevent(fact, source))


def moment(at_ms: int) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(at_ms, 1000)
    # Not strftime, which takes half the time of a whole event.
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03d}Z"
