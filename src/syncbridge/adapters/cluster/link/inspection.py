"""Redis as an onlooker sees it: how its servers are set up, read once, through a connection of its own."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from syncbridge.adapters.cluster.link.address import Address, place_of
from syncbridge.adapters.cluster.link.dialling import ADVICE, refusal_of
from syncbridge.adapters.cluster.trust import trusting
from syncbridge.ports import Credentials, CredentialSource

ANSWER_S: Final = 3.0
_SETTINGS: Final = ("maxmemory-policy", "appendonly", "client-output-buffer-limit", "min-replicas-to-write")


class Inspected(Struct, frozen=True):
    """One server. ``settings`` are empty where it does not tell them (a managed Redis); ``fault`` says why no more is
    known, ``advice`` what to do about it where that is known; ``refusal`` why a node does not use it. ``cluster_state``
    is "" outside a cluster; ``clock_off_ms`` is how far its clock is ahead of this machine's, beyond what asking took.
    """

    address: str
    fault: str = ""
    advice: str = ""
    refusal: str = ""
    version: str = ""
    role: str = ""
    replicas: int = 0
    settings: dict[str, str] = {}
    cluster_state: str = ""
    slots: int = 0
    clock_off_ms: int = 0


class _Way(Struct, frozen=True):
    """How each server is come to."""

    login: Credentials
    is_secure: bool
    is_cluster: bool
    ca_file: str

    def client(self, address: Address) -> Redis:
        return Redis(
            host=address.host,
            port=address.port,
            username=self.login.username or None,
            password=self.login.password or None,
            ssl=self.is_secure,
            ssl_ca_certs=self.ca_file or None,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
        )


async def inspect_redis(url: str, credentials: CredentialSource | None = None, *, ca_file: str = "") -> list[Inspected]:
    """Every server that the URL leads to; of a cluster all that the first who answers knows.

    ``ca_file`` as in `RedisLink.open`. Raises BadUrl, CannotTrust.
    """
    place = place_of(url)
    if place.is_secure:
        trusting(ca_file)  # judged here: the library would say of each server that it cannot be reached
    way = _Way(
        place.credentials if credentials is None else credentials.current(), place.is_secure, place.is_cluster, ca_file
    )
    addresses = list(place.seeds)
    if place.is_cluster:
        for seed in place.seeds:
            found = await _members(seed, way)
            if found:
                addresses = found
                break
    return list(await asyncio.gather(*(_inspect(address, way) for address in addresses)))


async def _members(seed: Address, way: _Way) -> list[Address]:
    """The cluster's servers, as this one tells; none where it does not answer."""
    try:
        async with way.client(seed) as client:
            nodes: Any = await client.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
    except (RedisError, OSError, TimeoutError):
        return []
    places = (place.rpartition(":") for place, told in nodes.items() if "noaddr" not in told["flags"])
    return sorted(Address(host or seed.host, int(port)) for host, _, port in places)


async def _inspect(address: Address, way: _Way) -> Inspected:
    try:
        async with way.client(address) as client:
            told: Any = await client.info()
            settings: dict[str, str] = {}
            for name in _SETTINGS:
                try:
                    settings |= {_text(key): _text(value) for key, value in (await client.config_get(name)).items()}
                except ResponseError:  # a managed Redis does not tell
                    break
            clock_off_ms = await _clock_off_ms(client)
            cluster = await _cluster_info(client) if told.get("cluster_enabled") else {}
    except (RedisError, OSError, TimeoutError) as error:
        return Inspected(str(address), fault=str(error) or type(error).__name__, advice=_advice_for(error, way.login))
    version = str(told.get("redis_version", ""))
    followers = [value for key, value in told.items() if key.startswith("slave") and isinstance(value, dict)]
    return Inspected(
        str(address),
        refusal=refusal_of(address, version, str(told.get("redis_mode", "")), is_cluster=way.is_cluster),
        version=version,
        role=str(told["role"]),
        replicas=sum(one.get("state") == "online" for one in followers),
        settings=settings,
        cluster_state=cluster.get("cluster_state", ""),
        slots=int(cluster.get("cluster_slots_ok", 0)),
        clock_off_ms=clock_off_ms,
    )


def _advice_for(error: Exception, login: Credentials) -> str:
    # The library takes the word away by which a server begins, and makes a class of it.
    if isinstance(error, AuthenticationError):
        return ADVICE["WRONGPASS" if login.password else "NOAUTH"]
    return ADVICE["NOPERM"] if isinstance(error, NoPermissionError) else ""


async def _clock_off_ms(client: Redis) -> int:
    asked_s = time.time()
    seconds, micros = await client.time()
    answered_s, told_s = time.time(), float(seconds) + float(micros) / 1e6
    if told_s > answered_s:
        return round((told_s - answered_s) * 1000)
    return round(min(0.0, told_s - asked_s) * 1000)


async def _cluster_info(client: Redis) -> dict[str, str]:
    told: Any = await client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    if isinstance(told, dict):
        return {_text(key): _text(value) for key, value in told.items()}
    pairs = (line.partition(":") for line in _text(told).split("\r\n"))
    return {key: value for key, colon, value in pairs if colon}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
