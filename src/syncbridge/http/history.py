"""The past of a session: its entries, its state at a version or a time, what changed between two, and the way back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from syncbridge.core.entry import Entry, Intent, Kind, Side, Status
from syncbridge.core.history import paths_of
from syncbridge.core.ids import SessionId
from syncbridge.errors import HistoryGone, ValidationFailed
from syncbridge.http.context import AnyClaims, Context, Ctx, Owned, acting_device
from syncbridge.http.devices import DeviceRef, Names
from syncbridge.http.etags import etag, expected_version, names_tag
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.problems import documented
from syncbridge.http.sessions import Position
from syncbridge.http.snapshots import Restored
from syncbridge.http.state import IfMatch, IfNoneMatch
from syncbridge.http.strict import StrictRoute
from syncbridge.http.walk import LogWalk
from syncbridge.limits import INTEGER_SAFE_MAX

router = APIRouter(prefix="/v1/sessions/{session}/history", tags=["history"], route_class=StrictRoute)

PATHS_MAX = 16
CHANGES_MAX = 2_000
CHANGES_CHARS_MAX = 256 * 1024

Version = Annotated[int, Query(ge=1, le=INTEGER_SAFE_MAX, description="A version of the log.")]
Moment = Annotated[int, Query(ge=0, le=INTEGER_SAFE_MAX, description="Server time, ms: the version of that moment.")]


class UndoingView(BaseModel):
    """Which conflict an entry took back."""

    conflict: str = Field(examples=["42.0"])
    chosen: Side = Field(description="Whose value was chosen.")

    @classmethod
    def of(cls, entry: Entry) -> UndoingView | None:
        """What the entry took back, None where it did not."""
        undoing = entry.undoes
        if undoing is None:
            return None
        return cls(conflict=f"{undoing.version}.{undoing.index}", chosen=undoing.chosen)


class HistoryEntry(BaseModel):
    """One entry of the log: who, when, what."""

    version: int
    kind: Kind
    at: int = Field(description="When it was committed.")
    made_at: int | None = Field(description="When the edit was made, where that was earlier.")
    device: DeviceRef | None = Field(description="Null where no device caused it.")
    intent: Intent
    ops: int = Field(description="How many operations it holds.")
    paths: list[str] = Field(description=f"The places that it writes; at most {PATHS_MAX}.")
    conflicts: int = Field(description="What did not simply apply; see the conflicts of the session.")
    status: Status | None = Field(description="The new status, where it changes.")
    fence: int | None = Field(description="The new fencing token, where the active device changes.")
    active: DeviceRef | None = Field(description="The new active device, beside `fence`.")
    handoff: str | None = Field(description="The handoff that it is about.")
    undoes: UndoingView | None = Field(description="The conflict that it took back.")


class HistoryPage(BaseModel):
    """Entries, newest first."""

    entries: list[HistoryEntry]
    oldest: int = Field(description="The oldest version whose state can still be told.")
    head: int = Field(description="The newest version.")
    next_cursor: str | None = Field(description=NEXT_CURSOR)


class PastStateView(BaseModel):
    """The state as it was."""

    position: Position
    at: int = Field(description="When that version was committed.")
    hash: str = Field(description="Digest of the state, as `joined.hash`.")
    state: dict[str, Any]


class Change(BaseModel):
    """One operation of one entry: who wrote where."""

    version: int
    at: int
    device: DeviceRef | None
    kind: Kind
    op: str
    path: str
    source: str | None = Field(None, alias="from", description="Of a move or copy.")


class Difference(BaseModel):
    """What changed between two versions."""

    start: Position = Field(alias="from")
    end: Position = Field(alias="to")
    ops: list[dict[str, Any]] = Field(description="RFC 6902: what turns the first state into the second.")
    changes: list[Change] = Field(description="How it came to that, one by one, oldest first; values are in `ops`.")


class Restore(BaseModel):
    """The version to come back to."""

    version: Annotated[int, Field(ge=1, le=INTEGER_SAFE_MAX, strict=True, examples=[17])]


@router.get("", responses={200: {"headers": LINKED}, **documented("not_found", "validation_failed")})
async def list_history(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    device: Annotated[str | None, Query(max_length=64, description="Only what this device did.")] = None,
    kind: Annotated[Kind | None, Query(description="Only entries of this kind.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> HistoryPage:
    """The session's log, newest first. A filtered page may come short, or empty, and still have a `next_cursor`."""
    listing = Listing(request, response)
    place = listing.after(cursor, tuple[str, int])
    names = await Names.of(context, claims.account)
    epoch, before = place or (None, None)
    walk = LogWalk(context.service.history, session, before=before, epoch=epoch)
    found: list[HistoryEntry] = []
    async for entry in walk:
        if device in (None, entry.device) and kind in (None, entry.kind):
            found.append(_entry(entry, names))
            if len(found) == limit:
                break
    return HistoryPage(
        entries=found,
        oldest=walk.oldest,
        head=walk.head,
        next_cursor=None if walk.is_over or walk.before is None else listing.next((walk.epoch, walk.before)),
    )


