"""Tokens: by password, by refresh token, and their revocation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Discriminator, Field, SecretStr, Tag

from syncbridge.auth import Grant
from syncbridge.core.ids import DeviceId
from syncbridge.errors import BadCredentials
from syncbridge.http.context import AccountClaims, Context, Ctx, network_of_request
from syncbridge.http.strict import StrictRoute

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=StrictRoute)

ID_PATTERN = r"^[A-Za-z0-9._:-]+$"
device_field: Any = Field(
    min_length=1, max_length=64, pattern=ID_PATTERN, description="Bind the tokens to this device of the account."
)


class PasswordGrant(BaseModel):
    """A log-in."""

    grant_type: Literal["password"] = "password"
    email: Annotated[str, Field(max_length=254)]
    password: SecretStr
    device: Annotated[str | None, device_field] = None


def _grant_type(body: Any) -> Any:
    """What the body asks for, a log-in where it does not say; in brackets, so that no place of a field holds it."""
    asked = body.get("grant_type", "password") if isinstance(body, dict) else getattr(body, "grant_type", None)
    return f"<{asked}>"


class RefreshGrant(BaseModel):
    """The next pair of a log-in; the refresh token is used up."""

    grant_type: Literal["refresh_token"]
    refresh_token: SecretStr


AnyGrant = Annotated[
    Annotated[PasswordGrant, Tag("<password>")] | Annotated[RefreshGrant, Tag("<refresh_token>")],
    Discriminator(_grant_type),
]


class TokenPair(BaseModel):
    """An access token for requests and hellos, and a refresh token for the next pair."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="Seconds that the access token is good for.")
    expires_at: int = Field(description="The same as a moment, ms.")
    refresh_token: str
    account: str
    device: str | None = None
    session: str | None = None


class Revocation(BaseModel):
    """The token to refuse from now on."""

    token: SecretStr = Field(description="An access token, or a refresh token and with it its whole log-in.")


@router.post("/token")
async def token(request: Request, context: Ctx, body: AnyGrant) -> TokenPair:
    """A pair of tokens. An unknown address and a wrong password are answered alike, after the same work."""
    context.logins.take(network_of_request(request))
    if isinstance(body, RefreshGrant):
        return pair(context, await context.authority.refresh(body.refresh_token.get_secret_value()))
    # Guesses are counted by the account they are about as well, wherever they come from.
    with context.guesses.guess(f"password {body.email.strip().lower()}", BadCredentials):
        device = DeviceId(body.device) if body.device else None
        grant = await context.authority.log_in(body.email, body.password.get_secret_value(), device)
    return pair(context, grant)


@router.post("/revoke", status_code=204)
async def revoke(request: Request, context: Ctx, body: Revocation) -> Response:
    """The token is refused from now on; the same answer for a token that was none (RFC 7009 section 2.2)."""
    context.logins.take(network_of_request(request))
    await context.authority.revoke(body.token.get_secret_value())
    return Response(status_code=204)


@router.post("/revoke-all", status_code=204)
async def revoke_all(
    context: Ctx,
    claims: AccountClaims,
    keep_current: Annotated[bool, Query(description="The log-in of the token that asks stays.")] = False,
) -> Response:
    """Every log-in of the account is ended on every device, and live connections are closed: "log out everywhere"."""
    await context.authority.revoke_account(claims.account, kept=claims if keep_current else None)
    return Response(status_code=204)


def pair(context: Context, grant: Grant) -> TokenPair:
    """The grant as it is answered."""
    claims = grant.claims
    return TokenPair(
        access_token=grant.access_token,
        expires_in=max(0, (claims.expires_at - context.clock.now_ms()) // 1000),
        expires_at=claims.expires_at,
        refresh_token=grant.refresh_token,
        account=claims.account,
        device=claims.device,
        session=claims.session,
    )
