"""Vault, asked: one thread, a time-out on each question, logged in for as long as somebody asks.

Theory. hvac is synchronous, so all of it happens in one thread of its own, which also owns the token: nothing is
shared, nothing is locked, and the loop never waits. A token has a life; after two thirds of it it is renewed, and
where it cannot be (it is none that may, or nears the end of all renewals) a new log-in is made while the old token
is still good. What Vault leased to a token ends with that token. So a log-in is a new *generation*, and whoever
holds a lease of an old generation gets another while the old one lasts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

import hvac.exceptions as refusals
import requests
import structlog
from hvac.adapters import JSONAdapter
from msgspec import Struct
from msgspec.structs import replace

from syncbridge.adapters.cluster.vault.login import log_in_request
from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.keeping import RETRY_S, Standing
from syncbridge.secrets.rules import VaultRules

RENEW_AT: Final = 2 / 3
"""Of a life: early enough that a Vault that is away for a third of it is not noticed."""
LOG_IN_AGAIN_S: Final = 30.0
"""Between two log-ins because of a refusal: a policy that is missing must not make a token a second."""
_LOOK_S: Final = 60.0
_log = structlog.get_logger("syncbridge.vault")
T = TypeVar("T")
Json = dict[str, Any]


class _Token(Struct, frozen=True):
    """A token and its life; ``lasts_s`` 0 is for ever. ``whole_s`` is what it had when it was new."""

    text: str
    since_s: float
    lasts_s: float
    may_renew: bool
    whole_s: float

    def is_old(self, now_s: float) -> bool:
        return bool(self.lasts_s) and now_s >= self.since_s + self.lasts_s * RENEW_AT

    def has_ended(self, now_s: float) -> bool:
        return bool(self.lasts_s) and now_s >= self.since_s + self.lasts_s


class VaultClient:
    """Reads from and writes to one Vault.

    Blocking   every call is awaited; it ends within about three times ``timeout_ms``, whatever the other side does.
    Faults     SecretFault alone, named by its kind. Its text holds the path and the status, never an answer's body.
    Secrets    are in no text, log line or `repr` of this.
    """

    def __init__(
        self, address: str, rules: VaultRules, token: str = "", *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.address = address
        self.standing = Standing("vault_token", now_s)
        self.generation = 0
        self._rules = rules
        self._given = token
        self._now_s = now_s
        self._token: _Token | None = None
        self._refused_at_s = -LOG_IN_AGAIN_S
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vault")
        session = requests.Session()
        # Neither a proxy nor a .netrc nor certificates of the environment: what is asked is what is configured.
        session.trust_env = False
        session.verify = rules.ca_file or True
        self._http = JSONAdapter(
            base_uri=address,
            session=session,
            timeout=rules.timeout_ms / 1000,  # type: ignore[arg-type]  # of seconds; the stub says int
            namespace=rules.namespace or None,
            allow_redirects=False,  # it would carry the token to wherever the answer says
        )

    async def read(self, path: str, version: int | None = None) -> Json:
        """What Vault answers at this path. Raises SecretFault."""
        query = "" if version is None else f"?version={version}"
        return await self._in_thread(lambda: self._authorised("get", path, query))

    async def write(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """What Vault answers to this. Raises SecretFault."""
        return await self._in_thread(lambda: self._authorised("post", path, "", body))

    async def keep(self) -> float:
        """The token is good for a while; in how many seconds it is to be looked at again. Raises SecretFault."""
        return await self._in_thread(self._keep)

    @property
    def is_healthy(self) -> bool:
        """Whether the last look at the token went well."""
        return self.standing.fault is None

    def close(self) -> None:
        """Nothing is asked any more; the token is left to end by itself, for its leases may be in use still."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    # -- in the thread ------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        deadline_s = 3 * self._rules.timeout_ms / 1000
        try:
            # Each read of a socket has its time-out, but one that trickles gets by them.
            async with asyncio.timeout(deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise SecretFault("timeout", f"Vault at {self.address} did not answer within {deadline_s:g} s") from error

    def _keep(self) -> float:
        token = self._good_token()
        if token.is_old(self._now_s()):
            return RETRY_S  # it could not be replaced, which was told
        lasts_s = token.since_s + token.lasts_s - self._now_s() if token.lasts_s else None
        self.standing.had(lasts_s=lasts_s)
        return _LOOK_S if lasts_s is None else max(0.05, min(_LOOK_S, lasts_s - token.lasts_s * (1 - RENEW_AT)))

    def _authorised(self, verb: Literal["get", "post"], path: str, query: str, body: Any = None) -> Json:
        self._http.token = self._good_token().text
        try:
            return self._ask(verb, path, query, body)
        except SecretFault as fault:
            # The token may have been revoked, or Vault's storage put back from a copy that does not know it.
            now_s = self._now_s()
            if fault.kind != "denied" or now_s - self._refused_at_s < LOG_IN_AGAIN_S:
                raise
            self._refused_at_s = now_s
        self._http.token = self._log_in().text
        return self._ask(verb, path, query, body)

    def _good_token(self) -> _Token:
        token, now_s = self._token, self._now_s()
        if token is None or token.has_ended(now_s):
            return self._log_in()
        if not token.is_old(now_s):
            return token
        try:
            renewed = self._renew(token) if token.may_renew else None
            # Near the end of all renewals each gives less: then a new log-in, while this token still holds its leases.
            if renewed is not None and renewed.lasts_s > token.whole_s * RENEW_AT:
                self._token = replace(renewed, whole_s=token.whole_s)
                return self._token
            return self._log_in()
        except SecretFault as fault:
            self.standing.failed(fault)
            return token

    def _renew(self, token: _Token) -> _Token | None:
        self._http.token = token.text
        try:
            return self._taken(self._ask("post", "auth/token/renew-self"))
        except SecretFault as fault:
            if fault.is_away:
                raise
            return None  # past its longest life Vault answers 400 or 500, by its version

    def _log_in(self) -> _Token:
        request = log_in_request(self._rules, self._given)
        self._http.token = None
        try:
            if isinstance(request, str):
                # A token's own life is looked up; a root token, and one that never ends, say 0.
                self._http.token = request
                found = self._ask("get", "auth/token/lookup-self").get("data") or {}
                lasts_s = float(found.get("ttl") or 0)
                token = _Token(request, self._now_s(), lasts_s, bool(found.get("renewable", False)), lasts_s)
            else:
                token = self._taken(self._ask("post", f"auth/{self._rules.login_path}/login", body=request))
        except SecretFault as fault:
            if fault.is_passing or fault.kind in ("untrusted", "log_in"):
                raise
            raise SecretFault("log_in", f"Vault at {self.address} refused the log-in: {self._advice()}") from fault
        if self._token is None or token.text != self._token.text:
            self.generation += 1
            if self.generation > 1:
                _log.info("logged in at Vault anew", method=self._rules.method, lasts_s=round(token.lasts_s))
        self._token = token
        return token

    def _taken(self, answer: Json) -> _Token:
        auth = answer.get("auth") or {}
        text, lasts_s = auth.get("client_token"), auth.get("lease_duration")
        if not isinstance(text, str) or not text or not isinstance(lasts_s, int):
            raise SecretFault("malformed", f"Vault at {self.address} answered a log-in without a token")
        return _Token(text, self._now_s(), float(lasts_s), bool(auth.get("renewable", False)), float(lasts_s))

    def _advice(self) -> str:
        rules = self._rules
        if rules.method == "approle":
            return f"vault.role_id is unknown, or the secret id in {rules.secret_id_file} is used up or ended"
        if rules.method == "kubernetes":
            return f"role {rules.kubernetes_role} is unknown, or not bound to this service account and namespace"
        return "the token is unknown, ended or revoked"

    def _ask(self, verb: Literal["get", "post"], path: str, query: str = "", body: Any = None) -> Json:
        where = f"{path} of Vault at {self.address}"
        try:
            answer = (
                self._http.get(f"/v1/{path}{query}") if verb == "get" else self._http.post(f"/v1/{path}", json=body)
            )
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: their texts may hold what was sent
            raise _fault_of(error, where, self.address) from None
        if isinstance(answer, dict):
            return answer
        if answer.status_code == 204:
            return {}
        if answer.is_redirect:
            raise SecretFault("failing", f"{where} redirects elsewhere; name the active node, or what stands before it")
        raise SecretFault("malformed", f"{where} did not answer as Vault does; is vault_addr right?")


def _fault_of(error: Exception, where: str, address: str) -> SecretFault:
    match error:
        case requests.exceptions.SSLError():
            return SecretFault(
                "untrusted", f"the certificate of Vault at {address} is not trusted; vault.ca_file names its authority"
            )
        case requests.exceptions.Timeout():
            return SecretFault("timeout", f"Vault at {address} did not answer in time: it is slow, frozen or cut off")
        case requests.exceptions.RequestException():
            return SecretFault("unreachable", f"nobody answers for Vault at {address}")
        case refusals.Forbidden() | refusals.Unauthorized():
            return SecretFault("denied", f"the policy does not allow {where} (403)")
        case refusals.InvalidPath():
            return SecretFault("missing", f"there is nothing at {where} (404)")
        case refusals.VaultDown():
            return SecretFault("sealed", f"Vault at {address} is sealed, or has no active node (503); unseal it")
        case refusals.VaultNotInitialized():
            return SecretFault("failing", f"Vault at {address} is not initialised (501)")
        case refusals.InvalidRequest():
            return SecretFault("malformed", f"{where} refuses what it was sent (400): is the role right?")
        case refusals.VaultError():
            return SecretFault("failing", f"{where} cannot be had now: it fails, or is asked too often (429, 5xx)")
        case OSError():
            return SecretFault("untrusted", "vault.ca_file cannot be read, or holds no certificate")
    return SecretFault("failing", f"{where} could not be asked: {type(error).__name__}")
