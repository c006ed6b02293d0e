"""A session's report as its owner's route tells it, page by page: the same as the one out of the files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from syncbridge.doctor.story import NoStory
from syncbridge.story import Moment, Report, Verdict

PAGE = 100
PAGES_MAX = 100
"""Far more than a timeline has: what answers with cursors for ever is not SyncBridge."""


def told_report(session: str, get: Callable[[str], Any]) -> Report:
    """The report from the pages that ``get`` answers by their paths. Raises NoStory, and what ``get`` raises."""
    verdict: Verdict | None = None
    told: list[Moment] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        query = urlencode({"limit": PAGE} | ({} if cursor is None else {"cursor": cursor}))
        page = get(f"/v1/sessions/{quote(session, safe='')}/timeline?{query}")
        try:
            if verdict is None:
                causes = [_with_id(cause) for cause in page["verdict"]["causes"]]
                verdict = msgspec.convert({**page["verdict"], "causes": causes}, Verdict)
            told += msgspec.convert([_with_id(one) for one in page["timeline"]], list[Moment])
            cursor = page["next_cursor"]
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise NoStory("What answers does not tell timelines as this program reads them.") from error
        if cursor is None:
            return Report(session, verdict, [], told[::-1])
    raise NoStory(f"The timeline did not end after {PAGES_MAX} pages.")


def _with_id(row: dict[str, Any]) -> dict[str, Any]:
    """The device by its id alone, and no version as 0, as the report has them."""
    device = row["device"]
    return {**row, "device": "" if device is None else device["id"], "version": row["version"] or 0}
