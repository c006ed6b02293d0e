"""Token buckets, without any clock but the test's."""

from __future__ import annotations

import random

from syncbridge.rates import Bucket, Buckets, Rate

RATE = Rate(burst=3, refill_ms=1_000)
NOW = 1_790_000_000_000


def test_bucket_gives_its_burst_then_one_each_refill() -> None:
    bucket = Bucket()
    assert [bucket.take(RATE, NOW) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(RATE, NOW + 999)
    assert [bucket.take(RATE, NOW + 1_000) for _ in range(2)] == [True, False]


def test_idle_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket()
    bucket.take(RATE, NOW)
    assert [bucket.take(RATE, NOW + 10**9) for _ in range(4)] == [True, True, True, False]


def test_refusal_takes_nothing_and_tells_the_very_moment_of_the_next_token() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.take(RATE, NOW)
    for _ in range(100):
        assert not bucket.take(RATE, NOW + 300)
    assert bucket.wait_ms(RATE, NOW + 300) == 700
    assert bucket.take(RATE, NOW + 1_000)


def test_what_is_left_and_when_it_is_full_is_told_without_taking() -> None:
    bucket = Bucket()
    assert (bucket.left(RATE, NOW), bucket.fill_ms(NOW), bucket.wait_ms(RATE, NOW)) == (3, 0, 0)
    bucket.take(RATE, NOW)
    assert (bucket.left(RATE, NOW), bucket.fill_ms(NOW)) == (2, 1_000)
    assert (bucket.left(RATE, NOW + 999), bucket.left(RATE, NOW + 1_000)) == (2, 3)


def test_no_schedule_gets_more_than_the_burst_and_the_refill_of_its_time() -> None:
    chance = random.Random(7)
    for _ in range(200):
        rate = Rate(chance.randint(1, 9), chance.randint(1, 50))
        bucket, taken, now_ms = Bucket(), 0, NOW
        for _ in range(200):
            now_ms += chance.choice((0, 0, 1, 7, 40))
            taken += bucket.take(rate, now_ms)
            assert taken <= rate.burst + (now_ms - NOW) // rate.refill_ms
            assert (bucket.wait_ms(rate, now_ms) == 0) == (bucket.left(rate, now_ms) > 0)


def test_smaller_rate_holds_from_its_first_call_on() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.take(RATE, NOW)
    assert not bucket.take(Rate(1, 1_000), NOW + 2_000)
    assert bucket.take(Rate(1, 1_000), NOW + 3_000)


def test_table_forgets_the_key_that_was_asked_for_longest_ago() -> None:
    buckets = Buckets(keys_max=2)
    first = buckets.of("a")
    first.take(Rate(1, 1_000), NOW)
    buckets.of("b")
    assert buckets.of("a") is first
    buckets.of("c")
    assert (len(buckets), buckets.of("a") is first) == (2, True)
    buckets.of("d")
    buckets.of("e")
    assert buckets.of("a") is not first


def test_token_given_back_is_there_again_and_never_more_than_the_burst() -> None:
    bucket = Bucket()
    assert [bucket.take(RATE, NOW) for _ in range(4)] == [True, True, True, False]
    bucket.give_back(RATE)
    assert [bucket.take(RATE, NOW) for _ in range(2)] == [True, False]
    for _ in range(9):
        bucket.give_back(RATE)
    assert (bucket.left(RATE, NOW), [bucket.take(RATE, NOW) for _ in range(4)]) == (3, [True, True, True, False])
