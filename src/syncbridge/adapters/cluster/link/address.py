"""Where Redis is, as its URL says it.

``redis://[[user]:password@]host:port[/0]`` is one server (or a primary with replicas), ``redis+cluster://`` with one
or more ``host:port``, separated by commas, a cluster that is known by these; ``rediss`` is the same over TLS.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from syncbridge.ports import Credentials

SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster")
PORT = 6379


class Address(NamedTuple):
    """One server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class BadUrl(ValueError):
    """The URL names no Redis; the text says what is wrong, and never shows a password."""


class Place(Struct, frozen=True):
    """What a URL says."""

    seeds: tuple[Address, ...]
    credentials: Credentials
    is_cluster: bool
    is_secure: bool


def place_of(url: str) -> Place:
    """The place that the URL names. Raises BadUrl."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise BadUrl(f"a Redis URL begins with one of {', '.join(f'{one}://' for one in SCHEMES)}")
    authority, slash, tail = rest.partition("/")
    if slash and tail not in ("", "0"):
        raise BadUrl("a Redis URL ends after its port or with /0: other databases do not exist in a cluster")
    login, _, hosts = authority.rpartition("@")
    if "?" in hosts or "#" in hosts:
        # Not repeated: other programs take a password there.
        raise BadUrl("a Redis URL ends after its port or with /0: the password stands before the host, as :PASSWORD@")
    username, _, password = login.partition(":")
    seeds = tuple(_address(host) for host in hosts.split(","))
    is_cluster = scheme.endswith("+cluster")
    if len(seeds) > 1 and not is_cluster:
        raise BadUrl(f"{scheme}:// names one server; several are a cluster's: {scheme}+cluster://")
    return Place(seeds, Credentials(unquote(username), unquote(password)), is_cluster, scheme.startswith("rediss"))


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port if parts.port is not None else PORT
    except ValueError as error:
        raise BadUrl(f"{text!r} is no host and port: {error}") from None
    if not parts.hostname or parts.path or not 0 < port < 65536:
        raise BadUrl(f"{text!r} is no host and port, as in 127.0.0.1:6379")
    return Address(parts.hostname, port)
