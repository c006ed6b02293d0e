"""What a store that several nodes share promises of claims: which of a device's connections gets anything committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncbridge.core.ids import ConnectionId, DeviceId
from syncbridge.limits import Limits
from syncbridge.ports import WasCommitted, WasConflict, WasFenced, WasForeign
from tests.conformance.harness import Harness, adapters
from tests.conformance.logs import change, create, loaded, session_named, submit, unsigned
from tests.conformance.shared import SHARED_HARNESSES

S1, S2 = session_named("one"), session_named("two")
PHONE, TV = DeviceId("phone"), DeviceId("tv")
OLD, NEW, OTHER = ConnectionId("c-old"), ConnectionId("c-new"), ConnectionId("c-tv")


@pytest.fixture(params=adapters(SHARED_HARNESSES))
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    harness = SHARED_HARNESSES[request.param](tmp_path / "data", Limits(), 20_000)
    create(harness, S1)
    yield harness
    harness.close()


def head_of(harness: Harness) -> int:
    log = loaded(harness, S1)
    return log.entries[-1].version if log.entries else log.snapshot.version


def test_a_shared_store_says_so(shared: Harness) -> None:
    assert shared.store.is_shared


def test_a_claim_alone_is_committed_and_appends_nothing(shared: Harness) -> None:
    claim = change(S1, 1, 0, name="claim", claims={PHONE: NEW})
    assert submit(shared, claim) == [WasCommitted(claim.txn.id)]
    assert head_of(shared) == 1


def test_a_push_through_the_connection_that_claimed_last_is_committed(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: OLD}), change(S1, 1, 0, name="c2", claims={PHONE: NEW}))
    push = change(S1, 1, held={PHONE: NEW})
    assert submit(shared, push) == [WasCommitted(push.txn.id)]


def test_a_push_through_a_connection_left_since_is_fenced_and_appends_nothing(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: OLD}), change(S1, 1, 0, name="c2", claims={PHONE: NEW}))
    push = change(S1, 1, held={PHONE: OLD})
    assert submit(shared, push) == [WasFenced(push.txn.id, [PHONE])]
    assert head_of(shared) == 1


def test_only_the_devices_that_went_elsewhere_are_named(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: NEW, TV: OTHER}))
    push = change(S1, 1, 2, held={PHONE: OLD, TV: OTHER})
    assert submit(shared, push) == [WasFenced(push.txn.id, [PHONE])]


def test_a_device_that_nobody_claimed_is_not_fenced(shared: Harness) -> None:
    push = change(S1, 1, held={PHONE: OLD})
    assert submit(shared, push) == [WasCommitted(push.txn.id)]


def test_a_claim_is_judged_by_the_one_before_and_leaves_its_own(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: OLD}))
    both = change(S1, 1, name="both", held={PHONE: OLD}, claims={PHONE: NEW})
    late = change(S1, 2, name="late", held={PHONE: OLD})
    assert submit(shared, both, late) == [WasCommitted(both.txn.id), WasFenced(late.txn.id, [PHONE])]


def test_a_claim_against_an_older_head_gets_what_came_since_and_claims_nothing(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: OLD}))
    first = change(S1, 1, 2)
    claim = change(S1, 1, 0, name="c2", claims={PHONE: NEW})
    outcomes = submit(shared, first, claim)
    assert unsigned(outcomes[1]) == WasConflict(claim.txn.id, first.txn.entries, first.txn.digests)
    push = change(S1, 3, name="push", held={PHONE: OLD})
    assert submit(shared, push) == [WasCommitted(push.txn.id)]


def test_a_claim_said_again_is_committed_again(shared: Harness) -> None:
    claim = change(S1, 1, 0, name="claim", claims={PHONE: NEW})
    assert submit(shared, claim, claim) == [WasCommitted(claim.txn.id)] * 2


def test_a_push_that_stands_is_committed_when_it_is_said_again_though_its_device_went_elsewhere(
    shared: Harness,
) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: OLD}))
    push = change(S1, 1, held={PHONE: OLD})
    submit(shared, push, change(S1, 2, 0, name="c2", claims={PHONE: NEW}))
    assert submit(shared, push) == [WasCommitted(push.txn.id)]


def test_a_transaction_that_was_refused_leaves_no_claim(shared: Harness) -> None:
    submit(shared, change(S1, 1, 0, name="c1", claims={PHONE: NEW}))
    refused = change(S1, 1, name="refused", held={PHONE: OLD}, claims={TV: OTHER})
    free = change(S1, 1, name="free", held={TV: ConnectionId("c-any")})
    assert submit(shared, refused, free) == [WasFenced(refused.txn.id, [PHONE]), WasCommitted(free.txn.id)]


def test_claims_are_of_one_session(shared: Harness) -> None:
    create(shared, S2)
    submit(shared, change(S2, 1, 0, name="c1", claims={PHONE: NEW}))
    push = change(S1, 1, held={PHONE: OLD})
    assert submit(shared, push) == [WasCommitted(push.txn.id)]


def test_a_claim_on_another_epoch_is_foreign(shared: Harness) -> None:
    claim = change(S1, 1, 0, name="claim", claims={PHONE: NEW}, epoch="epoch-2")
    assert submit(shared, claim) == [WasForeign(claim.txn.id)]
