"""The doctor's look at the key ring: each state that it must not be in, by the rules that are in force."""

from __future__ import annotations

import pytest

from syncbridge.auth import AuthRules
from syncbridge.doctor import keys
from syncbridge.ports import SigningKey
from tests.unit.doctor.test_findings import DAY_MS, NOW_MS, bad, only

RULES = AuthRules()
BY_HAND = AuthRules(key_rotate_ms=0)


def key(
    created_at: int, *, signs_from: int = 0, retired_at: int | None = None, secret: bytes = b"secret"
) -> SigningKey:
    return SigningKey(f"k{created_at}", secret, created_at, signs_from, retired_at, created_at)


def test_keys_in_their_time_are_well() -> None:
    ring = [
        key(NOW_MS - 80 * DAY_MS, retired_at=NOW_MS + DAY_MS),
        key(NOW_MS - DAY_MS),
        key(NOW_MS, signs_from=NOW_MS + DAY_MS),
    ]
    findings = list(keys.judge_keys(ring, RULES, NOW_MS))
    assert bad(findings) == []
    assert [finding.found.partition(" at ")[0] for finding in findings] == [
        f"key k{NOW_MS - DAY_MS} signs, 1 d old",
        f"key k{NOW_MS} takes over",
        "older keys still taken: 1, the last until 2026-09-22 14:13:20 UTC",
    ]


@pytest.mark.parametrize(
    ("ring", "rules", "severity", "part"),
    [
        ([key(NOW_MS - 91 * DAY_MS)], RULES, "warning", "auth.key_rotate_ms replaces it after 90 d"),
        ([key(NOW_MS - 91 * DAY_MS)], BY_HAND, "warning", "so nothing replaces it"),
        ([key(NOW_MS - 2 * DAY_MS)], AuthRules(key_rotate_ms=DAY_MS), "warning", "2 d old"),
        ([key(NOW_MS - DAY_MS, retired_at=NOW_MS - 1)], RULES, "problem", "none of 1 keys may sign now"),
        ([key(NOW_MS - DAY_MS, retired_at=NOW_MS + 9)], RULES, "warning", "with none to follow it"),
        ([key(NOW_MS - DAY_MS, secret=b"")], RULES, "problem", "has no secret"),
        ([key(NOW_MS + 3 * DAY_MS)], RULES, "problem", "which lies ahead"),
        ([key(NOW_MS, signs_from=NOW_MS + DAY_MS)], RULES, "problem", "no key signs yet"),
    ],
)
def test_a_ring_that_is_out_of_time_is_told(ring: list[SigningKey], rules: AuthRules, severity: str, part: str) -> None:
    only(keys.judge_keys(ring, rules, NOW_MS), severity, part)


@pytest.mark.parametrize(
    ("ring", "rules"),
    [
        ([], RULES),
        ([key(NOW_MS - 91 * DAY_MS)], AuthRules(key_rotate_ms=200 * DAY_MS)),
        ([key(NOW_MS - 90 * DAY_MS - 1)], RULES),
        ([key(NOW_MS - 91 * DAY_MS), key(NOW_MS, signs_from=NOW_MS + 60_000)], RULES),
        ([key(NOW_MS - 80 * DAY_MS, retired_at=NOW_MS + 9), key(NOW_MS - 1, signs_from=NOW_MS + 1)], RULES),
    ],
    ids=["none yet", "rarer by the rules", "about to be replaced", "being replaced", "being replaced and retired"],
)
def test_a_ring_that_is_kept_by_the_rules_in_force_is_well(ring: list[SigningKey], rules: AuthRules) -> None:
    assert bad(keys.judge_keys(ring, rules, NOW_MS)) == []
