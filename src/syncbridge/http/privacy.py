"""A person's own data: all of it to take along, or none of it left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, SecretStr
from starlette.types import Receive, Scope, Send

from syncbridge.auth import Claims
from syncbridge.core.ids import AccountId
from syncbridge.errors import BadCredentials, NotFound, ProofRequired, RateLimited, TokenInvalid
from syncbridge.http.context import AccountClaims, Context, Ctx, network_of_request
from syncbridge.http.exported import Export
from syncbridge.http.problems import Refused
from syncbridge.http.strict import JSON, OptionalBodyRoute
from syncbridge.lifecycle.export import Exporter
from syncbridge.records import Erasure

router = APIRouter(prefix="/v1", tags=["privacy"], route_class=OptionalBodyRoute)

ERASURE_WAIT_MS = 20_000
"""How long a request waits for the erasure's end; a person with so much that it takes longer gets 202."""
_RETRY_AFTER = {"Retry-After": "5"}


class Proof(BaseModel):
    """Who you are, shown anew."""

    password: SecretStr | None = Field(None, description="Not needed with a token of a log-in just made.")


class Receipt(BaseModel):
    """What was erased, in numbers: nothing of the person is in it."""

    receipt: str = Field(description="The id of this receipt; it can be read again for years.", examples=["ers_7m2k"])
    status: Literal["erasing", "erased"]
    requested_at: int
    finished_at: int | None = Field(description="When the last of it was gone from every file; null until then.")
    erased: dict[str, int] = Field(
        description="How many of each kind are gone so far.", examples=[{"sessions": 12, "devices": 3, "accounts": 1}]
    )


class _ExportResponse(StreamingResponse):
    """Streams the document; whoever hangs up ends the work."""

    def __init__(self, exporter: Exporter, account: AccountId) -> None:
        super().__init__(
            self._pieces(),
            media_type=JSON,
            headers={"Content-Disposition": 'attachment; filename="syncbridge-export.json"'},
        )
        self._exporter = exporter
        self._account = account
        self._is_whole = False

    async def _pieces(self) -> AsyncIterator[bytes]:
        async with aclosing(self._exporter.document(self._account)) as document:
            async for piece in document:
                yield piece
        self._is_whole = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The document is sent as fast as it is read, or given up."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._exporter.release(self._account, is_whole=self._is_whole)


@router.get(
    "/me/export",
    response_class=Response,
    responses={200: {"model": Export, "description": "The document, streamed."}},
)
async def export_me(context: Ctx, claims: AccountClaims) -> Response:
    """Everything that is held of you, as one JSON document; one at a time.

    No secret is in it: no password, no token, no one-time code. It is streamed, a member or an item a line, and ends
    with `"complete": true`.
    """
    exporter = context.lifecycle.exporter
    if await context.records.accounts.get(claims.account) is None:
        raise TokenInvalid
    if not exporter.claim(claims.account):
        raise Refused(RateLimited("Your data is being exported already; wait for its end."), headers=_RETRY_AFTER)
    return _ExportResponse(exporter, claims.account)


@router.delete("/me", responses={202: {"model": Receipt, "description": "It is being erased; read the receipt later."}})
async def erase_me(
    request: Request, context: Ctx, claims: AccountClaims, response: Response, body: Proof | None = None
) -> Receipt:
    """You are erased, everywhere: sessions with their logs, snapshots, devices, tokens, the account. There is no undo.

    From the first moment every token is refused, and every connection closed (`account_erased`). The answer comes when
    all of it is gone from every file, or with 202 when that takes longer; then the receipt says when it is.
    """
    await _prove(context, claims, body)
    eraser = context.lifecycle.eraser
    await eraser.request(claims.account)
    erasure = await eraser.wait(claims.account, ERASURE_WAIT_MS)
    response.headers["Location"] = f"/v1/erasures/{erasure.receipt}"
    if erasure.finished_at is None:
        response.status_code = 202
    return _receipt(erasure)


@router.get("/erasures/{receipt}")
async def get_erasure(
    request: Request, context: Ctx, receipt: Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9_]+$")]
) -> Receipt:
    """The receipt of an erasure. It needs no token, for there is nobody left to have one; its id is the secret."""
    context.logins.take(network_of_request(request))
    erasure = await context.records.erasures.by_receipt(receipt)
    if erasure is None:
        raise NotFound
    return _receipt(erasure)


async def _prove(context: Context, claims: Claims, body: Proof | None) -> None:
    """Raises ProofRequired without a fresh proof, BadCredentials for a wrong one."""
    if body is not None and body.password is not None:
        with context.guesses.guess(f"proof {claims.account}", BadCredentials):
            if not await context.authority.is_password_of(claims.account, body.password.get_secret_value()):
                raise BadCredentials("The password is wrong.")
        return
    age_ms = context.clock.now_ms() - claims.login_at
    if age_ms > context.authority.rules.fresh_login_ms:
        minutes = context.authority.rules.fresh_login_ms // 60_000
        raise ProofRequired(
            f"This cannot be undone: send the password along, or log in anew; this log-in is older than {minutes} min."
        )


def _receipt(erasure: Erasure) -> Receipt:
    return Receipt(
        receipt=erasure.receipt,
        status="erasing" if erasure.finished_at is None else "erased",
        requested_at=erasure.requested_at,
        finished_at=erasure.finished_at,
        erased=erasure.erased,
    )
