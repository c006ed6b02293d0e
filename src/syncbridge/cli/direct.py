"""What the command line does with the records themselves: for whoever can read the data directory, no service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from syncbridge.auth import Authority, Plans, open_authority
from syncbridge.auth.authority import normal_email
from syncbridge.auth.keyring import KeyState, states
from syncbridge.auth.rotation import Rotated, Rotation
from syncbridge.cli.failures import Failed
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId, DeviceId
from syncbridge.ports import SigningKey
from syncbridge.records import Account, Erasure, Records, Schema, look_at_schema, migrate, open_records
from syncbridge.runtime.clock import ServerClock
from syncbridge.secret_sources import Secrets, open_secrets


async def create_account(settings: Settings, email: str, password: str, plan: str = "") -> Account:
    """The account exists. Raises ValidationFailed, AccountExists."""
    async with _opened(settings) as (_, authority):
        return await authority.create_account(email, password, plan)


async def access_token(settings: Settings, email: str) -> str:
    """An access token of the account. Raises Failed when there is none."""
    async with _opened(settings) as (records, authority):
        account = await _account(records, settings, email)
        return (await authority.begin(account.id)).access_token


async def account_plan(settings: Settings, email: str, plan: str | None) -> str:
    """The account's plan, which is the one given from now on. Raises Failed, ValidationFailed for an unknown plan."""
    async with _opened(settings) as (records, authority):
        account = await _account(records, settings, email)
        if plan is None:
            return account.plan
        await records.accounts.set_plan(account.id, authority.plans.require(plan))
        return plan


async def signing_keys(settings: Settings) -> tuple[int, list[tuple[SigningKey, KeyState]]]:
    """The moment now, and every signing key with what it is, the newest first."""
    async with opened_records(settings) as (records, secrets):
        now_ms = ServerClock().now_ms()
        return now_ms, states(await (secrets.keys or records.keys).read(), now_ms)


async def rotate_keys(settings: Settings, *, is_emergency: bool) -> Rotated:
    """A new key signs soon, or in an emergency now. Raises Failed where the keys are not ours to replace."""
    async with opened_records(settings) as (records, secrets):
        if secrets.keys is not None:
            retire = f" Then, for a key in wrong hands:  {secrets.retire_keys}" if is_emergency else ""
            raise Failed(f"The signing keys are kept elsewhere, and replaced there:  {secrets.rotate_keys}.{retire}")
        rotation = Rotation(records.keys, settings.auth, ServerClock())
        return await (rotation.rotate_now() if is_emergency else rotation.rotate())


async def revoke_account(settings: Settings, email: str, device: str | None) -> None:
    """Every log-in of the account is ended, or one device is removed. Raises Failed, DeviceUnknown."""
    async with _opened(settings) as (records, authority):
        account = (await _account(records, settings, email)).id
        if device is None:
            await authority.revoke_account(account)
        else:
            await authority.remove_device(account, DeviceId(device))


async def revoke_token(settings: Settings, token: str) -> bool:
    """The token is refused from now on; False when it was none that is taken."""
    async with _opened(settings) as (_, authority):
        return await authority.revoke(token)


async def request_erasure(settings: Settings, email: str) -> Erasure:
    """It is written that the account is to be erased; whoever holds the data directory does it. Raises Failed."""
    async with _opened(settings) as (records, _):
        account = await _account(records, settings, email)
        return await records.erasures.begin(account.id, ServerClock().now_ms())


async def erasure(settings: Settings, account: AccountId) -> Erasure | None:
    """How far the erasure of this account is."""
    async with _opened(settings) as (records, _):
        return await records.erasures.get(account)


async def _account(records: Records, settings: Settings, email: str) -> Account:
    found = await records.accounts.credentials(normal_email(email))
    if found is None:
        raise Failed(
            f"No account {email} in {settings.data_dir}: another spelling, or another data directory (--data-dir)? "
            f"`syncbridge account create {email}` makes it."
        )
    return found[0]


@asynccontextmanager
async def opened_records(settings: Settings) -> AsyncIterator[tuple[Records, Secrets]]:
    """The records, for one command, and the secrets by which they were opened. Raises Unavailable."""
    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=ServerClock(), purpose="command")
        records = await open_records(settings.records_url, pool_size=1, credentials=secrets.database)
        stack.push_async_callback(records.close)
        yield records, secrets


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Records, Authority]]:
    async with opened_records(settings) as (records, secrets):
        plans = Plans(settings.plans, settings.default_plan)
        authority = await open_authority(
            records, settings.auth, settings.limits, ServerClock(), plans, settings.issuers, secrets.keys
        )
        try:
            yield records, authority
        finally:
            authority.close()


async def bring_up(settings: Settings) -> Schema:
    """The records' schema is at least this program's. Raises Unavailable."""
    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=ServerClock(), purpose="records")
        return await migrate(settings.records_url, credentials=secrets.database)


async def schema(settings: Settings) -> Schema:
    """The schema that the records have; nothing is changed. Raises Unavailable."""
    async with AsyncExitStack() as stack:
        secrets = await open_secrets(settings, stack, clock=ServerClock(), purpose="records")
        return await look_at_schema(settings.records_url, credentials=secrets.database)
