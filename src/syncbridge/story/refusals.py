"""Why a device's push was refused, told with the entry that was in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from syncbridge.core.entry import Entry
from syncbridge.core.playhead import POINTER
from syncbridge.ports import Incident
from syncbridge.story.known import Story
from syncbridge.story.words import moment, who

_NO_OWNER = frozenset({"stale_owner", "stale_fence"})
_SENT_AGAIN = frozenset({"base_too_old", "base_in_future", "seq_gap", "epoch_unknown", "context_refused"})
"""What a device answers by itself: it takes the state it is given, merges, and sends again."""
_ON_PURPOSE = {
    "open_readonly": "a device that just opened a session writes nothing",
    "playhead_intent": "an edit does not move the playhead",
}


class Refused(Struct, frozen=True):
    """``version`` is the entry that was in its way, 0 where it was none."""

    incident: Incident
    is_lost: bool
    text: str
    version: int = 0


def refusals(story: Story) -> Iterator[Refused]:
    """Every refusal of a push, a handoff or a request, oldest first, with its reason."""
    for incident in story.incidents:
        if incident.kind == "refused":
            is_push = incident.detail.get("about") == "push"
            yield _of_push(story, incident) if is_push else _of_request(incident)


def _of_request(incident: Incident) -> Refused:
    about = incident.detail.get("about")
    what = "change over REST" if about == "request" else f"`{about}`"
    whose = f"{who(incident.device)}'s" if incident.device else "a"
    text = f"{whose} {what} ({moment(incident.at)}) was refused: {incident.code}"
    return Refused(incident, is_lost=False, text=text + _times(incident))


def _of_push(story: Story, incident: Incident) -> Refused:
    detail, code = incident.detail, incident.code
    made_at = int(detail.get("made_at", incident.at))
    what = (
        f"{who(incident.device)}'s {detail.get('intent', 'push')} from {moment(made_at)} was refused{_times(incident)}"
    )
    base, head = int(detail.get("base", 0)), int(detail.get("version", 0))
    if code in _NO_OWNER:
        reason, version = _owner_then(story, incident.device, head)
        return Refused(incident, is_lost=True, text=f"{what}: {reason}", version=version)
    if code == "stale_position":
        reason, version = _mover_then(story, incident.device, base, head)
        return Refused(incident, is_lost=True, text=f"{what}: {reason}", version=version)
    if code == "session_ended":
        reason, version = _end_then(story, head)
        return Refused(incident, is_lost=True, text=f"{what}: {reason}", version=version)
    if code in _ON_PURPOSE:
        return Refused(incident, is_lost=False, text=f"{what}: {_ON_PURPOSE[code]}")
    again = _sent_again(story, incident) if code in _SENT_AGAIN else None
    if again is not None:
        text = f"{what}: {code}; the device sent it again, and version {again.version} is the first of it that stands"
        return Refused(incident, is_lost=False, text=text, version=again.version)
    if code in _SENT_AGAIN:
        return Refused(incident, is_lost=True, text=f"{what}: {code}; the device has sent nothing since")
    return Refused(incident, is_lost=True, text=f"{what}: {code}")


def _times(incident: Incident) -> str:
    times, until = incident.detail.get("times"), incident.detail.get("until")
    return f" ({times} times, until {moment(int(until))})" if times and until else ""


def _owner_then(story: Story, device: str, head: int) -> tuple[str, int]:
    """Who held the session at version ``head``, since when."""
    taken = _last(story, head, lambda entry: entry.fence > 0)
    if taken is None:
        return "another device was the active one", 0
    if taken.active == device:
        return (
            f"it was reported before {who(device)} became the active one at {moment(taken.at)}"
            f" (version {taken.version})"
        ), taken.version
    how = "had taken over" if taken.kind == "handoff" else "was the active one from the beginning"
    when = f" at {moment(taken.at)}" if taken.kind == "handoff" else ""
    return f"{who(taken.active or '')} {how}{when} (version {taken.version})", taken.version


def _mover_then(story: Story, device: str, base: int, head: int) -> tuple[str, int]:
    """Who had moved the playhead after ``base``."""

    def moves(entry: Entry) -> bool:
        is_seek = entry.intent == "seek" or entry.kind == "restore"
        return is_seek and entry.device != device and any(_is_of_playhead(str(op.get("path"))) for op in entry.ops)

    moved = _last(story, head, moves)
    if moved is None or moved.version <= base:
        return "it lay before the place that was known already; only a person's seek goes back", 0
    return (
        f"a person had moved the playhead on {who(moved.device)} at {moment(moved.at)} (version {moved.version})"
    ), moved.version


def _end_then(story: Story, head: int) -> tuple[str, int]:
    """Who had ended the session."""
    ended = _last(story, head, lambda entry: entry.status in ("completed", "archived"))
    if ended is None:
        return "the session was over", 0
    return (
        f"{who(ended.device)} had set the session to {ended.status} at {moment(ended.at)} (version {ended.version})"
    ), ended.version


def _sent_again(story: Story, incident: Incident) -> Entry | None:
    since = int(incident.detail.get("until", incident.at))
    return next(
        (entry for entry in story.entries if entry.seq and entry.device == incident.device and entry.at >= since), None
    )


def _last(story: Story, head: int, is_it: Callable[[Entry], bool]) -> Entry | None:
    return next((entry for entry in reversed(story.entries) if entry.version <= head and is_it(entry)), None)


def _is_of_playhead(path: str) -> bool:
    return path in ("", POINTER) or path.startswith(POINTER + "/")