@router.get(
    "/state",
    responses={
        304: {"description": "It is what If-None-Match names."},
        **documented("not_found", "history_gone", "validation_failed"),
    },
    response_model=PastStateView,
)
async def get_past_state(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    version: Version | None = None,
    at: Moment | None = None,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """The state at a version, or at a moment. Where the log no longer reaches back, `oldest` is what it can tell."""
    past = await context.service.history.state_at(
        session, await _version(context, session, version, at, "version", "at")
    )
    tag = f'"{past.position.epoch}.{past.position.version}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if names_tag(request, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return PastStateView(
        position=Position(epoch=past.position.epoch, version=past.position.version),
        at=past.at,
        hash=past.hash,
        state=past.state,
    )


@router.get("/diff", responses=documented("not_found", "history_gone", "validation_failed"))
async def get_difference(
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    start: Annotated[int | None, Query(alias="from", ge=1, le=INTEGER_SAFE_MAX, description="A version.")] = None,
    end: Annotated[int | None, Query(alias="to", ge=1, le=INTEGER_SAFE_MAX, description="A later version.")] = None,
    start_at: Annotated[Moment | None, Query(alias="from_at")] = None,
    end_at: Annotated[Moment | None, Query(alias="to_at")] = None,
) -> Difference:
    """What changed between two versions or moments: the difference of the two states, and who wrote what when.

    At most 1,000 entries and 2,000 changes are told at once.
    """
    names = await Names.of(context, claims.account)
    first = await _version(context, session, start, start_at, "from", "from_at")
    last = await _version(context, session, end, end_at, "to", "to_at")
    if last < first:
        raise ValidationFailed(f"query.to: expected version {first} or a later one, got {last}")
    told = await context.service.history.between(session, first, last)
    changes = [_change(entry, op, names) for entry in told.entries for op in entry.ops if op["op"] != "test"]
    if len(changes) > CHANGES_MAX or sum(len(change.path) for change in changes) > CHANGES_CHARS_MAX:
        raise ValidationFailed(f"query.to: {len(changes)} changes lie between; expected fewer: ask in parts")
    epoch = told.start.position.epoch
    return Difference.model_validate(
        {
            "from": Position(epoch=epoch, version=first),
            "to": Position(epoch=epoch, version=last),
            "ops": told.ops,
            "changes": changes,
        }
    )


@router.post(
    "/restore",
    responses=documented("not_found", "history_gone", "precondition_failed", "session_ended", "validation_failed"),
)
async def restore_version(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    body: Restore,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Restored:
    """The state of that version is the session's again, by a new entry; nothing of the log is lost."""
    expected = expected_version(request, await context.service.read(session)) if "if-match" in request.headers else None
    device = await acting_device(context, claims)
    past = await context.service.history.state_at(session, body.version)
    view = await context.service.restore(session, device=device, state=past.state, expected=expected)
    response.headers["ETag"] = etag(view)
    return Restored(position=Position(epoch=view.epoch, version=view.version), hash=view.hash, status=view.status)


async def _version(
    context: Context, session: SessionId, version: int | None, at_ms: int | None, name: str, name_at: str
) -> int:
    """The version that is meant: by its number, or by a moment. Raises ValidationFailed, HistoryGone."""
    if (version is None) == (at_ms is None):
        raise ValidationFailed(f"query.{name}: expected either `{name}` or `{name_at}`")
    history = context.service.history
    try:
        if at_ms is not None:
            return await history.version_at(session, at_ms)
        assert version is not None
        there = await history.reach(session)
        if version > there.head:
            raise ValidationFailed(f"version {version} does not exist yet; the log ends at {there.head}")
        if version < there.oldest:
            raise HistoryGone(f"the log reaches back to version {there.oldest}", members={"oldest": there.oldest})
    except ValidationFailed as fault:
        raise ValidationFailed(f"query.{name if at_ms is None else name_at}: {fault.message}") from None
    return version


def _entry(entry: Entry, names: Names) -> HistoryEntry:
    return HistoryEntry(
        version=entry.version,
        kind=entry.kind,
        at=entry.at,
        made_at=entry.made_at or None,
        device=names.ref(entry.device),
        intent=entry.intent,
        ops=len(entry.ops),
        paths=paths_of(entry, PATHS_MAX),
        conflicts=len(entry.conflicts),
        status=entry.status,
        fence=entry.fence or None,
        active=names.ref(entry.active) if entry.fence else None,
        handoff=None if entry.handoff is None else entry.handoff.id,
        undoes=UndoingView.of(entry),
    )


def _change(entry: Entry, op: dict[str, Any], names: Names) -> Change:
    return Change.model_validate(
        {
            "version": entry.version,
            "at": entry.at,
            "device": names.ref(entry.device),
            "kind": entry.kind,
            "op": op["op"],
            "path": op["path"],
            "from": op.get("from"),
        }
    )
