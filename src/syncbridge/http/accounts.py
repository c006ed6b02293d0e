"""Accounts: make one, and see one's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from syncbridge.core.ids import DeviceId
from syncbridge.errors import BadCredentials, TokenInvalid
from syncbridge.http.auth import TokenPair, device_field, pair
from syncbridge.http.context import AccountClaims, Ctx, network_of_request
from syncbridge.http.strict import StrictRoute
from syncbridge.records.identities import shown_email

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=StrictRoute)


class NewAccount(BaseModel):
    """Who wants an account."""

    email: Annotated[str, Field(max_length=254, examples=["ada@example.com"])]
    password: SecretStr = Field(description="8 to 1024 characters, any.")
    device: Annotated[str | None, device_field] = None


class Me(BaseModel):
    """The account behind the token."""

    id: str
    email: str | None = Field(description="null where the account came with a token of an issuer outside")
    created_at: int = Field(description="ms since 1970, server time, as all times here")
    devices: int
    devices_max: int
    plan: str = Field(description="The name of the plan that says how many devices, and how fast.")


class PasswordChange(BaseModel):
    """The password there is, and the one there shall be."""

    current: SecretStr
    new: SecretStr = Field(description="8 to 1024 characters, any.")


@router.post("/accounts", status_code=201)
async def create_account(request: Request, context: Ctx, body: NewAccount) -> TokenPair:
    """The account exists, and this is its first pair of tokens."""
    context.logins.take(network_of_request(request))
    account = await context.authority.create_account(body.email, body.password.get_secret_value())
    return pair(context, await context.authority.begin(account.id, DeviceId(body.device) if body.device else None))


@router.get("/me")
async def me(context: Ctx, claims: AccountClaims) -> Me:
    """The account behind the token."""
    account = await context.records.accounts.get(claims.account)
    if account is None:
        raise TokenInvalid
    roster = await context.authority.rosters.get(claims.account)
    return Me(
        id=account.id,
        email=shown_email(account.email),
        created_at=account.created_at,
        devices=len(roster.devices),
        devices_max=context.authority.rosters.plan(roster).devices_max,
        plan=context.authority.plans.name_of(roster.plan),
    )


@router.put("/me/password", status_code=204)
async def change_password(context: Ctx, claims: AccountClaims, body: PasswordChange) -> Response:
    """The new password is in force, and every log-in but this one is ended: whoever knew the old one is out."""
    with context.guesses.guess(f"account {claims.account}", BadCredentials):
        await context.authority.change_password(claims, body.current.get_secret_value(), body.new.get_secret_value())
    return Response(status_code=204)
