"""The names in Redis: one slot for what one script touches, and no id that reaches another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.adapters.cluster.keys import (
    BUCKETS,
    SLOTS,
    account_channel,
    account_offers,
    account_sessions,
    born_key,
    bucket_of,
    changed_key,
    outbox_key,
    session_channel,
    session_keys,
    slot_of,
    slot_tags,
    tag_of,
)
from syncbridge.core.ids import AccountId, SessionId

IDS = st.text(max_size=40) | st.text(alphabet="{}@#%a:", max_size=8)


@given(IDS)
def test_all_of_a_session_lies_in_one_slot_whatever_its_id(name: str) -> None:
    session = SessionId(name)
    *keys, aside = session_keys(session)
    assert {slot_of(key) for key in (*keys, *aside)} == {slot_of(session_channel(session))}


@given(IDS)
def test_all_of_an_account_lies_in_one_slot_whatever_its_id(name: str) -> None:
    account = AccountId(name)
    keys = [account_sessions(account), account_offers(account)]
    assert {slot_of(key) for key in keys} == {slot_of(account_channel(account))}


@given(IDS, IDS)
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert (tag_of(one) == tag_of(other)) == (one == other)
    assert session_channel(SessionId(one)) != account_channel(AccountId(other))


@given(IDS)
def test_a_name_holds_one_pair_of_braces_and_no_sign_that_a_terminal_or_a_log_would_obey(name: str) -> None:
    key = session_keys(SessionId(name)).head
    assert (key.count(b"{"), key.count(b"}")) == (1, 1)
    assert key.decode("ascii").isprintable()
    assert b" " not in key


@pytest.mark.parametrize(
    ("key", "slot"),
    # Redis' own answers to CLUSTER KEYSLOT.
    [
        (b"", 0),
        (b"123456789", 12739),
        (b"foo", 12182),
        (b"{foo}:head", 12182),
        (b"a{foo}b{bar}", 12182),
        (b"foo{}{bar}", 8363),
        (b"{}foo", 9500),
        (b"foo{bar", 15278),
    ],
)
def test_a_slot_is_the_one_that_redis_says(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


def test_every_slot_has_a_tag_of_its_own_in_it() -> None:
    tags = slot_tags()
    assert len(set(tags)) == SLOTS
    assert [slot_of(b"{%b}" % tag) for tag in tags] == list(range(SLOTS))
    assert {slot_of(key(77)) for key in (outbox_key, changed_key, born_key)} == {77}


@given(IDS)
def test_a_bucket_is_one_of_those_there_are(name: str) -> None:
    assert 0 <= bucket_of(SessionId(name)) < BUCKETS
