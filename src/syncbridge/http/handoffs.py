"""Handoffs over REST: offer a session to a device, or take it over."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from syncbridge.core.ids import DeviceId
from syncbridge.errors import DeviceUnknown, Forbidden, ValidationFailed
from syncbridge.http.auth import ID_PATTERN
from syncbridge.http.context import AnyClaims, Ctx, Owned, acting_device
from syncbridge.http.idempotency import IdempotencyKey
from syncbridge.http.sessions import Position
from syncbridge.http.strict import StrictRoute

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
