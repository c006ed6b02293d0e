"""Who somebody is: log-in, tokens and their revocation, one-time codes."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from msgspec import Struct

from syncbridge.auth.access import AccessTokens, Claims
from syncbridge.auth.compact import CLOCKS_APART_MS
from syncbridge.auth.fetching import fetch
from syncbridge.auth.keyring import KeyRing
from syncbridge.auth.keysets import KeySet
from syncbridge.auth.outside import OutsideTokens
from syncbridge.auth.passwords import Passwords
from syncbridge.auth.plans import Plans
from syncbridge.auth.reading import TokenReader
from syncbridge.auth.revocations import Revocations, person_digest
from syncbridge.auth.rosters import Rosters, require_present
from syncbridge.auth.rotation import Rotation
from syncbridge.auth.rules import AuthRules, IssuerRules
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import BadCredentials, TokenExpired, TokenInvalid, TokenRevoked, ValidationFailed
from syncbridge.limits import Limits
from syncbridge.ports import Clock, Identity, KeySource
from syncbridge.records import Account, Family, Records, Revocation
from syncbridge.records.identities import shown_email
from syncbridge.records.ids import new_id
from syncbridge.records.revocations import FOR_EVER

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")
_REFRESH_PREFIX = "rt_"
_CODE_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"  # no I, L, O, U: read aloud and typed without mistakes
_log = structlog.get_logger("syncbridge.auth")
FETCHES_MAX = 2  # key sets under way at once; a slow issuer holds one thread
_CODE_CHARS = 10  # 50 bits, for five minutes


class Grant(Struct, frozen=True):
    """A pair of tokens and what it is bound to."""

    access_token: str
    refresh_token: str
    claims: Claims


class Authority:
    """Issues, checks and revokes tokens.

    Alike      a wrong password and an unknown address give the same answer after the same work.
    Families   all tokens of one log-in form a family; a refresh token used twice revokes it.
    Revoked    is refused at once here and after a restart, and by other processes when they `catch_up`.
    """

    def __init__(
        self,
        records: Records,
        ring: KeyRing,
        rules: AuthRules,
        limits: Limits,
        clock: Clock,
        plans: Plans | None = None,
        issuers: Sequence[IssuerRules] = (),
        *,
        rotates: bool = True,
    ) -> None:
        """``rotates`` is False where the ring's keys are not those of the records: whoever keeps them replaces them."""
        self.plans = plans or Plans()
        self.rosters = Rosters(records, clock, self.plans)
        self.rules = rules
        self.ring = ring
        self.rotation = Rotation(records.keys, rules, clock)
        self._rotates = rotates
        self._signs = ring.current().kid
        self._records = records
        self._access = AccessTokens(ring, issuer=rules.issuer, audience=rules.audience)
        self._clock = clock
        self._pairing_code_ms = limits.pairing_code_ms
        self.revocations = Revocations(records, clock, rules)
        self._changed: dict[AccountId, None] = {}
        self._fetching = ThreadPoolExecutor(FETCHES_MAX, thread_name_prefix="jwks")
        self.outside = {one.issuer: self._open_issuer(one) for one in issuers}
        self._reader = TokenReader({**self.outside, rules.issuer: self._access}, clock)
        self._passwords = Passwords(
            time_cost=rules.argon2_time_cost,
            memory_kib=rules.argon2_memory_kib,
            parallelism=rules.argon2_parallelism,
            waiting_max=rules.argon2_waiting_max,
        )

    @property
    def passwords_pending(self) -> int:
        """Log-ins whose password is being worked on, or waits for that."""
        return self._passwords.pending

    # -- accounts and log-ins -----------------------------------------------------------------------------------

    async def create_account(self, email: str, password: str, plan: str = "") -> Account:
        """The account exists, with this plan or the default one. Raises ValidationFailed, AccountExists."""
        address = normal_email(email)
        if shown_email(address) is None:
            raise ValidationFailed("email: expected an address at which somebody can be reached")
        self._judge_password(password)
        plan = self.plans.require(plan or self.plans.default)
        password_hash = await self._passwords.hash(password)
        account = Account(AccountId(new_id("acc")), address, self._clock.now_ms(), plan)
        await self._records.accounts.add(account, password_hash)
        return account

    async def log_in(self, email: str, password: str, device: DeviceId | None = None) -> Grant:
        """A new family of tokens, bound to the device where one is named. Raises BadCredentials."""
        try:
            address = normal_email(email)
        except ValidationFailed:
            address = ""
        found = await self._records.accounts.credentials(address)
        stored = found[1] if found else None
        if not await self._passwords.verify(stored, password[: self.rules.password_chars_max + 1]) or found is None:
            raise BadCredentials
        account, password_hash = found
        if self._passwords.is_outdated(password_hash):
            newer = await self._passwords.hash(password)
            await self._records.accounts.renew_hash(account.id, password_hash, newer)
            password_hash = newer
        return await self.begin(account.id, device, password_hash=password_hash)

    async def begin(
        self, account: AccountId, device: DeviceId | None = None, *, password_hash: str | None = None
    ) -> Grant:
        """A new family of tokens for an account whose owner is known to be there.

        Raises BadCredentials when the account is gone, or has another password than that of this hash by now.
        """
        now_ms = self._clock.now_ms()
        refresh = _new_refresh()
        family = await self._records.tokens.begin(
            Family(new_id("fam"), account, now_ms, device),
            digest(refresh),
            now_ms + self.rules.refresh_token_ms,
            password_hash=password_hash,
        )
        if family is None:
            raise BadCredentials
        return self._grant(family, refresh)

    async def change_password(self, claims: Claims, current: str, new: str) -> None:
        """The new password is in force, and every log-in but the caller's is ended.

        Raises BadCredentials when ``current`` is not the password, ValidationFailed when ``new`` cannot be one.
        """
        self._judge_password(new)
        found = await self._records.accounts.credentials_of(claims.account)
        stored = found[1] if found else None
        if not await self._passwords.verify(stored, current[: self.rules.password_chars_max + 1]) or stored is None:
            raise BadCredentials
        password_hash = await self._passwords.hash(new)
        now_ms = self._clock.now_ms()
        revocation = await self.revocations.covering(self._whole(claims.account, now_ms, claims))
        row = await self._records.accounts.change_password(claims.account, stored, password_hash, revocation, now_ms)
        if row is None:
            raise BadCredentials
        self.revocations.ended(claims.account, row)

    async def refresh(self, refresh_token: str) -> Grant:
        """The next pair of the family; the token given is used up. Raises TokenInvalid, TokenRevoked, TokenExpired."""
        now_ms = self._clock.now_ms()
        successor = _new_refresh()
        family = await self._records.tokens.rotate(
            digest(refresh_token), digest(successor), expires_at=now_ms + self.rules.refresh_token_ms, now_ms=now_ms
        )
        if isinstance(family, str):
            await self._refuse(f"family:{family}")
            raise TokenRevoked("This refresh token was used before, so its log-in is ended; log in again.")
        if family.device is not None:
            require_present(await self.rosters.get(family.account), family.device, family.login_at)
        return self._grant(family, successor)

    # -- checking -----------------------------------------------------------------------------------------------

    def at_once(self, token: str) -> Claims | None:
        """What the access token says; None when somebody must be asked, so that only `look_up` can tell.

        Blocking   asks nobody. Raises TokenInvalid, TokenRevoked, TokenExpired.
        """
        claims = self._reader.read(token)
        if claims is not None:
            self.require_good(claims)
        return claims

    def verify(self, token: str) -> Claims:
        """`at_once`, where what cannot be told at once is refused. Raises TokenInvalid, TokenRevoked, TokenExpired."""
        claims = self.at_once(token)
        if claims is None:
            raise TokenInvalid
        return claims

    async def look_up(self, token: str) -> Claims:
        """What the access token says, after asking whoever may know. Raises Unavailable too."""
        claims = await self._reader.look_up(token)
        self.require_good(claims)
        return claims

    async def identify(self, token: str) -> Claims:
        """`look_up`, and the device that the token is bound to was not removed since. Raises DeviceUnknown too."""
        claims = self.at_once(token) or await self.look_up(token)
        if claims.device is not None:
            require_present(await self.rosters.get(claims.account), claims.device, claims.login_at)
        return claims

    def require_good(self, claims: Claims | Identity) -> None:
        """Whoever was checked before is still good. Raises TokenRevoked; TokenInvalid when the key was retired."""
        if self.revocations.covers(claims):
            raise TokenRevoked
        if claims.family and self.ring.find(claims.kid) is None:
            raise TokenInvalid("The key of this token is retired; get a new token.")

    async def refresh_keys(self) -> None:
        """The keys are those of the source, a new one was made if it was time, and listeners were told of a change."""
        if self._rotates:
            await self.rotation.rotate_when_due()
        if await self.ring.refresh():
            self.revocations.tell(None)
        kid = self.ring.current().kid
        if kid != self._signs:
            self._signs = kid
            _log.info("another key signs from now on", kid=kid)

    # -- revoking -----------------------------------------------------------------------------------------------

    async def revoke(self, token: str) -> bool:
        """The token is refused from now on, a refresh token with its whole family; False when it was none of ours."""
        if token.startswith(_REFRESH_PREFIX):
            family = await self._records.tokens.family_of(digest(token))
            if family is None:
                return False
            await self._records.tokens.revoke_family(family.id, self._clock.now_ms())
            await self._refuse(f"family:{family.id}", family.account)
            return True
        try:
            claims = self.at_once(token) or await self.look_up(token)
        except (TokenInvalid, TokenRevoked, TokenExpired):
            return False
        await self._refuse(f"jti:{claims.token_id}", claims.account)
        return True

    async def revoke_account(self, account: AccountId, *, kept: Claims | None = None, for_ever: bool = False) -> None:
        """Every token of the account from log-ins until now is refused, refresh tokens and one-time codes too.

        ``kept`` is a token whose log-in stays. A log-in after this moment is good again; ``for_ever`` refuses those
        as well: the account is going away.
        """
        now_ms = self._clock.now_ms()
        await self.revocations.end_logins(account, self._whole(account, now_ms, kept, for_ever=for_ever))
        if for_ever:
            # Who comes from outside may have an account again, but not by a token from before.
            for issuer, subject in await self._records.identities.of_account(account):
                person = f"identity:{person_digest(issuer, subject)}"
                await self.revocations.refuse(person, self._until(), account=account, before=now_ms)

    async def remove_device(self, account: AccountId, device: DeviceId) -> None:
        """The device is removed, and no token bound to it works any more. Raises DeviceUnknown."""
        await self.rosters.remove(account, device)
        for family in await self._records.tokens.revoke_device(account, device, self._clock.now_ms()):
            await self._refuse(f"family:{family}", account)

    async def catch_up(self) -> None:
        """What other processes revoked, and whose devices they changed, holds here too; listeners were told."""
        self._changed.update(dict.fromkeys(await self.revocations.catch_up()))
        for account in list(self._changed):
            # Told of once: an account whose roster cannot be read now is read the next time.
            roster = await self._records.devices.roster(account)
            self._changed.pop(account, None)
            self.rosters.changed(account, roster)
        self.rosters.heard()

    async def load(self) -> None:
        """What was revoked before this process began is refused."""
        await self.revocations.catch_up()

    async def _refuse(self, subject: str, account: AccountId | None = None) -> None:
        await self.revocations.refuse(subject, self._until(), account=account)

    def _whole(self, account: AccountId, now_ms: int, kept: Claims | None, *, for_ever: bool = False) -> Revocation:
        if for_ever:
            return Revocation(f"account:{account}", FOR_EVER, FOR_EVER)
        stays = None if kept is None else kept.family or kept.token_id
        return Revocation(f"account:{account}", self._until(), now_ms, stays)

    def _until(self) -> int:
        """When the last access token that was issued by now is void anyway; see `Revocations.covering`."""
        lasts_ms = max(self.rules.access_token_ms, self.rules.outside_token_ms_max if self.outside else 0)
        return self._clock.now_ms() + lasts_ms + CLOCKS_APART_MS

    def _open_issuer(self, rules: IssuerRules) -> OutsideTokens:
        async def fetched() -> bytes:
            return await fetch(rules.jwks_url, self._fetching, timeout_ms=self.rules.jwks_timeout_ms)

        keys = KeySet(rules, self.rules, self._clock, fetched)
        return OutsideTokens(rules, self.rules, keys, self._records, self.revocations)

    # -- one-time codes -----------------------------------------------------------------------------------------

    async def new_code(self, claims: Claims, session: SessionId) -> tuple[str, int]:
        """A code like ``ABCDE-12345`` for one new device in one session, and when it ends (ms). Raises TokenRevoked."""
        now_ms = self._clock.now_ms()
        expires_at = now_ms + self._pairing_code_ms
        code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_CHARS))
        await self._records.pairing.add(
            digest(code), account=claims.account, session=session, expires_at=expires_at, now_ms=now_ms
        )
        # Whoever was thrown out meanwhile does not get to know it: the codes that went then did not include this one.
        self.require_good(claims)
        return f"{code[:5]}-{code[5:]}", expires_at

    async def redeem(self, code: str, device: DeviceInfo) -> Grant:
        """Tokens bound to the device and the code's session; the device is registered.

        Raises CodeInvalid, DeviceLimit (the code is still good then).
        """
        now_ms = self._clock.now_ms()
        refresh = _new_refresh()
        redeemed = await self._records.pairing.redeem(
            digest(normal_code(code)),
            device,
            family_id=new_id("fam"),
            refresh_digest=digest(refresh),
            refresh_expires_at=now_ms + self.rules.refresh_token_ms,
            devices_max=self.plans.devices_max,
            now_ms=now_ms,
        )
        self.rosters.changed(redeemed.family.account, redeemed.roster)
        return self._grant(redeemed.family, refresh)

    async def is_password_of(self, account: AccountId, password: str) -> bool:
        """Whether this is the account's password; False after the same work where there is no such account."""
        found = await self._records.accounts.get(account)
        held = None if found is None else await self._records.accounts.credentials(found.email)
        stored = None if held is None else held[1]
        return await self._passwords.verify(stored, password[: self.rules.password_chars_max + 1])

    def close(self) -> None:
        """The threads of the password hashing and of the fetching end."""
        self._passwords.close()
        self._fetching.shutdown(wait=False, cancel_futures=True)

    def _grant(self, family: Family, refresh_token: str) -> Grant:
        now_ms = self._clock.now_ms()
        claims = Claims(
            family.account,
            new_id("jti"),
            family.id,
            (now_ms + self.rules.access_token_ms) // 1000 * 1000,
            family.login_at,
            family.device,
            family.session,
        )
        return Grant(self._access.issue(claims, now_ms), refresh_token, claims)

    def _judge_password(self, password: str) -> None:
        if not self.rules.password_chars_min <= len(password) <= self.rules.password_chars_max:
            raise ValidationFailed(
                f"password: expected {self.rules.password_chars_min} to {self.rules.password_chars_max} characters, "
                f"got {len(password)}"
            )


