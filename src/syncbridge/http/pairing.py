"""One-time codes: shown on one device, typed or scanned on another, good once for one session."""

from __future__ import annotations

import io
from typing import Annotated, Literal

import segno
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from syncbridge.errors import CodeInvalid
from syncbridge.http.auth import TokenPair, pair
from syncbridge.http.context import AccountClaims, Ctx, Owned, network_of_request
from syncbridge.http.devices import NewDevice
from syncbridge.http.strict import StrictRoute

router = APIRouter(prefix="/v1", tags=["pairing"], route_class=StrictRoute)

SVG = "image/svg+xml"


class PairingCode(BaseModel):
    """A code for one new device."""

    code: str = Field(examples=["7GK2M-Q0RXT"])
    url: str = Field(description="What the QR code says: the code is in the fragment, which is sent to no server.")
    session: str
    expires_at: int


class Redemption(BaseModel):
    """A code, and the device that was given it."""

    code: Annotated[str, Field(min_length=1, max_length=32)]
    device: NewDevice


@router.post(
    "/sessions/{session}/pairing-codes",
    status_code=201,
    response_model=PairingCode,
    responses={201: {"content": {SVG: {"schema": {"type": "string"}}}}},
)
async def create_pairing_code(
    request: Request,
    context: Ctx,
    claims: AccountClaims,
    session: Owned,
    form: Annotated[Literal["json", "svg"] | None, Query(alias="format")] = None,
) -> Response:
    """A code for one new device in this session, as JSON or, by Accept or `format=svg`, as a QR code."""
    code, expires_at = await context.authority.new_code(claims, session)
    settings = context.settings
    page = settings.pairing_url or f"{(settings.public_url or str(request.base_url)).rstrip('/')}/pair"
    url = f"{page}#{code}"
    if form == "svg" or (form is None and _prefers_svg(request)):
        return Response(_qr(url), 201, {"SyncBridge-Code": code, "Vary": "Accept"}, SVG)
    body = PairingCode(code=code, url=url, session=session, expires_at=expires_at)
    return JSONResponse(body.model_dump(), 201, {"Vary": "Accept"})


@router.post("/pairing-codes/redeem")
async def redeem_pairing_code(request: Request, context: Ctx, body: Redemption) -> TokenPair:
    """The code is used up, the device registered, and these tokens reach the code's session from it alone."""
    with context.guesses.guess(f"code {network_of_request(request)}", CodeInvalid):
        grant = await context.authority.redeem(body.code, body.device.info())
    return pair(context, grant)


def _prefers_svg(request: Request) -> bool:
    kinds = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return SVG in kinds and "application/json" not in kinds


def _qr(url: str) -> bytes:
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(out, kind="svg", scale=8, border=4, light="#fff", title="Pairing code")
    return out.getvalue()
