"""Each way in which progress goes, or seems to go: one finder a way, over the log and the incidents of a session.

======== ========================================================================================================
weight   means
======== ========================================================================================================
lost     something that a device did, or showed, is not what stands
moved    the progress was put elsewhere: by a person, by a snapshot, or by what is known of a silent source
noted    it looks like a loss to somebody who watches, and is none
======== ========================================================================================================
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from syncbridge.core.entry import Entry
from syncbridge.ports import Incident
from syncbridge.story.known import Story
from syncbridge.story.movements import movements
from syncbridge.story.refusals import refusals
from syncbridge.story.timeline import LATE_MS_MIN
from syncbridge.story.words import moment, place, plain, span, who

Weight = Literal["lost", "moved", "noted"]

WENT_BACK_S_MIN = 5.0
"""Less than that nobody misses; a player's own jitter is below 2 s."""
UNSURE_MS_MIN = 1_000
TOGETHER_MS = 60_000
"""Devices that come back within this time of each other were cut off by the same thing."""


class Cause(Struct, frozen=True, omit_defaults=True):
    """One reason. ``version`` is the entry that shows it, 0 where none does."""

    weight: Weight
    code: str
    at: int
    device: str
    text: str
    version: int = 0


def refused(story: Story) -> Iterator[Cause]:
    """What a device sent and was told is not taken."""
    for refusal in refusals(story):
        weight: Weight = "lost" if refusal.is_lost else "noted"
        incident = refusal.incident
        yield Cause(weight, incident.code, incident.at, incident.device, refusal.text, refusal.version)


def overwritten(story: Story) -> Iterator[Cause]:
    """Where two devices wrote one place, and one of them does not find there what it wrote."""
    for entry in story.entries:
        for row in entry.conflicts:
            path, policy = str(row.get("path", "")), str(row.get("policy", ""))
            other, version = str(row.get("theirs_device", "")), int(str(row.get("theirs_version") or 0))
            at_version = f" (version {version})" if version else ""
            if row.get("winner") == "theirs" and policy == "playhead":
                text = (
                    f"{who(entry.device)}'s move of the playhead, made {moment(entry.made_at or entry.at)} and sent"
                    f" {moment(entry.at)}, did not count: {_mover(story, version)} had moved it meanwhile{at_version}"
                )
                yield Cause("lost", "old_seek", entry.at, entry.device, text, entry.version)
            elif row.get("winner") == "theirs":
                text = (
                    f"{who(entry.device)}'s change of {plain(path) or 'the state'} ({moment(entry.at)}) lost to that of"
                    f" {who(other)}{at_version}, by the policy `{policy}`"
                )
                yield Cause("lost", "conflict", entry.at, entry.device, text, entry.version)
            elif row.get("winner") == "ours":
                text = (
                    f"{who(entry.device)} overwrote at {moment(entry.at)} what {who(other)} had written at"
                    f" {plain(path) or 'the state'}{at_version}, by the policy `{policy}`"
                )
                yield Cause("lost", "conflict", entry.at, other, text, entry.version)


def moved_back(story: Story) -> Iterator[Cause]:
    """The playhead stands before where it stood."""
    for movement in movements(story.entries):
        entry = movement.entry
        if movement.before_s - movement.after_s < WENT_BACK_S_MIN or entry.kind == "handoff":
            continue
        code, because = _why_back(entry)
        text = (
            f"the progress went back from {place(movement.before_s)} to {place(movement.after_s)} at"
            f" {moment(entry.at)}, because {because} (version {entry.version})"
        )
        yield Cause("moved", code, entry.at, entry.device, text, entry.version)


def unsure(story: Story) -> Iterator[Cause]:
    """A session that was taken from a device which nobody could hear."""
    for entry in story.entries:
        note = entry.handoff
        if note is not None and note.uncertainty_ms >= UNSURE_MS_MIN:
            text = (
                f"{who(entry.active or '')} took over at {moment(entry.at)} from {who(note.source or '')}, which"
                f" had not been heard for {span(note.uncertainty_ms)}: what it played since then nobody knows"
            )
            yield Cause("moved", "silent_source", entry.at, entry.device, text, entry.version)


