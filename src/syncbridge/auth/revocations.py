"""What is refused before its time: in memory for every check, in the table for every process.

Theory. A check must ask nobody, so every process holds all revocations in force; there are few, for each ends with
the last token that it covers. Whoever revokes writes memory first and the table second: here it holds at once, and
elsewhere as soon as the others ask for what is new, about once a second. The order of the rows is that of their
writing, not that of anybody's clock, and each question reaches back a little, now and then further, for a database
that commits two rows in another order than it numbered them.

A revocation outlives the tokens that it covers by the clock that they were issued by: a token is good until its end
as each process' own clock says, and so is what refuses it. A process that is ahead issues tokens that are of no use to
the others until they are there, and that would outlive a revocation by the right clock; but with each it writes a
refresh token, whose end tells how far ahead it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from syncbridge.auth.access import Claims
from syncbridge.auth.compact import CLOCKS_APART_MS
from syncbridge.auth.rules import AuthRules
from syncbridge.core.ids import AccountId
from syncbridge.ports import Clock, Identity
from syncbridge.records import Records
from syncbridge.records.revocations import FOR_EVER, Revocation

OVERLAP: Final = 5_000
"""So far each question reaches back: longer than a commit takes."""
LONG_OVERLAP: Final = 120_000
LONG_EVERY_MS: Final = 30_000
"""One in so long reaches back further: for a database that stood still in the middle of a commit."""
PURGE_EVERY_MS: Final = 60_000

RevocationListener = Callable[[AccountId | None], object]
"""Told that tokens are refused now which were not: of this account, or of anybody."""


class Revocations:
    """Every revocation in force.

    Blocking   `covers` asks nobody.
    Order      listeners are told after the memory holds it, and before the table does: nothing live waits for a disk.
    """

    def __init__(self, records: Records, clock: Clock, rules: AuthRules) -> None:
        self._records = records
        self._clock = clock
        self._rules = rules
        self._held: dict[str, Revocation] = {}
        self._written = 0
        self._purged_at = 0
        self._reached_back_at = 0
        self._listeners: list[RevocationListener] = []

    def follow(self, listener: RevocationListener) -> None:
        """The listener is told after each revocation, made here or by another process."""
        self._listeners.append(listener)

    def covers(self, identity: Claims | Identity) -> bool:
        """Whether the token that says this is refused."""
        held = self._held
        if not held:
            return False
        if f"jti:{identity.token_id}" in held or (identity.family and f"family:{identity.family}" in held):
            return True
        whole = held.get(f"account:{identity.account}")
        if whole is None or whole.kept == (identity.family or identity.token_id):
            return False
        # An outside issuer's token is of no log-in of ours: it is judged by when it was issued.
        return (identity.login_at if identity.family else identity.issued_at) <= whole.before

    def is_gone(self, account: AccountId) -> bool:
        """Whether the account is refused for ever."""
        whole = self._held.get(f"account:{account}")
        return whole is not None and whole.before >= FOR_EVER

    def covers_person(self, issuer: str, subject: str, issued_at: int) -> bool:
        """Whether the token at ``issued_at`` of somebody outside is from before their account was erased."""
        held = self._held.get(f"identity:{person_digest(issuer, subject)}")
        return held is not None and issued_at <= held.before

    async def refuse(self, subject: str, until: int, *, account: AccountId | None = None, before: int = 0) -> None:
        """The subject is refused from now on; the account, where it is known, saves the listeners a search."""
        revocation = Revocation(subject, until, before)
        self._hold(revocation)
        self.tell(account)
        revocation = await self.covering(revocation)
        self._hold(await self._records.revocations.add(revocation, self._clock.now_ms()))

    async def end_logins(self, account: AccountId, revocation: Revocation) -> None:
        """Every log-in of the account that the revocation covers is ended."""
        self._hold(revocation)
        self.tell(account)
        revocation = await self.covering(revocation)
        self.ended(account, await self._records.revocations.end_logins(revocation, account, self._clock.now_ms()))

    async def covering(self, revocation: Revocation) -> Revocation:
        """It lasts until the last token that it covers is void, also one of a process whose clock is ahead."""
        if not revocation.subject.startswith(("family:", "account:")):
            return revocation  # of one token, whose end is known; of outside tokens, issued by no clock of ours
        issued_at = await self._records.tokens.ends_at(revocation.subject) - self._rules.refresh_token_ms
        until = issued_at + self._rules.access_token_ms + CLOCKS_APART_MS
        return replace(revocation, expires_at=max(revocation.expires_at, until))

    def ended(self, account: AccountId, revocation: Revocation) -> None:
        """The row stands in the table: it is in force here."""
        self._held[revocation.subject] = revocation
        self.tell(account)

    async def catch_up(self) -> list[AccountId]:
        """What other processes revoked holds here too, and listeners were told.

        Answers whose devices changed, by whatever process.
        """
        now_ms = self._clock.now_ms()
        self._purge(now_ms)
        changed: list[AccountId] = []
        accounts: set[AccountId | None] = set()
        after = self._written - self._overlap(now_ms)
        rows = await self._records.revocations.since(after, now_ms)
        if rows:
            newest = rows[-1].written
            self._written = max(self._written, newest) if newest > after else newest  # else the order began anew
        for row in rows:
            held = self._held.get(row.subject)
            if held is not None and (held == row or held.before > row.before):
                continue  # known, or older than one that is being written here and holds already
            self._held[row.subject] = row
            kind, _, name = row.subject.partition(":")
            if kind == "roster":
                changed.append(AccountId(name))
            elif held is None or replace(held, written=0) != replace(row, written=0):
                accounts.add(AccountId(name) if kind == "account" else None)
        for account in (None,) if None in accounts else accounts:
            self.tell(account)
        return changed

    def _hold(self, revocation: Revocation) -> None:
        self._held[revocation.subject] = revocation.joined(self._held.get(revocation.subject))

    def tell(self, account: AccountId | None) -> None:
        """Listeners look again at what is live: of this account, or of all."""
        for listener in self._listeners:
            listener(account)

    def _overlap(self, now_ms: int) -> int:
        if 0 <= now_ms - self._reached_back_at < LONG_EVERY_MS:
            return OVERLAP
        self._reached_back_at = now_ms
        return LONG_OVERLAP

    def _purge(self, now_ms: int) -> None:
        if now_ms - self._purged_at < PURGE_EVERY_MS:
            return
        self._purged_at = now_ms
        for subject in [known for known, row in self._held.items() if row.expires_at <= now_ms]:
            del self._held[subject]


def person_digest(issuer: str, subject: str) -> str:
    """Somebody at an outside issuer, as a name that does not tell who."""
    return hashlib.sha256(f"{issuer}\0{subject}".encode("utf-8", "surrogatepass")).hexdigest()
