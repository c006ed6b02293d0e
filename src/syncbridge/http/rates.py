"""Rates of requests: what is taken from whose bucket, and the answer when it is empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from syncbridge.errors import RateLimited
from syncbridge.http.problems import Refused
from syncbridge.ports import Clock, Telemetry
from syncbridge.rates import Bucket, Buckets, Rate

IPV6_NETWORK_BITS: Final = 64
"""What one subscriber gets at least (RFC 6177 section 2): a bucket for each address would be no bound at all."""


class RateLimiter:
    """One bucket a key, all of one rate; ``limit`` is the limit's name for operators."""

    def __init__(self, clock: Clock, rate: Rate, *, limit: str, telemetry: Telemetry) -> None:
        self._clock = clock
        self._rate = rate
        self._limit = limit
        self._telemetry = telemetry
        self._buckets = Buckets()

    def take(self, key: str) -> None:
        """One token of the key's bucket is taken. Raises Refused with RateLimited and Retry-After."""
        bucket, now_ms = self._buckets.of(key), self._clock.now_ms()
        if not bucket.take(self._rate, now_ms):
            self._telemetry.measured("limit_hit", 1, self._limit)
            raise refused(bucket.wait_ms(self._rate, now_ms))

    @contextmanager
    def guess(self, key: str, wrong: type[Exception]) -> Iterator[None]:
        """What happens inside took a token of the key's bucket if it raised ``wrong``, and none else. Raises as `take`.

        The token is taken first and given back: else a thousand guesses at once would each find one there.
        """
        self.take(key)
        try:
            yield
        except wrong:
            raise
        except BaseException:
            self._buckets.of(key).give_back(self._rate)
            raise
        else:
            self._buckets.of(key).give_back(self._rate)


def refused(wait_ms: int) -> Refused:
    """Too many, with how long to wait."""
    seconds = _seconds(max(1, wait_ms))
    return Refused(
        RateLimited(f"Too many requests; try again in {seconds} s."),
        headers={"Retry-After": str(seconds)},
        members={"retry_after_ms": wait_ms},
    )


def rate_headers(bucket: Bucket, rate: Rate, now_ms: int) -> list[tuple[bytes, bytes]]:
    """How much may still be asked: the bucket's size, the tokens in it, and the seconds until it is full again."""
    left, full_in = bucket.left(rate, now_ms), _seconds(bucket.fill_ms(now_ms))
    return [
        (b"x-ratelimit-limit", b"%d" % rate.burst),
        (b"x-ratelimit-remaining", b"%d" % left),
        (b"x-ratelimit-reset", b"%d" % full_in),
    ]


def network_of(address: str) -> str:
    """Who shares a bucket with this address: nobody in IPv4, the network of its subscriber in IPv6."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_network((int(ip), IPV6_NETWORK_BITS), strict=False))


def _seconds(ms: int) -> int:
    return -(-ms // 1000)
