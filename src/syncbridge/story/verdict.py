"""The answer to "why was my progress lost?": the causes that are found, and one sentence in front of them."""

from __future__ import annotations

from msgspec import Struct

from syncbridge.story.causes import FINDERS, Cause, Weight
from syncbridge.story.known import Story
from syncbridge.story.words import moment, sentence

_ORDER: dict[Weight, int] = {"lost": 0, "moved": 1, "noted": 2}
CAUSES_MAX = 20
"""So many are told, the gravest and newest; the timeline has all."""


class Verdict(Struct, frozen=True):
    """``is_lost``: something that a device did is not what stands. The causes stand gravest and newest first."""

    is_lost: bool
    sentence: str
    causes: list[Cause]


def judge(story: Story) -> Verdict:
    """What became of the session's progress, as far as its log and its incidents tell."""
    if story.damage:
        text = f"The session's log is damaged and is not served: {story.damage}. Restore a backup if it matters."
        return Verdict(is_lost=True, sentence=text, causes=[])
    found = [cause for finder in FINDERS for cause in finder(story)]
    found.sort(key=lambda cause: (_ORDER[cause.weight], -cause.at))
    told = [_sentence(story, found), *([] if story.is_whole else [_reach(story)])]
    return Verdict(bool(found) and found[0].weight == "lost", " ".join(told), found[:CAUSES_MAX])


def _sentence(story: Story, found: list[Cause]) -> str:
    if not found:
        return f"Nothing was lost: every change that was acknowledged is in the log{_extent(story)}."
    gravest = found[0]
    if gravest.weight == "lost":
        others = sum(cause.weight == "lost" for cause in found) - 1
        more = "" if not others else f" {others} more {'loss' if others == 1 else 'losses'} below."
        return sentence(gravest.text) + more
    if gravest.weight == "moved":
        return f"Nothing that was acknowledged was lost. {sentence(gravest.text)}"
    return f"Nothing was lost{_extent(story)}: {gravest.text}."


def _extent(story: Story) -> str:
    entries = story.entries
    return f", versions {entries[0].version} to {entries[-1].version}" if entries else ""


def _reach(story: Story) -> str:
    if not story.entries:
        return "The log holds no entries any more."
    first = story.entries[0]
    return f"This is told from version {first.version} of {moment(first.at)} on; of what was before nothing is told."
