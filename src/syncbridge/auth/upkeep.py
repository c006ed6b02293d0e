"""What an authority does by itself while a service runs: it learns what other processes revoked, and the
keys, which it replaces when they are old, and it keeps the key sets of outside issuers fresh."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, get_args

import structlog

from syncbridge.auth.authority import Authority
from syncbridge.auth.keyring import KeyState
from syncbridge.errors import Internal, SyncBridgeError
from syncbridge.ports import Telemetry

REVOCATIONS_EVERY_MS: Final = 1_000
"""Live connections of what another process revoked are closed within 2 s: this, and the time of one question."""

FIGURES_EVERY_MS: Final = 1_000
KEY_SETS_EVERY_MS: Final = 5_000
"""How often it is looked whether a key set is old; a fetch that failed is tried again no sooner than it may be."""

_log = structlog.get_logger("syncbridge.auth")


async def keep_up(authority: Authority, telemetry: Telemetry) -> None:
    """Runs until it is cancelled; a database that is away delays it, and is told once."""

    async def measure() -> None:
        _measure(authority, telemetry)

    async with asyncio.TaskGroup() as group:
        group.create_task(_every(FIGURES_EVERY_MS, "figures", measure))
        group.create_task(_every(REVOCATIONS_EVERY_MS, "revocations", authority.catch_up))
        for issuer in authority.outside.values():
            group.create_task(_every(KEY_SETS_EVERY_MS, "issuers", issuer.keys.keep_fresh))
        group.create_task(_every(authority.rules.key_refresh_ms, "keys", authority.refresh_keys))


def _measure(authority: Authority, telemetry: Telemetry) -> None:
    telemetry.measured("signing_key_age_s", authority.ring.age_ms() / 1000)
    counts = Counter(state for _, state in authority.ring.states())
    for state in get_args(KeyState):
        telemetry.measured("signing_keys", counts[state], state)
    for issuer in authority.outside.values():
        outcomes = issuer.keys.outcomes
        for outcome, count in outcomes.items():
            telemetry.measured("issuer_refresh", count, outcome)
        outcomes.clear()


async def _every(every_ms: int, name: str, work: Callable[[], Awaitable[object]]) -> None:
    is_failing = False
    while True:
        try:
            await work()
        except SyncBridgeError as fault:
            if not is_failing:
                _log.warning("auth upkeep does not get through; it is tried on", work=name, code=fault.code)
            is_failing = True
        except Exception:  # noqa: BLE001 - whatever breaks, it must go on: revocations depend on it
            _log.exception("auth upkeep error", work=name, code=Internal.code)
            is_failing = True
        else:
            is_failing = False
        await asyncio.sleep(every_ms / 1000)
