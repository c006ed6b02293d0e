"""Why was my progress lost? Each story that people tell, played by the real machine, and the cause that is named.

The same stories without the fact that made the difference get another answer: the judge reads, and does not guess.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.entry import Entry
from syncbridge.core.ids import ConnectionId, DeviceId
from syncbridge.limits import Limits
from syncbridge.ports import Incident
from syncbridge.story import Story, Verdict, causes, judge, timeline
from syncbridge.story.words import moment
from tests.unit.core.stage import Stage, request

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def stage() -> Stage:
    """A session that the phone plays from 10:00 on; the TV follows."""
    return a_stage()


def a_stage(limits: Limits | None = None) -> Stage:
    stage = Stage(limits=limits)
    stage.joins("phone")
    stage.joins("tv")
    stage.moves("phone", 600, intent="seek")
    return stage


def story(stage: Stage) -> Story:
    first = Entry(1, "create", stage.snapshot.at, "phone", fence=1, active="phone", status="active")
    return Story(stage.session, [first, *stage.stored], stage.incidents)


def verdict(stage: Stage) -> Verdict:
    return judge(story(stage))


def codes(found: Verdict) -> list[tuple[str, str]]:
    return [(cause.weight, cause.code) for cause in found.causes]


def test_a_session_to_which_nothing_happened_lost_nothing(stage: Stage) -> None:
    stage.moves("phone", 630, intent="progress")
    found = verdict(stage)
    assert (found.is_lost, found.causes) == (False, [])
    assert found.sentence == ("Nothing was lost: every change that was acknowledged is in the log, versions 1 to 3.")


def test_a_stale_device_is_told_who_had_taken_over_and_when(stage: Stage) -> None:
    stage.passes(2 * MINUTE_MS)
    stage.takes("tv")
    taken_at, taken = stage.now_ms, stage.machine.version
    stage.passes(2 * MINUTE_MS)
    stage.moves("phone", 840, intent="progress", at=stage.now_ms)
    found = verdict(stage)
    assert found.is_lost
    assert found.sentence == (
        f"Device phone's progress from {moment(stage.now_ms)} was refused: device tv had taken over at"
        f" {moment(taken_at)} (version {taken})."
    )
    assert (found.causes[0].code, found.causes[0].version) == ("stale_owner", taken)


def test_a_report_from_before_its_own_taking_over_is_told_so(stage: Stage) -> None:
    base = stage.machine.version
    stage.takes("tv")
    stage.takes("phone", "h3")
    stage.moves("phone", 601, intent="progress", base=base)
    assert "it was reported before device phone became the active one at" in verdict(stage).sentence


def test_a_day_old_seek_that_was_made_offline_is_told_what_overtook_it(stage: Stage) -> None:
    base = stage.machine.version
    made_at = stage.now_ms
    stage.leaves("phone")
    stage.passes(HOUR_MS)
    stage.takes("tv")
    stage.moves("tv", 1_200, intent="seek")
    overtook = stage.machine.version
    stage.passes(DAY_MS)
    stage.joins("phone", version=base)
    stage.moves("phone", 60, intent="seek", base=base, at=made_at)
    found = verdict(stage)
    assert found.causes[0].code == "old_seek"
    assert found.sentence.startswith(
        f"Device phone's move of the playhead, made {moment(made_at)} and sent {moment(stage.now_ms)}, did not count:"
        f" device tv had moved it meanwhile (version {overtook})."
    )


def test_day_old_edits_that_were_merged_are_no_loss(stage: Stage) -> None:
    base, made_at = stage.machine.version, stage.now_ms
    stage.leaves("tv")
    stage.passes(DAY_MS)
    stage.joins("tv", version=base)
    for number in range(3):
        stage.pushes("tv", [{"op": "add", "path": f"/own{number}", "value": 1}], base=base, at=made_at)
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (False, [("noted", "made_offline")])
    assert "device tv sent 3 changes up to 1 d after making them; they stand as versions 3 to 5" in found.sentence


def test_a_place_that_a_person_chose_is_no_loss_and_is_told_as_such(stage: Stage) -> None:
    stage.passes(MINUTE_MS)
    stage.moves("tv", 30, intent="seek")
    found = verdict(stage)
    assert not found.is_lost
    assert found.sentence == (
        "Nothing that was acknowledged was lost. The progress went back from 11:00 to 0:30 at"
        f" {moment(stage.now_ms)}, because a person moved it on device tv (version 3)."
    )


def test_progress_that_a_person_s_seek_overtook_is_told_by_it(stage: Stage) -> None:
    base = stage.machine.version
    stage.moves("tv", 30, intent="seek")
    stage.moves("phone", 605, intent="progress", base=base)
    found = verdict(stage)
    assert ("lost", "stale_position") in codes(found)
    assert f"a person had moved the playhead on device tv at {moment(stage.now_ms)} (version 3)" in found.sentence


def test_a_snapshot_that_was_restored_is_the_cause(stage: Stage) -> None:
    old = stage.state
    stage.passes(10 * MINUTE_MS)
    stage.asks(on.RestoreRequested(request(), "tv", old))
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (False, [("moved", "restored")])
    assert "because device tv restored a snapshot" in found.sentence


def test_a_device_that_was_away_for_long_got_a_snapshot_and_lost_nothing() -> None:
    stage = a_stage(Limits(resume_entries_max=8, log_entries_kept_max=16, snapshot_entries_max=8))
    stage.leaves("tv")
    for number in range(40):
        stage.pushes("phone", [{"op": "add", "path": "/n", "value": number}], base=stage.machine.version)
    stage.joins("tv", version=2)
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (False, [("noted", "snapshot")])
    assert "device tv came back at" in found.sentence
    assert "having missed 40 versions" in found.sentence


def test_an_old_base_that_was_sent_again_is_no_loss_and_one_that_was_not_is() -> None:
    stage = a_stage(Limits(resume_entries_max=8, log_entries_kept_max=16, snapshot_entries_max=8, checkpoint_entries=4))
    for number in range(60):
        stage.pushes("phone", [{"op": "add", "path": "/n", "value": number}], base=stage.machine.version)
    answer = stage.pushes("tv", [{"op": "add", "path": "/own", "value": 1}], base=2)
    assert isinstance(answer, m.Reject)
    assert answer.code == "base_too_old"
    before = verdict(stage)
    assert (before.is_lost, codes(before)) == (True, [("lost", "base_too_old")])
    stage.pushes("tv", [{"op": "add", "path": "/own", "value": 1}], base=stage.machine.version)
    after = verdict(stage)
    assert (after.is_lost, codes(after)) == (False, [("noted", "base_too_old")])


def test_a_crash_loses_nothing_that_was_acknowledged(stage: Stage) -> None:
    stage.passes(MINUTE_MS)
    stage.crash()
    for device in ("phone", "tv"):
        stage.joins(device, version=stage.snapshot.version + len(stage.stored))
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (False, [("noted", "broken_off")])
    assert "the service broke off without a word" in found.sentence
    assert "(phone, tv joined again without having left)" in found.sentence


def test_devices_that_left_before_they_came_again_tell_of_no_crash(stage: Stage) -> None:
    for device in ("phone", "tv"):
        stage.leaves(device)
        stage.joins(device, version=2)
    assert verdict(stage).causes == []


@pytest.mark.parametrize(("position", "code"), [({"version": 90}, "ahead"), ({"version": 1, "epoch": "e0"}, "epoch")])
def test_a_log_that_the_service_lost_is_a_loss(stage: Stage, position: dict[str, object], code: str) -> None:
    stage.joins("laptop", **position)  # type: ignore[arg-type]
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (True, [("lost", code)])
    assert "the service lost what it had acknowledged" in found.sentence


def test_a_source_that_nobody_heard_leaves_its_last_minutes_unknown(stage: Stage) -> None:
    stage.moves("phone", 600, intent="seek")
    stage.leaves("phone")
    stage.passes(10 * MINUTE_MS)
    stage.takes("tv")
    found = verdict(stage)
    assert ("moved", "silent_source") in codes(found)
    assert "which had not been heard for 10 min: what it played since then nobody knows" in found.sentence


def test_a_session_that_was_over_is_told_by_whom(stage: Stage) -> None:
    stage.moves("phone", 700, intent="finish")
    stage.moves("phone", 710, intent="progress")
    found = verdict(stage)
    assert ("lost", "session_ended") in codes(found)
    assert "device phone had set the session to completed at" in found.sentence


def test_a_value_that_was_overwritten_is_told_to_whose_it_was(stage: Stage) -> None:
    base = stage.machine.version
    stage.pushes("phone", [{"op": "add", "path": "/mood", "value": "calm"}], base=base)
    stage.pushes("tv", [{"op": "add", "path": "/mood", "value": "wild"}], base=base)
    found = verdict(stage)
    assert (found.is_lost, codes(found)) == (True, [("lost", "conflict")])
    assert "Device tv overwrote at" in found.sentence
    assert "what device phone had written at /mood (version 3), by the policy `last`" in found.sentence
    assert found.causes[0].device == "phone"


def test_wrong_clocks_slow_readers_and_our_own_failures_are_noted(stage: Stage) -> None:
    stage.moves("phone", 601, intent="progress", at=stage.now_ms + 3 * HOUR_MS)
    stage.happens(on.MemberLeft(ConnectionId("tv"), stage.now_ms, is_gone=True, cause="too_slow"))
    broken = msgspec.structs.replace(stage.incidents[-1], kind="broken", code="PushReceived")
    stage.incidents.append(broken)
    found = verdict(stage)
    assert not found.is_lost
    assert {code for _, code in codes(found)} == {"clock", "too_slow", "broken"}
    assert any("device phone's clock is 3 h ahead" in cause.text for cause in found.causes)


def test_the_gravest_is_said_first_and_the_others_are_counted(stage: Stage) -> None:
    stage.takes("tv")
    stage.moves("phone", 700, intent="progress")
    stage.passes(MINUTE_MS)
    stage.pushes("phone", [{"op": "replace", "path": "/nowhere", "value": 1}], base=stage.machine.version)
    stage.moves("tv", 5, intent="seek")
    found = verdict(stage)
    assert [weight for weight, _ in codes(found)] == ["lost", "lost", "moved"]
    assert found.sentence.endswith(" 1 more loss below.")


def test_a_damaged_log_is_the_first_thing_to_say(stage: Stage) -> None:
    found = judge(msgspec.structs.replace(story(stage), damage="journal row 7 fails its checksum"))
    assert found.is_lost
    assert "journal row 7 fails its checksum" in found.sentence


def test_a_log_that_was_cut_says_how_far_back_it_reaches(stage: Stage) -> None:
    whole = story(stage)
    cut = msgspec.structs.replace(whole, entries=whole.entries[1:])
    assert "told from version 2 of" in judge(cut).sentence
    assert "reaches back" not in judge(whole).sentence


def test_a_refused_change_over_rest_is_told_by_whom_where_that_is_known(stage: Stage) -> None:
    told = f"change over REST ({moment(stage.now_ms)}) was refused: bad_patch"
    texts = []
    for device in ("phone", ""):
        incident = Incident(stage.session, stage.now_ms, DeviceId(device), "refused", "bad_patch", {"about": "request"})
        texts += [cause.text for cause in judge(Story(stage.session, story(stage).entries, [incident])).causes]
    assert texts == [f"device phone's {told}", f"a {told}"]


def test_the_timeline_holds_everything_once_in_its_order(stage: Stage) -> None:
    stage.offers("phone", "tv")
    stage.declines("tv")
    stage.passes(1_000)
    stage.takes("tv")
    stage.moves("phone", 700, intent="progress")
    stage.leaves("phone")
    told = timeline(story(stage))
    assert [one.version for one in told if one.version] == list(range(1, stage.machine.version + 1))
    assert len(told) == stage.machine.version + len(stage.incidents)
    assert [one.at for one in told] == sorted(one.at for one in told)
    texts = [f"{one.what} {one.device}: {one.text}" for one in told]
    assert "handoff phone: offered to device tv" in texts
    assert "handoff tv: the offer to device tv is over: declined" in texts
    assert "device phone: is gone: its connection was lost" in texts


def test_a_device_s_name_moves_no_cursor(stage: Stage) -> None:
    evil = "tv\x1b[2J\n"
    stage.incidents.append(msgspec.structs.replace(stage.incidents[0], device=evil, kind="refused", code="bad_patch"))
    found = verdict(stage)
    assert all(text.isprintable() for text in [found.sentence, *(cause.text for cause in found.causes)])


def _stale() -> Stage:
    stage = a_stage()
    stage.takes("tv")
    stage.moves("phone", 700, intent="progress")
    return stage


def _offline() -> Stage:
    stage = a_stage()
    made_at = stage.now_ms
    stage.leaves("tv")
    stage.passes(DAY_MS)
    stage.joins("tv", version=2)
    stage.pushes("tv", [{"op": "add", "path": "/own", "value": 1}], base=2, at=made_at)
    return stage


def _rewound() -> Stage:
    stage = a_stage()
    stage.moves("tv", 30, intent="seek")
    return stage


def _silent() -> Stage:
    stage = a_stage()
    stage.leaves("phone")
    stage.passes(10 * MINUTE_MS)
    stage.takes("tv")
    return stage


def _overwritten() -> Stage:
    stage = a_stage()
    for device, value in (("phone", 1), ("tv", 2)):
        stage.pushes(device, [{"op": "add", "path": "/mood", "value": value}], base=2)
    return stage


def _absent() -> Stage:
    stage = a_stage(Limits(resume_entries_max=8, log_entries_kept_max=16, snapshot_entries_max=8))
    stage.leaves("tv")
    for number in range(40):
        stage.pushes("phone", [{"op": "add", "path": "/n", "value": number}], base=stage.machine.version)
    stage.joins("tv", version=2)
    return stage


def _crashed() -> Stage:
    stage = a_stage()
    stage.crash()
    stage.joins("phone", version=2)
    return stage


def _foreign() -> Stage:
    stage = a_stage()
    stage.joins("laptop", version=90)
    return stage


def _skewed() -> Stage:
    stage = a_stage()
    stage.moves("phone", 601, intent="progress", at=stage.now_ms + HOUR_MS)
    return stage


STORIES = (_stale, _offline, _rewound, _silent, _overwritten, _absent, _crashed, _foreign, _skewed)


@pytest.mark.parametrize("finder", causes.FINDERS, ids=lambda finder: str(finder.__name__))
def test_every_finder_is_needed_by_some_story(finder: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that lacks it tells some story otherwise."""
    left = tuple(one for one in causes.FINDERS if one is not finder)
    told = [verdict(play()) for play in STORIES]
    monkeypatch.setattr("syncbridge.story.verdict.FINDERS", left)
    without = [verdict(play()) for play in STORIES]
    assert [one.sentence for one in told] != [one.sentence for one in without]
