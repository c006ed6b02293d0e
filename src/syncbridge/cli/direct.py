"""What the command line does with the records themselves: for whoever can read the data directory, no service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncbridge.auth import Authority, Plans, open_authority
from syncbridge.auth.authority import normal_email
from syncbridge.cli.failures import Failed
from syncbridge.config import Settings
from syncbridge.records import Account, Records, open_records
from syncbridge.runtime.clock import ServerClock


async def create_account(settings: Settings, email: str, password: str, plan: str = "") -> Account:
    """The account exists. Raises ValidationFailed, AccountExists."""
    async with _opened(settings) as (_, authority):
        return await authority.create_account(email, password, plan)


async def access_token(settings: Settings, email: str) -> str:
    """An access token of the account. Raises Failed when there is none."""
    async with _opened(settings) as (records, authority):
        return (await authority.begin((await _account(records, settings, email)).id)).access_token


async def account_plan(settings: Settings, email: str, plan: str | None) -> str:
    """The account's plan, which is the one given from now on. Raises Failed, ValidationFailed for an unknown plan."""
    async with _opened(settings) as (records, authority):
        account = await _account(records, settings, email)
        if plan is None:
            return account.plan
        await records.accounts.set_plan(account.id, authority.plans.require(plan))
        return plan


async def _account(records: Records, settings: Settings, email: str) -> Account:
    found = await records.accounts.credentials(normal_email(email))
    if found is None:
        raise Failed(f"No account {email} in {settings.data_dir}; `syncbridge account create {email}` makes it.")
    return found[0]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Records, Authority]]:
    records = await open_records(settings.records_url, pool_size=1)
    try:
        authority = await open_authority(
            records, settings.auth, settings.limits, ServerClock(), Plans(settings.plans, settings.default_plan)
        )
        try:
            yield records, authority
        finally:
            authority.close()
    finally:
        await records.close()
