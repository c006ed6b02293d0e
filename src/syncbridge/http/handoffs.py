"""Handoffs over REST: offer a session to a device, take it over, and see how each one went."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from syncbridge.core.history import HandoffOutcome, HandoffStory, HandoffWalk
from syncbridge.core.ids import DeviceId
from syncbridge.errors import DeviceUnknown, Forbidden, NotFound, ValidationFailed
from syncbridge.http.auth import ID_PATTERN
from syncbridge.http.context import AnyClaims, Ctx, Owned, acting_device
from syncbridge.http.devices import DeviceRef, Names
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.problems import documented
from syncbridge.http.sessions import Position
from syncbridge.http.strict import StrictRoute
from syncbridge.http.walk import LogWalk

router = APIRouter(prefix="/v1/sessions/{session}/handoffs", tags=["handoffs"], route_class=StrictRoute)


class NewHandoff(BaseModel):
    """What shall happen."""

    mode: Literal["offer", "take"]
    to: Annotated[str, Field(min_length=1, max_length=64, pattern=ID_PATTERN)] | None = Field(
        None, description="The device that shall go on; for `take` the token's own where it is bound to one."
    )
    expires_ms: Annotated[int, Field(ge=1, strict=True)] | None = Field(None, description="How long an offer waits.")


class HandoffView(BaseModel):
    """What happened."""

    handoff: str
    mode: Literal["offer", "take"]
    outcome: Literal["done", "waiting"]
    to: str
    active: str | None
    fence: int
    position: Position
    uncertainty_ms: int = Field(description="How far the playhead may be off; 0 when the source was heard.")
    latency_ms: float = Field(description="From the request to this answer.")


class HandoffRecord(BaseModel):
    """A handoff as the session's log tells it."""

    handoff: str
    version: int = Field(description="The entry that tells it.")
    mode: Literal["offer", "take"]
    outcome: HandoffOutcome
    source: DeviceRef | None = Field(description="Who held the session, or offered it.")
    target: DeviceRef | None
    requested_at: int | None = Field(description="Null where the log no longer reaches back to the offer.")
    ended_at: int | None = Field(description="When it was done, or over; null while it waits.")
    latency_ms: int | None = Field(description="From the request to the handoff; only where it was done.")
    expires_at: int | None = Field(description="Of an offer.")
    fence: int | None = Field(description="The new fencing token; only where it was done.")
    uncertainty_ms: int = Field(description="How far the playhead may be off; 0 when the source was heard.")


class HandoffPage(BaseModel):
    """Handoffs of the session, newest first."""

    handoffs: list[HandoffRecord]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


@router.get("", responses={200: {"headers": LINKED}, **documented("not_found", "validation_failed")})
async def list_handoffs(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> HandoffPage:
    """Every handoff that the log tells of, newest first. A page may come short and still have a `next_cursor`."""
    listing = Listing(request, response)
    epoch, before, closing = listing.after(cursor, tuple[str, int, int]) or (None, None, 0)
    history = context.service.history
    names = await Names.of(context, claims.account)
    walk = LogWalk(history, session, before=before, epoch=epoch)
    ended = (await history.entries(session, after=closing - 1, count_max=1)).entries if closing else []
    stories = HandoffWalk(ended[0] if ended and ended[0].version == closing else None)
    found: list[HandoffStory] = []
    async for entry in walk:
        story = stories.meet(entry, context.clock.now_ms())
        if story is not None:
            found.append(story)
            if len(found) == limit:
                break
    left_over = stories.left_over() if walk.is_over else None
    if left_over is not None and len(found) < limit:
        found.append(left_over)
        left_over = None
    is_last = (walk.is_over and left_over is None) or walk.before is None
    remembered = 0 if stories.closing is None else stories.closing.version
    return HandoffPage(
        handoffs=[_record(story, names) for story in found],
        next_cursor=None if is_last else listing.next((walk.epoch, int(walk.before or 0), remembered)),
    )


@router.get("/{handoff}", responses=documented("not_found"))
async def get_handoff(context: Ctx, claims: AnyClaims, session: Owned, handoff: str) -> HandoffRecord:
    """One handoff, as long as the log holds it."""
    stories = HandoffWalk()
    before: int | None = None
    is_over = False
    while not is_over:
        walk = LogWalk(context.service.history, session, before=before)
        async for entry in walk:
            story = stories.meet(entry, context.clock.now_ms())
            if story is not None and story.id == handoff:
                return _record(story, await Names.of(context, claims.account))
        before, is_over = walk.before, walk.is_over
    story = stories.left_over()
    if story is None or story.id != handoff:
        raise NotFound
    return _record(story, await Names.of(context, claims.account))


def _record(story: HandoffStory, names: Names) -> HandoffRecord:
    is_done = story.outcome == "done" and story.requested_at is not None and story.ended_at is not None
    return HandoffRecord(
        handoff=story.id,
        version=story.version,
        mode=story.mode,
        outcome=story.outcome,
        source=names.ref(story.source),
        target=names.ref(story.target),
        requested_at=story.requested_at,
        ended_at=story.ended_at,
        latency_ms=max(0, (story.ended_at or 0) - (story.requested_at or 0)) if is_done else None,
        expires_at=story.expires_at,
        fence=story.fence or None,
        uncertainty_ms=story.uncertainty_ms,
    )


@router.post("", status_code=201, responses={202: {"model": HandoffView, "description": "The offer waits."}})
async def hand_off(
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    body: NewHandoff,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> HandoffView:
    """Taken: the device is active with the next fence. Offered: 202 while the target has not said that it is ready."""
    begin = time.perf_counter()
    device = await acting_device(context, claims)
    target = body.to or (claims.device if body.mode == "take" else None)
    if target is None:
        raise ValidationFailed("$.to: expected the device that shall go on")
    if body.mode == "take" and claims.device not in (None, target):
        raise Forbidden("This token is bound to another device; it can take for its own, or offer.")
    limit_ms = context.settings.limits.handoff_offer_ms_max
    if body.expires_ms is not None and body.expires_ms > limit_ms:
        raise ValidationFailed(f"$.expires_ms: expected at most {limit_ms}")
    roster = await context.authority.rosters.get(claims.account)
    if roster.get(target) is None:
        raise DeviceUnknown
    view = await context.service.hand_off(
        session,
        account=claims.account,
        device=device,
        target=DeviceId(target),
        mode=body.mode,
        roster=roster.infos(),
        expires_ms=body.expires_ms,
    )
    response.status_code = 202 if view.is_waiting else 201
    return HandoffView(
        handoff=view.handoff,
        mode=body.mode,
        outcome="waiting" if view.is_waiting else "done",
        to=target,
        active=view.active,
        fence=view.fence,
        position=Position(epoch=view.epoch, version=view.version),
        uncertainty_ms=view.uncertainty_ms,
        latency_ms=round((time.perf_counter() - begin) * 1000, 3),
    )
