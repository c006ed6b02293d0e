"""Labelled snapshots of a session: keep the state of now, come back to it later."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from syncbridge.errors import NotFound, SnapshotsExceeded
from syncbridge.http.context import AnyClaims, Ctx, Owned, acting_device
from syncbridge.http.etags import etag, expected_version, names_tag
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.sessions import Position
from syncbridge.http.state import IfNoneMatch
from syncbridge.http.strict import StrictRoute
from syncbridge.records import SnapshotRecord
from syncbridge.records.ids import new_id

router = APIRouter(prefix="/v1/sessions/{session}/snapshots", tags=["snapshots"], route_class=StrictRoute)


class NewSnapshot(BaseModel):
    """What to call it."""

    label: Annotated[str, Field(min_length=1, max_length=100, examples=["before the last breath hold"])]


class SnapshotSummary(BaseModel):
    """A kept state, without the state."""

    id: str
    label: str
    position: Position
    device: str | None
    created_at: int


class SnapshotView(SnapshotSummary):
    """A kept state."""

    state: dict[str, Any]


class SnapshotPage(BaseModel):
    """Snapshots of the session, newest first."""

    snapshots: list[SnapshotSummary]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class Restored(BaseModel):
    """Where the session is after a restore."""

    position: Position
    hash: str
    status: str


@router.post("", status_code=201)
async def create_snapshot(
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    body: NewSnapshot,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> SnapshotSummary:
    """The state of now is kept under this label."""
    view = await context.service.read(session)
    device = await acting_device(context, claims)
    snapshot = SnapshotRecord(
        new_id("snp"), session, body.label, view.epoch, view.version, device, context.clock.now_ms()
    )
    try:
        await context.records.snapshots.add(snapshot, view.state, count_max=context.settings.snapshots_max)
    except SnapshotsExceeded:
        context.telemetry.measured("limit_hit", 1, "snapshots_max")
        raise
    response.headers["Location"] = f"/v1/sessions/{session}/snapshots/{snapshot.id}"
    return _summary(snapshot)


@router.get("", responses={200: {"headers": LINKED}})
async def list_snapshots(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> SnapshotPage:
    """The session's snapshots, newest first."""
    listing = Listing(request, response)
    after = listing.after(cursor, tuple[int, str])
    records = await context.records.snapshots.page(session, after=after, count=limit + 1)
    page = records[:limit]
    return SnapshotPage(
        snapshots=[_summary(one) for one in page],
        next_cursor=listing.next((page[-1].created_at, page[-1].id)) if len(records) > limit else None,
    )


@router.get(
    "/{snapshot}",
    response_model=SnapshotView,
    responses={304: {"description": "It is what If-None-Match names."}},
)
async def get_snapshot(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    snapshot: str,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """A snapshot with its state. It never changes, so whoever holds it is told just that."""
    found = await context.records.snapshots.get(session, snapshot)
    if found is None:
        raise NotFound
    record, state = found
    headers = {"ETag": f'"{record.id}"', "Cache-Control": "private, no-cache"}
    if names_tag(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return SnapshotView(**_summary(record).model_dump(), state=state)


@router.post("/{snapshot}/restore")
async def restore_snapshot(
    request: Request,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    snapshot: str,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Restored:
    """The session has the snapshot's state, by a new entry in its log; nothing before it is lost."""
    found = await context.records.snapshots.get(session, snapshot)
    if found is None:
        raise NotFound
    expected = expected_version(request, await context.service.read(session)) if "if-match" in request.headers else None
    device = await acting_device(context, claims)
    view = await context.service.restore(session, device=device, state=found[1], expected=expected)
    response.headers["ETag"] = etag(view)
    return Restored(position=Position(epoch=view.epoch, version=view.version), hash=view.hash, status=view.status)


@router.delete("/{snapshot}", status_code=204)
async def delete_snapshot(context: Ctx, claims: AnyClaims, session: Owned, snapshot: str) -> Response:
    """The snapshot is gone."""
    if not await context.records.snapshots.remove(session, snapshot):
        raise NotFound
    return Response(status_code=204)


def _summary(record: SnapshotRecord) -> SnapshotSummary:
    return SnapshotSummary(
        id=record.id,
        label=record.label,
        position=Position(epoch=record.epoch, version=record.version),
        device=record.device or None,
        created_at=record.created_at,
    )
