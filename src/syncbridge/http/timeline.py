"""What became of a session's progress, for its owner: a verdict in plain words and one timeline, without content."""

from __future__ import annotations

import asyncio
from itertools import takewhile

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.http.context import AnyClaims, Context, Ctx, Owned
from syncbridge.http.devices import DeviceRef, Names
from syncbridge.http.paging import LINKED, NEXT_CURSOR, Cursor, Limit, Listing
from syncbridge.http.problems import documented
from syncbridge.http.strict import StrictRoute
from syncbridge.http.walk import LogWalk
from syncbridge.story import Cause, Moment, Story, Verdict, judge, timeline
from syncbridge.story.causes import Weight
from syncbridge.story.timeline import What

router = APIRouter(prefix="/v1/sessions/{session}/timeline", tags=["history"], route_class=StrictRoute)

ENTRIES_MAX = 512
"""The newest ones are judged: what somebody misses was there a moment ago, and each page of the list judges anew."""


class CauseView(BaseModel):
    """One reason why progress went, or seemed to go."""

    weight: Weight = Field(description="`lost`: it does not stand. `moved`: it was put elsewhere. `noted`: neither.")
    code: str = Field(examples=["stale_owner"])
    at: int
    device: DeviceRef | None = Field(description="Whose it was; null where it is no single device's.")
    text: str
    version: int | None = Field(description="The entry that shows it, where one does.")


class VerdictView(BaseModel):
    """What became of the progress."""

    is_lost: bool = Field(description="Something that a device did, or showed, is not what stands.")
    sentence: str = Field(examples=["Nothing was lost: every change that was acknowledged is in the log."])
    causes: list[CauseView] = Field(description="The gravest and newest first.")


class MomentView(BaseModel):
    """One thing that happened."""

    at: int
    what: What
    device: DeviceRef | None = Field(description="Null where no device caused it.")
    code: str = Field(description="What a program reads: the entry's intent or kind, `refused:stale_owner`, ...")
    text: str
    version: int | None = Field(description="The entry, where it is one.")


class TimelinePage(BaseModel):
    """The verdict, and what happened, newest first."""

    session: str
    verdict: VerdictView
    timeline: list[MomentView]
    next_cursor: str | None = Field(description=NEXT_CURSOR)


@router.get("", responses={200: {"headers": LINKED}, **documented("not_found", "validation_failed")})
async def get_timeline(
    request: Request,
    response: Response,
    context: Ctx,
    claims: AnyClaims,
    session: Owned,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> TimelinePage:
    """Why progress was lost, or that nothing was: entries, handoffs, conflicts, refusals, and who came and went.

    Told from the newest 512 entries and up to 500 incidents, which appear a moment after they happened. What an
    operator reads by `syncbridge doctor session`, for whoever owns the session.
    """
    listing = Listing(request, response)
    place = listing.after(cursor, tuple[int, int])
    names = await Names.of(context, claims.account)
    story = await _story(context, session)
    verdict, told = await asyncio.to_thread(_judged, story)
    first = 0 if place is None else _after(told, *place)
    page = told[first : first + limit]
    return TimelinePage(
        session=session,
        verdict=VerdictView(
            is_lost=verdict.is_lost,
            sentence=verdict.sentence,
            causes=[_cause(one, names) for one in verdict.causes],
        ),
        timeline=[_moment(one, names) for one in page],
        next_cursor=None if first + limit >= len(told) else listing.next(_place(told, first + limit)),
    )


async def _story(context: Context, session: SessionId) -> Story:
    entries: list[Entry] = []
    async for entry in LogWalk(context.service.history, session):
        entries.append(entry)
        if len(entries) == ENTRIES_MAX:
            break
    return Story(session, entries[::-1], await context.records.incidents.of_session(session))


def _judged(story: Story) -> tuple[Verdict, list[Moment]]:
    """The verdict, and what happened, newest first."""
    return judge(story), timeline(story)[::-1]


def _place(told: list[Moment], count: int) -> tuple[int, int]:
    """Where the first ``count`` end: the time of the last, and how many of that very time were among them."""
    last = told[count - 1].at
    return last, sum(1 for _ in takewhile(lambda one: one.at == last, reversed(told[:count])))


def _after(told: list[Moment], at: int, count: int) -> int:
    """How many stand before what follows that place, whatever came meanwhile."""
    newer = sum(one.at > at for one in told)
    return newer + min(count, sum(one.at == at for one in told))


def _cause(cause: Cause, names: Names) -> CauseView:
    return CauseView(
        weight=cause.weight,
        code=cause.code,
        at=cause.at,
        device=names.ref(cause.device),
        text=cause.text,
        version=cause.version or None,
    )


def _moment(moment: Moment, names: Names) -> MomentView:
    return MomentView(
        at=moment.at,
        what=moment.what,
        device=names.ref(moment.device),
        code=moment.code,
        text=moment.text,
        version=moment.version or None,
    )
