"""Which server has which slots, as a cluster's server says it (CLUSTER SHARDS)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from syncbridge.adapters.cluster.link.address import Address


class Shard(Struct, frozen=True):
    """A primary, the slots that it has (first and last, both included), and who follows it."""

    primary: Address
    slots: tuple[tuple[int, int], ...]
    replicas: tuple[Address, ...] = ()


def shards_of(answer: Any, said_by: Address, *, is_secure: bool) -> list[Shard]:
    """The shards that have slots; none where the answer is not of the shape that Redis documents.

    A server that does not know its own name ("" or "?") is at the address that was asked.
    """
    try:
        found = [_shard(_fields(shard), said_by, is_secure) for shard in answer]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return [shard for shard in found if shard is not None]


def _shard(shard: dict[bytes, Any], said_by: Address, is_secure: bool) -> Shard | None:
    bounds = [int(bound) for bound in shard[b"slots"]]
    slots = tuple((first, last) for first, last in zip(bounds[::2], bounds[1::2], strict=True))
    nodes = [_fields(node) for node in shard[b"nodes"]]
    primaries = [node for node in nodes if node[b"role"] == b"master"]
    if not slots or not primaries:
        return None
    if not all(0 <= first <= last < 16_384 for first, last in slots):
        raise ValueError("slots out of range")
    # Right after a failover the old primary may still be named beside the new one.
    primary = min(primaries, key=lambda node: node.get(b"health") != b"online")
    replicas = [node for node in nodes if node is not primary]
    return Shard(
        _address(primary, said_by, is_secure),
        slots,
        tuple(sorted(_address(node, said_by, is_secure) for node in replicas)),
    )


def _address(node: dict[bytes, Any], said_by: Address, is_secure: bool) -> Address:
    port = node.get(b"tls-port" if is_secure else b"port") or node[b"port"]
    for name in (b"endpoint", b"ip"):
        host = (node.get(name) or b"").decode()
        if host not in ("", "?"):
            return Address(host, int(port))
    return Address(said_by.host, int(port))


def _fields(pairs: Any) -> dict[bytes, Any]:
    if isinstance(pairs, dict):
        return pairs
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
