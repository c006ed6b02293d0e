from typing import Any

import pytest

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.layout import Shard, shards_of

ASKED = Address("10.0.0.9", 7000)


def node(port: int, role: str, **fields: Any) -> dict[bytes, Any]:
    told = {b"ip": b"10.0.0.1", b"endpoint": b"10.0.0.1", b"port": port, b"role": role.encode(), b"health": b"online"}
    return told | {name.replace("_", "-").encode(): value for name, value in fields.items()}


def shard(slots: list[int], *nodes: dict[bytes, Any]) -> dict[bytes, Any]:
    return {b"slots": slots, b"nodes": list(nodes)}


def test_a_shard_is_its_primary_its_slots_and_its_replicas() -> None:
    answer = [
        shard([0, 99, 200, 299], node(1, "master"), node(3, "replica"), node(2, "replica")),
        shard([], node(9, "master")),
    ]
    assert shards_of(answer, ASKED, is_secure=False) == [
        Shard(Address("10.0.0.1", 1), ((0, 99), (200, 299)), (Address("10.0.0.1", 2), Address("10.0.0.1", 3)))
    ]


def test_the_maps_may_be_lists_as_an_older_protocol_has_them() -> None:
    flat = [b"slots", [0, 9], b"nodes", [[part for pair in node(1, "master").items() for part in pair]]]
    assert shards_of([flat], ASKED, is_secure=False) == [Shard(Address("10.0.0.1", 1), ((0, 9),))]


def test_of_two_primaries_the_living_one_counts() -> None:
    answer = [shard([0, 9], node(1, "master", health=b"failed"), node(2, "master"))]
    assert shards_of(answer, ASKED, is_secure=False)[0].primary == Address("10.0.0.1", 2)


@pytest.mark.parametrize("unknown", [b"", b"?", None])
def test_a_server_that_does_not_know_its_name_is_where_it_was_asked(unknown: bytes | None) -> None:
    answer = [shard([0, 9], node(1, "master", endpoint=unknown, ip=unknown))]
    assert shards_of(answer, ASKED, is_secure=False)[0].primary == Address("10.0.0.9", 1)


def test_over_tls_the_port_is_the_one_for_tls() -> None:
    answer = [shard([0, 9], node(1, "master", tls_port=7001))]
    assert shards_of(answer, ASKED, is_secure=True)[0].primary == Address("10.0.0.1", 7001)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"OK",
        [1],
        [{}],
        [shard([0], node(1, "master"))],
        [shard([5, 4], node(1, "master"))],
        [shard([0, 16_384], node(1, "master"))],
        [{b"slots": [0, 9], b"nodes": [{b"role": b"master"}]}],
    ],
)
def test_what_is_no_layout_is_none(answer: Any) -> None:
    assert shards_of(answer, ASKED, is_secure=False) == []
