"""One timeline of a session: entries, conflicts, handoffs, devices that came and went, refusals and wrong clocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from syncbridge.core.entry import Entry
from syncbridge.ports import Incident
from syncbridge.story.known import Story
from syncbridge.story.movements import movements
from syncbridge.story.words import place, plain, span, who

LATE_MS_MIN = 60_000
"""An entry that was made longer ago than this was made offline; it says so."""

What = Literal["entry", "handoff", "conflict", "device", "refusal", "clock", "service"]

_CAUSES = {
    "left": "it left the session",
    "closed": "it closed its connection",
    "lost": "its connection was lost",
    "restart": "the service restarted",
    "too_slow": "it read too slowly and was disconnected",
    "device_replaced": "it connected a second time",
    "device_unknown": "it was removed from the account",
    "token_expired": "its token expired",
    "forbidden": "its access was revoked",
    "internal": "our own code failed on its connection",
}
_REASONS = {
    "new": "it held nothing",
    "behind": "it had missed more than the log keeps",
    "epoch": "it knew another log",
    "ahead": "it knew versions that the log does not have",
    "slow": "it had read too slowly",
    "smaller": "that was smaller than what it had missed",
    "missed": "the log was read anew",
}


class Moment(Struct, frozen=True, omit_defaults=True):
    """One line. ``version`` is 0 where it is no entry of the log; ``code`` is what a program reads."""

    at: int
    what: What
    device: str
    code: str
    text: str
    version: int = 0


def timeline(story: Story) -> list[Moment]:
    """Everything that is known, oldest first; what befell the session at one time stands before what came of it."""
    told = [*map(_of_incident, story.incidents), *_of_entries(story.entries)]
    return sorted(told, key=lambda moment: moment.at)


# -- the log ----------------------------------------------------------------------------------------------------


def _of_entries(entries: list[Entry]) -> Iterator[Moment]:
    moved = {movement.entry.version: movement for movement in movements(entries)}
    for entry in entries:
        text = _said(entry)
        movement = moved.get(entry.version)
        if movement is not None:
            text += f"; the playhead: {place(movement.before_s)} to {place(movement.after_s)}"
        if entry.status is not None and entry.kind != "create":
            text += f"; the session is {entry.status}"
        if entry.made_at and entry.at - entry.made_at > LATE_MS_MIN:
            text += f"; made {span(entry.at - entry.made_at)} before"
        what: What = "handoff" if entry.kind in ("offer", "withdraw", "handoff") else "entry"
        code = entry.intent if entry.kind == "patch" else entry.kind
        yield Moment(entry.at, what, entry.device, code, text, entry.version)
        for row in entry.conflicts:
            yield Moment(entry.at, "conflict", entry.device, str(row.get("policy", "")), _conflict(row), entry.version)


def _said(entry: Entry) -> str:
    note = entry.handoff
    if entry.kind == "create":
        return "the session began" + (f"; {who(entry.active)} is active" if entry.active else "")
    if note is not None and entry.kind == "offer":
        return f"offered to {who(str(note.target))}"
    if note is not None and entry.kind == "withdraw":
        return f"the offer to {who(str(note.target))} is over: {note.reason}"
    if note is not None and entry.kind == "handoff":
        text = f"{who(str(note.target))} took over" + (f" from {who(note.source)}" if note.source else "")
        return text + (f"; unsure by {span(note.uncertainty_ms)}" if note.uncertainty_ms else "")
    if entry.kind == "restore":
        return "a snapshot was restored"
    if entry.kind == "status":
        return f"set to {entry.status}"
    count = len(entry.ops)
    return f"{entry.intent}, {count} {'change' if count == 1 else 'changes'}"


def _conflict(row: dict[str, object]) -> str:
    path, policy = plain(str(row.get("path", ""))) or "the whole state", str(row.get("policy", ""))
    other = who(str(row.get("theirs_device", "")))
    outcome = {
        "ours": f"it won over {other}",
        "theirs": f"it lost to {other}",
        "both": f"both stay, its own and that of {other}",
        "manual": f"both are kept for a person to choose, its own and that of {other}",
    }.get(str(row.get("winner")), f"with {other}")
    version = row.get("theirs_version")
    return f"conflict at {path} (policy {policy}): {outcome}" + (f", version {version}" if version else "")


# -- the incidents ----------------------------------------------------------------------------------------------


def _of_incident(incident: Incident) -> Moment:
    what, text = _befell(incident)
    return Moment(incident.at, what, incident.device, f"{incident.kind}:{incident.code}", text)


def _befell(incident: Incident) -> tuple[What, str]:
    detail, code = incident.detail, incident.code
    match incident.kind:
        case "joined" if code == "resumed":
            return "device", f"joined at version {detail.get('version')}, having held {detail.get('from')}"
        case "joined":
            held = f"; it had held version {detail['from']}" if "from" in detail else ""
            return (
                "device",
                f"joined with a snapshot of version {detail.get('version')}: {_REASONS.get(code, code)}{held}",
            )
        case "caught_up":
            return "device", f"was caught up to version {detail.get('version')}: {_REASONS.get(code, code)}"
        case "left":
            return "device", f"is gone: {_CAUSES.get(code, code)}"
        case "refused":
            times = f", {detail['times']} times" if "times" in detail else ""
            seq = f" number {detail['seq']}, made on version {detail.get('base')}," if "seq" in detail else ""
            about = detail.get("intent", detail.get("about", "push"))
            return "refusal", f"{about}{seq} was refused: {code}{times}"
        case "handoff":
            return "handoff", f"the offer {plain(str(detail.get('handoff', '')))} came to nothing: {code}"
        case "clock":
            return "clock", f"its clock is {span(abs(int(detail.get('off_ms', 0))))} {code}"
        case _:
            return "service", f"our own code failed on {plain(code)}; the session was loaded anew from its log"