def foreign_log(story: Story) -> Iterator[Cause]:
    """A device knew a log, or versions, that the service does not have (any more)."""
    for incident in story.incidents:
        if incident.kind != "joined" or incident.code not in ("ahead", "epoch"):
            continue
        held, head = incident.detail.get("from"), incident.detail.get("version")
        if incident.code == "ahead":
            what = f"with version {held}, but the log ended at {head}"
        else:
            what = f"with version {held} of another log than the one that is served"
        text = (
            f"{who(incident.device)} came back at {moment(incident.at)} {what}: the service lost what it had"
            " acknowledged, as after a data directory was put back from an older copy or a damaged one was opened"
        )
        yield Cause("lost", incident.code, incident.at, incident.device, text)


def long_absence(story: Story) -> Iterator[Cause]:
    """A device that missed more than is kept gets the whole state, and merges what it made."""
    for incident in story.incidents:
        if (incident.kind, incident.code) == ("joined", "behind"):
            missed = int(incident.detail.get("version", 0)) - int(incident.detail.get("from", 0))
            text = (
                f"{who(incident.device)} came back at {moment(incident.at)} having missed {missed} versions, more than"
                " are kept for a resume, and got the whole state instead; what it made meanwhile it merges and sends"
            )
            yield Cause("noted", "snapshot", incident.at, incident.device, text)


def made_offline(story: Story) -> Iterator[Cause]:
    """What a device made while it was away, and sent when it was back."""
    late: dict[str, list[Entry]] = defaultdict(list)
    for entry in story.entries:
        if entry.made_at and entry.at - entry.made_at > LATE_MS_MIN and not entry.conflicts:
            late[entry.device].append(entry)
    for device, entries in late.items():
        first, last = entries[0], entries[-1]
        count = "a change" if len(entries) == 1 else f"{len(entries)} changes"
        versions = f"version {first.version}" if first is last else f"versions {first.version} to {last.version}"
        text = (
            f"{who(device)} sent {count} up to {span(max(one.at - one.made_at for one in entries))} after making them;"
            f" they stand as {versions}"
        )
        yield Cause("noted", "made_offline", last.at, device, text, last.version)


def broken_off(story: Story) -> Iterator[Cause]:
    """Devices that joined again without having left: the service stopped without a word, or one line did."""
    here: set[str] = set()
    again: list[list[Incident]] = []
    for incident in story.incidents:
        if incident.kind == "left":
            here.discard(incident.device)
        elif incident.kind == "joined":
            if incident.device in here:
                if again and incident.at - again[-1][0].at <= TOGETHER_MS:
                    again[-1].append(incident)
                else:
                    again.append([incident])
            here.add(incident.device)
    for group in again:
        names = ", ".join(dict.fromkeys(plain(one.device) for one in group))
        is_many = len({one.device for one in group}) > 1
        what = "the service" if is_many else "the service, or its connection,"
        text = (
            f"{what} broke off without a word before {moment(group[0].at)} ({names} joined again without having left);"
            " every change that had been acknowledged is in the log"
        )
        yield Cause("noted", "broken_off", group[0].at, "" if is_many else group[0].device, text)


def troubles(story: Story) -> Iterator[Cause]:
    """Wrong clocks, slow readers, and our own failures."""
    for incident in story.incidents:
        at, device = incident.at, incident.device
        if incident.kind == "clock":
            off = span(abs(int(incident.detail.get("off_ms", 0))))
            text = f"{who(device)}'s clock is {off} {incident.code}; no time of its is believed past the server's"
            yield Cause("noted", "clock", at, device, text)
        elif (incident.kind, incident.code) == ("left", "too_slow"):
            text = f"{who(device)} read too slowly and was disconnected at {moment(at)}; it gets what it missed"
            yield Cause("noted", "too_slow", at, device, text)
        elif incident.kind == "broken":
            text = f"our own code failed at {moment(at)}; the session was loaded anew from its log, which is whole"
            yield Cause("noted", "broken", at, "", text)


FINDERS: tuple[Callable[[Story], Iterator[Cause]], ...] = (
    *(foreign_log, refused, overwritten, moved_back, unsure),
    *(long_absence, made_offline, broken_off, troubles),
)
"""Every way; of one weight and time the earlier tells more."""


def _mover(story: Story, version: int) -> str:
    found = next((entry for entry in story.entries if entry.version == version), None)
    return "somebody" if found is None else who(found.device)


def _why_back(entry: Entry) -> tuple[str, str]:
    if entry.kind == "restore":
        return "restored", f"{who(entry.device)} restored a snapshot"
    if entry.kind == "patch" and entry.intent == "seek":
        return "seek", f"a person moved it on {who(entry.device)}"
    return entry.kind, f"{who(entry.device)} said so ({entry.intent})"
