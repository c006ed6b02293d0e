"""What every resource reaches: the services behind it, who asks, and whether the session is theirs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from syncbridge.auth import Authority, Claims
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.session_types import SessionType
from syncbridge.errors import DeviceUnknown, Forbidden, NotFound, TokenMissing
from syncbridge.http.health import Health
from syncbridge.http.rates import RateLimiter, network_of
from syncbridge.lifecycle import Lifecycle
from syncbridge.limits import Limits
from syncbridge.ports import Clock, SessionService
from syncbridge.records import Records
from syncbridge.telemetry import PrometheusTelemetry
from syncbridge.wire.handshake import client_address

OWNED_MAX = 50_000


class HttpSettings(Protocol):
    """What of the configuration the resources need; `config.Settings` has it all."""

    @property
    def limits(self) -> Limits:
        """Every limit in force."""
        ...

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins whose pages may ask."""
        ...

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Addresses whose X-Forwarded-For is believed."""
        ...

    @property
    def has_shared_records(self) -> bool:
        """Whether other nodes use the same records."""
        ...

    @property
    def snapshots_max(self) -> int:
        """Labelled snapshots of one session."""
        ...

    @property
    def public_url(self) -> str:
        """How people reach the service, "" for the address that they asked."""
        ...

    @property
    def metrics_port(self) -> int | None:
        """The port that has /metrics, None where the public one has it."""
        ...

    @property
    def pairing_url(self) -> str:
        """The page that takes a one-time code in its fragment, "" for /pair of this service."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that the resources lean on."""

    service: SessionService
    records: Records
    authority: Authority
    settings: HttpSettings
    clock: Clock
    telemetry: PrometheusTelemetry
    health: Health
    session_types: Mapping[str, SessionType]
    logins: RateLimiter
    guesses: RateLimiter
    owned: OwnedSessions
    lifecycle: Lifecycle


class OwnedSessions:
    """Who owns which session: it never changes, so it is asked once. Sessions of others are asked each time."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: OrderedDict[SessionId, AccountId] = OrderedDict()

    async def require(self, account: AccountId, session: SessionId) -> None:
        """Raises NotFound, the same whether the session is another's or is not there."""
        if self._known.get(session) == account:
            return
        record = await self._records.sessions.get(session)
        if record is None or record.account != account:
            raise NotFound
        self._known[session] = account
        if len(self._known) > OWNED_MAX:
            self._known.popitem(last=False)

    def forget(self, session: SessionId) -> None:
        """The session was deleted."""
        self._known.pop(session, None)


def context_of(request: Request) -> Context:
    """The context of the app that the request came to."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Ctx = Annotated[Context, Depends(context_of)]

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token of POST /v1/auth/token.")


async def _claims(
    context: Ctx, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Claims:
    if credentials is None or not credentials.credentials:
        raise TokenMissing
    return await context.authority.identify(credentials.credentials)


AnyClaims = Annotated[Claims, Depends(_claims)]
"""A valid token, also one that reaches one session alone."""


async def _account_claims(claims: AnyClaims) -> Claims:
    if claims.session is not None:
        raise Forbidden("This token came from a one-time code and reaches one session alone.")
    return claims


AccountClaims = Annotated[Claims, Depends(_account_claims)]
"""A valid token of somebody who logged in."""


async def _owned(context: Ctx, claims: AnyClaims, session: str) -> SessionId:
    if claims.session is not None and claims.session != session:
        raise NotFound
    await context.owned.require(claims.account, SessionId(session))
    return SessionId(session)


Owned = Annotated[SessionId, Depends(_owned)]
"""The session of the path, when it is the caller's. Raises NotFound else."""


async def acting_device(context: Context, claims: Claims) -> str:
    """The device that the token is bound to, "" when to none. Raises DeviceUnknown when it is not registered."""
    if claims.device is None:
        return ""
    await require_device(context, claims.account, claims.device)
    return claims.device


async def require_device(context: Context, account: AccountId, device: str) -> DeviceId:
    """The device, when it is one of the account's. Raises DeviceUnknown."""
    roster = await context.authority.rosters.get(account)
    if roster.get(device) is None:
        raise DeviceUnknown("The account has no such device; POST /v1/devices or its own first hello registers it.")
    return DeviceId(device)


def address_of(request: Request) -> str:
    """The client's address, seen through the proxies that are trusted."""
    peer = request.client.host if request.client else "unknown"
    forwarded = [value.encode("latin-1") for value in request.headers.getlist("x-forwarded-for")]
    return client_address(peer, forwarded, frozenset(context_of(request).settings.trusted_proxies))


def network_of_request(request: Request) -> str:
    """Who shares a bucket with the client: its address, in IPv6 its network."""
    return network_of(address_of(request))
