"""What became of one session's progress: told from its log and its incidents, whoever read them.

::

    story = Story(session, entries, incidents)
    judge(story)  # what was lost, and why, in plain words
    timeline(story)  # everything that is known, oldest first
    report(story)  # both

Nothing here reads or writes; the same story has the same verdict for its owner and for an operator.
"""

from __future__ import annotations

from syncbridge.story.causes import Cause
from syncbridge.story.known import Story
from syncbridge.story.report import Report, report
from syncbridge.story.timeline import Moment, timeline
from syncbridge.story.verdict import Verdict, judge

__all__ = ["Cause", "Moment", "Report", "Story", "Verdict", "judge", "report", "timeline"]
