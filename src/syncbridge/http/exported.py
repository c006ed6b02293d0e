"""The shape of an export, as the OpenAPI document shows it; `lifecycle.export` writes it without holding it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from syncbridge.core.entry import Status


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExportedDevice(_Part):
    """A device of the account, also one that was removed."""

    id: str
    name: str = Field(description="What the device says of itself.")
    given_name: str | None = Field(description="What you call it.")
    platform: str
    capabilities: list[str]
    created_at: int
    seen_at: int
    removed_at: int | None


class ExportedAccount(_Part):
    """The account itself."""

    id: str
    email: str
    plan: str
    created_at: int


class ExportedIdentity(_Part):
    """Who you are at an issuer outside."""

    issuer: str
    subject: str
    created_at: int


class ExportedLogIn(_Part):
    """A log-in, without its tokens: those are secrets."""

    id: str
    login_at: int
    device: str | None
    session: str | None
    revoked_at: int | None
    renewable_until: int | None


class ExportedRequest(_Part):
    """A request that is remembered by its `Idempotency-Key`."""

    key: str
    status: int | None
    created_at: int
    expires_at: int


class ExportedSnapshot(_Part):
    """A labelled snapshot with its state."""

    id: str
    label: str
    epoch: str
    version: int
    device: str
    created_at: int
    state: dict[str, Any]


class ExportedCode(_Part):
    """That there is a one-time code; the code itself is a secret that is not kept."""

    created_at: int
    expires_at: int
    used_at: int | None


class ExportedIncident(_Part):
    """What befell a session beside its log."""

    id: int
    at: int
    device: str
    kind: str
    code: str
    detail: Any


class ExportedArchive(_Part):
    """The newest state of a session as it is kept beside its log."""

    expires_at: int
    body: dict[str, Any] = Field(description="The snapshot: the state, its version, who was active, what was settled.")


class ExportedSession(_Part):
    """A session: what it is, its state, and every entry of its log that is still kept."""

    id: str
    type: str
    title: str
    settings: dict[str, Any]
    created_at: int
    status: Status
    version: int
    active: str | None
    updated_at: int
    first_title: str = Field("", description="What it was called when it was made: its log keeps that.")
    epoch: str = ""
    heard: dict[str, int] = Field({}, description="When each device that went away was last heard.")
    state: dict[str, Any] | None = None
    entries: list[dict[str, Any]] = Field(
        [], description="As the protocol has them: who, when, what, and the conflicts with both values."
    )
    fault: str | None = Field(description="Why there is no state and no log, or not all of it.")
    archived_state: ExportedArchive | None = Field(description="A copy of the newest state, in another store.")
    snapshots: list[ExportedSnapshot]
    pairing_codes: list[ExportedCode]
    incidents: list[ExportedIncident]


class ExportedErasure(_Part):
    """That the account is to be erased."""

    requested_at: int
    finished_at: int | None


class Export(_Part):
    """Everything that is held of a person. Times in ms since 1970, server time."""

    format: Literal["syncbridge-export"]
    version: Literal[1]
    exported_at: int
    account: ExportedAccount
    identities: list[ExportedIdentity]
    devices: list[ExportedDevice]
    log_ins: list[ExportedLogIn]
    requests: list[ExportedRequest]
    sessions: list[ExportedSession]
    erasure: ExportedErasure | None
    complete: Literal[True] = Field(description="Stands last: a document that was cut off does not have it.")
