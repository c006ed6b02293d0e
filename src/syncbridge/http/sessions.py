"""Sessions: make, list, see, describe, pause, resume, complete, archive, delete."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from msgspec import json
from pydantic import BaseModel, Field

from syncbridge.core.effects import StateView
from syncbridge.core.entry import Status
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import Forbidden, NotFound, SyncBridgeError, ValidationFailed
from syncbridge.http.auth import device_field
from syncbridge.http.context import AccountClaims, AnyClaims, Context, Ctx, Owned, acting_device, require_device
from syncbridge.http.etags import etag, expected_version
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.strict import StateRoute
from syncbridge.records import SessionRecord
from syncbridge.records.ids import new_id

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=StateRoute)

_log = structlog.get_logger("syncbridge.http")

JsonObject = dict[str, Any]
Title = Annotated[str, Field(max_length=200)]


class NewSession(BaseModel):
    """What session to begin."""

    type: Annotated[str, Field(min_length=1, max_length=64, examples=["breathing"])]
    title: Title = ""
    settings: JsonObject = Field({}, description="About the session, not in it: kept beside the state.")
    state: JsonObject | None = Field(None, description="The first state; without it, what the type begins with.")
    device: Annotated[str | None, device_field] = Field(
        None, description="The first active device; without it, the one the token is bound to, if any."
    )


class Position(BaseModel):
    """A place in the session's log."""

    epoch: str
    version: int


class SessionSummary(BaseModel):
    """A session as it is listed; what is live in it may be a moment old."""

    id: str
    type: str
    title: str
    settings: JsonObject
    status: Status
    active: str | None = Field(description="The device that holds the session.")
    version: int
    created_at: int
    updated_at: int


class SessionView(SessionSummary):
    """A session as it is now."""

    position: Position
    fence: int
    hash: str = Field(description="Digest of the state: SHA-256 of its RFC 8785 form, the first 32 hex digits.")
    state_bytes: int


class SessionPage(BaseModel):
    """Sessions, newest first."""

    sessions: list[SessionSummary]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class SessionChange(BaseModel):
    """What to change; at least one of them."""

    title: Title | None = None
    settings: JsonObject | None = None
    status: Status | None = Field(None, description="paused, active (resume), completed or archived")


@router.post("", status_code=201)
async def create_session(
    context: Ctx,
    claims: AccountClaims,
    body: NewSession,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> SessionView:
    """The session exists, durably; its device, if any, is active with fence 1."""
    kind = context.session_types.get(body.type)
    if kind is None:
        raise ValidationFailed(f"$.type: expected one of {', '.join(sorted(context.session_types))}")
    _judge_settings(context, body.settings)
    device = await _first_device(context, claims.account, claims.device, body.device)
    session = SessionId(new_id("ses"))
    view = await context.service.create(
        account=claims.account,
        session=session,
        kind=body.type,
        title=body.title,
        state=kind.initial_state() if body.state is None else body.state,
        device=device,
    )
    record = SessionRecord(
        session,
        claims.account,
        body.type,
        body.title,
        body.settings,
        view.updated_at,
        _status(view),
        view.version,
        view.active,
        view.updated_at,
    )
    try:
        await context.records.sessions.add(record)
    except Exception:
        # A log that nobody can reach would only wait for its end.
        await _drop(context, session)
        raise
    response.headers["Location"] = f"/v1/sessions/{session}"
    response.headers["ETag"] = etag(view)
    return _view(record, view)


@router.get("", responses={200: {"headers": LINKED}})
async def list_sessions(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AccountClaims,
    status: Status | None = None,
    type: Annotated[str | None, Query(max_length=64)] = None,  # noqa: A002 - the name in the address
    limit: Limit = 20,
    cursor: Cursor = None,
) -> SessionPage:
    """The account's sessions, newest first; a walk through the pages meets each once, whatever happens meanwhile."""
    listing = Listing(request, response)
    after = listing.after(cursor, tuple[int, str])
    records = await context.records.sessions.page(
        claims.account, status=status, type=type, after=after, count=limit + 1
    )
    page = records[:limit]
    has_more = len(records) > limit
    return SessionPage(
        sessions=[_summary(record) for record in page],
        next_cursor=listing.next((page[-1].created_at, page[-1].id)) if has_more else None,
    )


@router.get("/{session}")
async def get_session(context: Ctx, claims: AnyClaims, session: Owned) -> SessionView:
    """The session as it is now."""
    return _view(await _record(context, session), await context.service.read(session))


@router.patch("/{session}")
async def change_session(
    request: Request, context: Ctx, claims: AnyClaims, session: Owned, body: SessionChange
) -> SessionView:
    """Title, settings and status are these. If-Match names the state's tag and guards the status."""
    if body.title is None and body.settings is None and body.status is None:
        raise ValidationFailed("$: expected title, settings or status")
    if body.settings is not None:
        _judge_settings(context, body.settings)
    device = await acting_device(context, claims)
    view = await context.service.read(session)
    expected = expected_version(request, view)
    if body.status is not None:
        view = await context.service.set_status(session, device=device, status=body.status, expected=expected)
    if body.title is not None or body.settings is not None:
        await context.records.sessions.describe(session, title=body.title, settings=body.settings)
    return _view(await _record(context, session), view)


@router.delete("/{session}", status_code=204)
async def delete_session(context: Ctx, claims: AccountClaims, session: Owned) -> Response:
    """Nothing of the session is left but an answer under an `Idempotency-Key`, for a day; its devices are told."""
    with contextlib.suppress(NotFound):  # a deletion that was cut off half way is finished by the next
        await context.service.delete(session)
    context.owned.forget(session)
    await context.records.sessions.remove(session)
    return Response(status_code=204)


async def _first_device(context: Context, account: AccountId, bound: DeviceId | None, named: str | None) -> str:
    if bound is not None and named not in (None, bound):
        raise Forbidden("This token is bound to another device.")
    device = named or bound
    return "" if device is None else await require_device(context, account, device)


async def _drop(context: Context, session: SessionId) -> None:
    try:
        await context.service.delete(session)
    except SyncBridgeError:
        _log.warning("session left without a record", session=session)


async def _record(context: Context, session: SessionId) -> SessionRecord:
    record = await context.records.sessions.get(session)
    if record is None:
        raise NotFound
    return record


def _judge_settings(context: Context, settings: JsonObject) -> None:
    size, bytes_max = len(json.encode(settings)), context.settings.limits.settings_bytes_max
    if size > bytes_max:
        context.telemetry.measured("limit_hit", 1, "settings_bytes_max")
        raise ValidationFailed(f"$.settings: expected at most {bytes_max} bytes, got {size}")


def _status(view: StateView) -> Status:
    status: Status = view.status  # type: ignore[assignment]  # the core's own word, as text
    return status


def _summary(record: SessionRecord) -> SessionSummary:
    return SessionSummary(
        id=record.id,
        type=record.type,
        title=record.title,
        settings=record.settings,
        status=record.status,
        active=record.active,
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _view(record: SessionRecord, live: StateView) -> SessionView:
    return SessionView(
        id=record.id,
        type=record.type,
        title=record.title,
        settings=record.settings,
        created_at=record.created_at,
        status=_status(live),
        active=live.active,
        version=live.version,
        updated_at=live.updated_at,
        position=Position(epoch=live.epoch, version=live.version),
        fence=live.fence,
        hash=live.hash,
        state_bytes=live.size,
    )
