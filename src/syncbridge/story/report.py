"""What is told of a session: the verdict, what it rests on, and everything that happened."""

from __future__ import annotations

from msgspec import Struct

from syncbridge.story.known import Story
from syncbridge.story.timeline import Moment, timeline
from syncbridge.story.verdict import Verdict, judge


class Report(Struct, frozen=True):
    """``notes`` are what could not be read; the timeline is oldest first."""

    session: str
    verdict: Verdict
    notes: list[str]
    timeline: list[Moment]


def report(story: Story) -> Report:
    """The story, judged and told."""
    return Report(story.session, judge(story), story.notes, timeline(story))
