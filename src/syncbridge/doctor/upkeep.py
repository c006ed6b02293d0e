"""What the records say of work that should be done: plans that are known, erasures that end, retention that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import func, select

from syncbridge.config import Settings
from syncbridge.doctor.findings import Finding, ok, problem, warning
from syncbridge.limits import Retention
from syncbridge.records.database import Database
from syncbridge.records.expiry import Expiry
from syncbridge.records.schema import accounts, erasures
from syncbridge.story.words import moment, plain, span

PLANS = "plans"
ERASURES = "erasures"
RETENTION = "retention"
NAMED_MAX = 5
ERASURE_MS_MAX = 3_600_000
"""One takes seconds; one that is older met a fault, or a process that died and was not started again."""
RUNS_MISSED = 2
SESSIONS_COUNTED_MAX = 1_000
_UNDATED = ("pairing_code", "log_in")
"""Kinds that go with the next run whenever they ended: that one is there now says nothing of the runs before."""


async def check_upkeep(database: Database, settings: Settings, now_ms: int) -> list[Finding]:
    """Every finding about it; the schema is this program's."""
    held = select(accounts.c.plan, func.count()).group_by(accounts.c.plan).order_by(accounts.c.plan)
    asked = select(erasures.c.requested_at).where(erasures.c.finished_at.is_(None)).order_by(erasures.c.requested_at)
    async with database.reading() as connection:
        plans = {str(row[0]): int(row[1]) for row in (await connection.execute(held)).all()}
        pending = list((await connection.execute(asked)).scalars())
    rules = settings.retention
    expiry, due_ms = Expiry(database), now_ms - RUNS_MISSED * rules.run_every_ms
    overdue = {kind: count for kind, count in (await expiry.count(due_ms, rules)).items() if kind not in _UNDATED}
    overdue["session"] = len(await expiry.stale_sessions(due_ms, rules, SESSIONS_COUNTED_MAX))
    return [
        *judge_plans(plans, settings.plans, settings.default_plan),
        *judge_erasures(pending, now_ms),
        judge_overdue(overdue, rules),
    ]


def judge_plans(held: Mapping[str, int], known: Mapping[str, object], default: str) -> Iterator[Finding]:
    """Every account has a plan that is configured."""
    unknown = [name for name in held if name not in known]
    for name in unknown[:NAMED_MAX]:
        yield warning(
            PLANS,
            f"{_many(held[name], 'account')} with the plan `{plain(name[:64])}`, which is not configured",
            f"They may what the default plan `{default}` allows.",
            f"add the table plans.{plain(name[:64])}, or: syncbridge account plan EMAIL {default}",
        )
    if len(unknown) > NAMED_MAX:
        yield warning(PLANS, f"{len(unknown) - NAMED_MAX} more unknown plans", "As above.", "as above")
    if not unknown:
        yield ok(
            PLANS, ", ".join(f"{name}: {_many(count, 'account')}" for name, count in held.items()) or "no accounts"
        )


def judge_erasures(pending: Sequence[int], now_ms: int) -> Iterator[Finding]:
    """Who asked to be erased is, soon."""
    if pending and now_ms - pending[0] > ERASURE_MS_MAX:
        yield problem(
            ERASURES,
            f"{_many(len(pending), 'erasure')} not finished, the oldest asked for at {moment(pending[0])}",
            "A person's data is still there, though they were told that it goes.",
            "start the service: it goes on with them; its log says what keeps it from that",
        )
    elif pending:
        yield ok(ERASURES, f"{_many(len(pending), 'erasure')} under way")


def judge_overdue(overdue: Mapping[str, int], rules: Retention) -> Finding:
    """What has had its time is gone within two runs of the job."""
    found = {kind: count for kind, count in overdue.items() if count}
    since = span(RUNS_MISSED * rules.run_every_ms)
    if not found:
        return ok(RETENTION, f"nothing is past its time by more than {since}")
    return warning(
        RETENTION,
        f"past their time by more than {since}: " + ", ".join(f"{kind} {count}" for kind, count in found.items()),
        "Data stays longer than the configuration says: the job did not run, or did not finish.",
        "syncbridge retention run; beside a running service look at its log",
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
