"""The doctor: what is wrong with an installation, and what became of one session's progress.

::

    findings = await examine(settings, file=None, url=None)  # configuration, storage, keys, clock, machine, versions
    story = await read_story(settings, SessionId("ses_..."))  # the log and the incidents of one session
    report(story)  # of `syncbridge.story`: what was lost, and why, in plain words

It only reads (but for one small file in the data directory, by which the disk is timed), so it works beside a running
service and without one.
"""

from __future__ import annotations

from syncbridge.doctor.examination import examine
from syncbridge.doctor.findings import Finding, exit_code
from syncbridge.doctor.story import NoStory, read_story
from syncbridge.doctor.told import told_report

__all__ = ["Finding", "NoStory", "examine", "exit_code", "read_story", "told_report"]
