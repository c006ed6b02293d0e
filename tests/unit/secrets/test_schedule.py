"""The moments of every version follow from when it was written, at every process alike."""

from __future__ import annotations

from syncbridge.auth.keyring import states
from syncbridge.secrets.schedule import Overlap, Version, schedule

LEAD, USE = 60_000, 960_000
OVERLAP = Overlap(LEAD, USE)
NOW = 1_790_000_000_000


def at(number: int, created_at: int, gone_at: int | None = None) -> Version:
    return Version(number, f"v{number}", created_at, gone_at, b"s" * 44)


def said(now_ms: int, *versions: Version) -> dict[str, str]:
    return {key.kid: state for key, state in states(schedule(versions, OVERLAP), now_ms)}


def test_first_version_signs_at_once_and_never_ends() -> None:
    (key,) = schedule([at(1, NOW)], OVERLAP)
    assert (key.signs_from, key.retired_at) == (NOW, None)


def test_next_version_signs_after_the_lead_and_its_elder_is_taken_until_its_last_token_has_ended() -> None:
    elder, newer = at(1, NOW - 86_400_000), at(2, NOW)
    assert said(NOW, elder, newer) == {"v2": "next", "v1": "current"}
    assert said(NOW + LEAD - 1, elder, newer) == {"v2": "next", "v1": "current"}
    assert said(NOW + LEAD, elder, newer) == {"v2": "current", "v1": "previous"}
    assert said(NOW + LEAD + USE - 1, elder, newer) == {"v2": "current", "v1": "previous"}
    assert said(NOW + LEAD + USE, elder, newer) == {"v2": "current", "v1": "retired"}


def test_two_rotations_in_a_row_leave_a_key_in_force_at_every_moment() -> None:
    versions = [at(1, NOW - 86_400_000), at(2, NOW), at(3, NOW + 10_000)]
    for moment in range(NOW, NOW + LEAD + USE + 20_000, 5_000):
        assert "current" in said(moment, *versions).values()
    assert said(NOW + LEAD + 10_000, *versions) == {"v3": "current", "v2": "previous", "v1": "previous"}


def test_deleted_version_is_refused_at_once_and_the_next_one_signs_at_once() -> None:
    leaked, newer = at(1, NOW - 86_400_000, gone_at=NOW + 5), at(2, NOW)
    assert said(NOW + 5, leaked, newer) == {"v2": "current", "v1": "retired"}


def test_deleting_the_one_that_signs_brings_no_retired_one_back() -> None:
    elder, leaked = at(1, NOW - 90_000_000), at(2, NOW - 86_400_000, gone_at=NOW)
    assert said(NOW, elder, leaked) == {"v2": "retired", "v1": "retired"}


def test_version_that_is_deleted_before_it_signed_changes_nothing() -> None:
    elder, mistake = at(1, NOW - 86_400_000), at(2, NOW, gone_at=NOW + 1_000)
    assert said(NOW + 1_000, elder, mistake) == {"v2": "retired", "v1": "current"}
    assert said(NOW + LEAD + USE, elder, mistake) == {"v2": "retired", "v1": "current"}


def test_versions_and_keys_never_show_their_secret() -> None:
    version = Version(1, "v1", NOW, None, b"canary")
    assert "canary" not in f"{version!r}{version}{schedule([version], OVERLAP)!r}"
