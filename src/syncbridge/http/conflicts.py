"""Conflicts of a session: what lost, why, and the way to have it back in one call."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from syncbridge.core.conflicts import MISSING, loser, standing_undo, value_of
from syncbridge.core.entry import Conflict, Entry, Side, Undoing
from syncbridge.core.ids import SessionId
from syncbridge.errors import NotFound
from syncbridge.http.context import AnyClaims, Context, Ctx, Owned, acting_device
from syncbridge.http.devices import DeviceRef, Names
from syncbridge.http.etags import etag, expected_version
from syncbridge.http.history import UndoingView
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.problems import documented
from syncbridge.http.sessions import Position
from syncbridge.http.state import IfMatch
from syncbridge.http.strict import OptionalBodyRoute
from syncbridge.http.walk import LogWalk

router = APIRouter(prefix="/v1/sessions/{session}/conflicts", tags=["conflicts"], route_class=OptionalBodyRoute)

_ID = re.compile(r"([1-9][0-9]{0,14})\.(0|[1-9][0-9]{0,4})", re.ASCII)


class ConflictSide(BaseModel):
    """One of the two values, and whose it was."""

    removed: bool = Field(description="The side removed what was there; there is no value then.")
    value: Any = None
    device: DeviceRef | None = Field(description="Null where it is not known, or no device wrote it.")
    version: int | None = Field(description="The entry that wrote it, where that is known.")


class UndoneView(BaseModel):
    """How a conflict was taken back."""

    version: int = Field(description="The entry that did it.")
    chosen: Side


class ConflictView(BaseModel):
    """One place where two devices wrote, and what became of it."""

    id: str = Field(description="VERSION.INDEX: the entry, and the row in it.", examples=["42.0"])
    at: int
    path: str = Field(description="The place, as it was when they met.", examples=["/settings/volume"])
    policy: str = Field(description="The merge policy that decided.")
    winner: Literal["ours", "theirs", "both", "manual"] = Field(
        description="Whose value stood then; `both`: merged; `manual`: theirs, until a person decides."
    )
    lost: Side | None = Field(description="Whose value an undo brings back; null where both were merged.")
    ours: ConflictSide = Field(description="What the later change wanted.")
    theirs: ConflictSide = Field(description="What it met.")
    base: int | None = Field(description="The version that ours was made on.")
    undone: UndoneView | None
    undoes: UndoingView | None = Field(description="Set where the conflict is itself what an undo replaced.")
    undo_until: int = Field(description="Until when it can be undone.")


class ConflictPage(BaseModel):
    """Conflicts that can still be undone, newest first."""

    conflicts: list[ConflictView]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class Undo(BaseModel):
    """How to take it back; an empty body brings back what lost."""

    choose: Side | None = Field(
        None, description="Whose value shall stand. Needed where both were merged.", examples=["theirs"]
    )
    force: bool = Field(False, strict=True, description="Replace also what was written there since.", examples=[True])


_WHAT_LOST = Undo()


class Undone(BaseModel):
    """The conflict as it is now, and where the session is."""

    conflict: ConflictView
    position: Position
    hash: str
    status: str


@router.get("", responses={200: {"headers": LINKED}, **documented("not_found", "validation_failed")})
async def list_conflicts(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    undone: Annotated[bool | None, Query(description="Only those that were, or were not, undone.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ConflictPage:
    """What did not simply apply in the last seven days. A page may come short and still have a `next_cursor`."""
    listing = Listing(request, response)
    epoch, before, first = listing.after(cursor, tuple[str, int, int]) or (None, None, 0)
    since = context.clock.now_ms() - context.settings.limits.conflict_undo_ms
    walk = LogWalk(context.service.history, session, before=before, epoch=epoch)
    rows: list[tuple[Entry, int]] = []
    place: tuple[int, int] | None = None
    async for entry in walk:
        if entry.at < since:
            walk.is_over = True
            break
        # The page before may have ended within its first entry.
        indexes = range(first if before is not None and entry.version == before - 1 else 0, len(entry.conflicts))
        room = limit - len(rows)
        rows += [(entry, index) for index in indexes[:room]]
        if len(indexes) > room:
            place = (entry.version + 1, indexes[room])
            break
        if len(rows) == limit:
            break
    if place is None and not walk.is_over and walk.before is not None:
        place = (walk.before, 0)
    views = await _views(context, session, rows, await Names.of(context, claims.account))
    return ConflictPage(
        conflicts=[view for view in views if undone is None or (view.undone is not None) == undone],
        next_cursor=None if place is None else listing.next((walk.epoch, *place)),
    )


@router.get("/{conflict}", responses=documented("not_found"))
async def get_conflict(context: Ctx, claims: AnyClaims, session: Owned, conflict: str) -> ConflictView:
    """One conflict, as long as the log holds it."""
    return await _view(context, session, conflict, await Names.of(context, claims.account))


@router.post(
    "/{conflict}/undo",
    responses=documented(
        "not_found",
        "history_gone",
        "conflict_moved_on",
        "conflict_place_gone",
        "conflict_expired",
        "session_ended",
        "stale_owner",
        "precondition_failed",
        "validation_failed",
    ),
)
async def undo_conflict(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    conflict: str,
    body: Undo = _WHAT_LOST,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Undone:
    """The value that lost stands again, by a new entry that says what it replaced; undoing it twice changes nothing.

    Where the place was written again since, that stays and is told (409), unless it was seen: `force`, or an If-Match
    that names the state of now. The playhead is sought to where the lost seek was, from now on.
    """
    version, index = _parts(conflict)
    expected = expected_version(request, await context.service.read(session)) if "if-match" in request.headers else None
    device = await acting_device(context, claims)
    view = await context.service.history.undo(
        session,
        device=device,
        version=version,
        index=index,
        chosen=body.choose,
        is_forced=body.force,
        expected=expected,
    )
    response.headers["ETag"] = etag(view)
    return Undone(
        conflict=await _view(context, session, conflict, await Names.of(context, claims.account)),
        position=Position(epoch=view.epoch, version=view.version),
        hash=view.hash,
        status=view.status,
    )


def _parts(conflict: str) -> tuple[int, int]:
    match = _ID.fullmatch(conflict)
    if match is None:
        raise NotFound
    return int(match[1]), int(match[2])


async def _view(context: Context, session: SessionId, conflict: str, names: Names) -> ConflictView:
    version, index = _parts(conflict)
    read = await context.service.history.entries(session, after=version - 1, count_max=1)
    if not read.entries or read.entries[0].version != version or index >= len(read.entries[0].conflicts):
        raise NotFound
    (view,) = await _views(context, session, [(read.entries[0], index)], names)
    return view


async def _views(
    context: Context, session: SessionId, rows: list[tuple[Entry, int]], names: Names
) -> list[ConflictView]:
    if not rows:
        return []
    oldest = min(entry.version for entry, _ in rows)
    undoings = await context.service.history.undoings(session, after=oldest)
    keep_ms = context.settings.limits.conflict_undo_ms
    return [_told(entry, index, undoings, names, entry.at + keep_ms) for entry, index in rows]


def _told(entry: Entry, index: int, undoings: list[tuple[int, Undoing]], names: Names, undo_until: int) -> ConflictView:
    row: Any = entry.conflicts[index]
    undone = standing_undo(undoings, entry.version, index)
    return ConflictView(
        id=f"{entry.version}.{index}",
        at=entry.at,
        path=row["path"],
        policy=row["policy"],
        winner=row["winner"],
        lost=loser(row),
        ours=_side(row, "ours", names.ref(row.get("device", entry.device)), entry.version),
        theirs=_side(row, "theirs", names.ref(row.get("theirs_device")), row.get("theirs_version")),
        base=row.get("base"),
        undone=None if undone is None else UndoneView(version=undone[0], chosen=undone[1].chosen),
        undoes=UndoingView.of(entry),
        undo_until=undo_until,
    )


def _side(row: Conflict, side: Side, device: DeviceRef | None, version: int | None) -> ConflictSide:
    value = value_of(row, side)
    is_removed = value is MISSING
    return ConflictSide(removed=is_removed, value=None if is_removed else value, device=device, version=version)
