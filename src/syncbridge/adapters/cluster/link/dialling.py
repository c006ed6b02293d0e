"""How a connection to a Redis server begins: TCP or TLS, the log-in, and what the server says of itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Batch, Call, packed
from syncbridge.adapters.cluster.link.connection import Connection
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.ports import CredentialSource

_log = structlog.get_logger(__name__)

NAME = b"syncbridge"
MAJOR_MIN: Final = 7
"""Of Redis: sharded news, and what the scripts say. What speaks its protocol says which Redis it is like."""

ADVICE: Final = {
    "NOAUTH": "it wants a password, and there is none in redis_url, redis_password_file or vault.redis_path",
    "WRONGPASS": "correct it where it comes from: redis_url, redis_password_file or vault.redis_path",
    "NOPERM": "give the user the keys sb:*, the channels sb:* and the commands (ACL SETUSER, docs/security.md)",
}
"""What to do about an answer to the greeting, by how it begins."""


class CannotConnect(Exception):
    """No connection, or one that the server did not let in; the text says why."""


class ServerState(Struct, frozen=True):
    """What a server says of itself (INFO): ``run_id`` changes when it starts, ``replid`` with its history.

    ``mode`` is `standalone` or `cluster`, ``version`` that of Redis; "" where it does not tell.
    """

    run_id: str
    replid: str
    is_primary: bool
    is_loading: bool
    replicas_online: int
    mode: str = ""
    version: str = ""


def state_of(info: bytes) -> ServerState:
    """What the text of INFO says."""
    fields = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    replicas = [value for name, value in fields.items() if name.startswith("slave") and name[5:].isdecimal()]
    return ServerState(
        fields.get("run_id", ""),
        fields.get("master_replid", ""),
        fields.get("role") == "master",
        fields.get("loading", "0") != "0",
        sum("state=online" in replica.split(",") for replica in replicas),
        fields.get("redis_mode", ""),
        fields.get("redis_version", "").strip(),
    )


def refusal_of(address: Address, version: str, mode: str, *, is_cluster: bool) -> str:
    """Why a server that says this of itself is not used, and what to do; "" where it is. What it does not say is right.

    It is too old, or not of the kind that the URL says: then most slots, or all, would be somebody else's.
    """
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < MAJOR_MIN:
        return (
            f"{address} says that it is Redis {version}, and Redis {MAJOR_MIN} or newer is needed: "
            "upgrade it, or name another server in redis_url"
        )
    if mode == "cluster" and not is_cluster:
        return f"{address} is a server of a Redis Cluster: say redis+cluster:// (rediss+cluster://)"
    if mode == "standalone" and is_cluster:
        return f"{address} is no server of a Redis Cluster: say redis:// (rediss://)"
    return ""


INFO_WORDS = (b"INFO", b"server", b"replication", b"persistence")
INFO = packed(INFO_WORDS)


class Dialler:
    """Makes connections, by the credentials in force when it does."""

    def __init__(
        self,
        credentials: CredentialSource,
        tls: ssl.SSLContext | None,
        *,
        connect_timeout_s: float,
        is_cluster: bool = False,
    ) -> None:
        self._credentials = credentials
        self._tls = tls
        self._is_cluster = is_cluster
        self._timeout_s = connect_timeout_s

    async def dial(
        self, address: Address, connection: Connection, *, sources: Sequence[bytes] = (), protocol: int = 2
    ) -> ServerState:
        """The connection is open and logged in, and the server knows these scripts. Raises CannotConnect.

        Blocking  at most the time-out; a server that accepts and says nothing is one that cannot be reached.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                await loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if self._tls is not None else None,
                )
                return await self._greet(address, connection, sources, protocol)
        except TimeoutError:
            connection.abort("no answer to the greeting")
            over = " over TLS" if self._tls is not None else ""
            raise CannotConnect(f"{address} does not answer{over} within {self._timeout_s:g} s") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no resolver can be asked for
            raise CannotConnect(f"{address}: {error}") from error
        except BaseException:
            connection.abort("the greeting failed")
            raise

    def logged_in(self, answer: Answer) -> None:
        """What came of saying new credentials: a server that refuses them goes by the old ones."""
        if isinstance(answer, Failure) and answer.kind == "refused":
            _log.warning("redis_login_refused", reason=answer.text)

    def login(self) -> list[bytes]:
        """The words of AUTH; none where there is nothing to say."""
        credentials = self._credentials.current()
        if not credentials.password:
            return []
        user = [credentials.username.encode()] if credentials.username else []
        return [b"AUTH", *user, credentials.password.encode()]

    async def _greet(
        self, address: Address, connection: Connection, sources: Sequence[bytes], protocol: int
    ) -> ServerState:
        commands: list[bytes] = []
        if login := self.login():
            commands.append(packed(login))
        # First of all what it is: a server that is too old understands little of what follows.
        asked = len(commands)
        commands.append(INFO)
        if protocol == 3:
            commands.append(packed((b"HELLO", b"3")))
        commands.append(packed((b"CLIENT", b"SETNAME", NAME)))
        commands += [packed((b"SCRIPT", b"LOAD", source)) for source in sources]
        loop = asyncio.get_running_loop()
        answers: list[Answer] = []
        whole: asyncio.Future[None] = loop.create_future()

        def heard(answer: Answer) -> None:
            answers.append(answer)
            is_over = len(answers) == len(commands) or (len(answers) > asked and isinstance(answer, Failure))
            if is_over and not whole.done():
                whole.set_result(None)

        calls = [Call(-1, command, heard, True, loop.time()) for command in commands]
        connection.send(Batch(calls, sum(map(len, commands)), loop.time()))
        await whole
        info = answers[asked]
        state = state_of(info if isinstance(info, bytes) else b"")
        if refusal := refusal_of(address, state.version, state.mode, is_cluster=self._is_cluster):
            raise CannotConnect(refusal)
        for answer in answers:
            if isinstance(answer, Failure):
                said = answer.text[:120]
                advice = next((f" - {advice}" for begin, advice in ADVICE.items() if said.startswith(begin)), "")
                raise CannotConnect(f"{address} said: {said}{advice}")
        return state