async def open_authority(
    records: Records,
    rules: AuthRules,
    limits: Limits,
    clock: Clock,
    plans: Plans | None = None,
    issuers: Sequence[IssuerRules] = (),
    keys: KeySource | None = None,
) -> Authority:
    """The authority over these records; the first start makes the signing key, unless ``keys`` come from elsewhere.

    Raises   Unavailable; also where there is no key in force.
    """
    if keys is None:
        await records.keys.ensure(clock.now_ms())
    ring = KeyRing(records.keys if keys is None else keys, clock)
    await ring.refresh()
    ring.current()
    authority = Authority(records, ring, rules, limits, clock, plans, issuers, rotates=keys is None)
    await authority.load()
    return authority


def normal_email(email: str) -> str:
    """The form in which addresses are compared. Raises ValidationFailed."""
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise ValidationFailed("email: expected an address like name@example.com")
    return address


def normal_code(code: str) -> str:
    """The code without what people add or mistake: case, spaces, dashes, O for 0, I and L for 1."""
    return re.sub(r"[\s-]", "", code.upper()).translate(str.maketrans("OIL", "011"))


def digest(secret: str) -> bytes:
    """What is stored of a random secret. Plain SHA-256: there is nothing to guess in 50 bits or more that last minutes,
    or in 256 that last a month."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _new_refresh() -> str:
    return _REFRESH_PREFIX + secrets.token_urlsafe(32)
