"""Every outside thing as a Protocol, its contract in prose. Adapters answer; nobody else knows a brand.

All calls are made in the event loop's thread. What answers through ``done`` answers in that thread too, once,
later or before the call returns.

========= ====================================================================================================
log       the session log: what a store must promise
archive   the newest states once more, for when the log was lost
mesh      the other nodes: who is where, what was committed there
identity  who is speaking, and the keys by which that is told
secrets   credentials that change while the service runs
service   what REST asks of live sessions
outbox    what waits to be told to other services, and the broker it is told to
followers what is told after the fact: listings, incidents, figures; the clock
========= ====================================================================================================
"""

from __future__ import annotations

from syncbridge.ports.archive import Archive, NoArchive
from syncbridge.ports.followers import Clock, FlightRecorder, Incident, SessionDirectory, Telemetry
from syncbridge.ports.identity import Admission, Gatekeeper, Identity, KeySource, KeyStore, Refusal, SigningKey
from syncbridge.ports.log import (
    Forked,
    Held,
    Outcome,
    PutBack,
    StateStore,
    StoredHead,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    Swept,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
    WasRefused,
    WasUnknown,
)
from syncbridge.ports.mesh import Alone, Mesh, Neighbour
from syncbridge.ports.outbox import Backlog, EventBroker, NotTold, Outbox, Waiting
from syncbridge.ports.secrets import Credentials, CredentialSource, FixedCredentials
from syncbridge.ports.service import Between, PastState, SessionHistory, SessionService

__all__ = [
    "Admission",
    "Alone",
    "Archive",
    "Backlog",
    "Between",
    "Clock",
    "CredentialSource",
    "Credentials",
    "EventBroker",
    "FixedCredentials",
    "FlightRecorder",
    "Forked",
    "Gatekeeper",
    "Held",
    "Identity",
    "Incident",
    "KeySource",
    "KeyStore",
    "Mesh",
    "Neighbour",
    "NoArchive",
    "NotTold",
    "Outbox",
    "Outcome",
    "PastState",
    "PutBack",
    "Refusal",
    "SessionDirectory",
    "SessionHistory",
    "SessionService",
    "SigningKey",
    "StateStore",
    "StoreFault",
    "StoredHead",
    "StoredLog",
    "Stretch",
    "Submission",
    "Swept",
    "Telemetry",
    "Waiting",
    "WasBehind",
    "WasCommitted",
    "WasConflict",
    "WasFenced",
    "WasForeign",
    "WasRefused",
    "WasUnknown",
]
